"""ODE solvers and divergences: pure functions on tensors; the ground floor."""
