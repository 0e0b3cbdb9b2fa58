"""ODE solvers and derivatives of velocity fields: pure functions on tensors.

Our own steps (`dormand_prince`, and the equal steps in `ode`) serve evaluation and training:
gradients go through the accepted steps, the last step ends exactly at the interval's end and
carries its gradient, and a failure names its time and its reason. The adjoint equation is solved by
the same steps, in memory that does not grow with them. A step's error is measured as torchdiffeq
does: a tolerance means the same in both.
"""
