"""ODE solvers and derivatives of velocity fields: pure functions on tensors.

There are two solvers behind `ode.integrate`. Our own steps (`dormand_prince`, and the equal steps
in `ode`) serve evaluation and plain backpropagation: gradients go through the accepted steps, the
last step ends exactly at the interval's end and carries its gradient, and a failure names its time
and its reason. torchdiffeq solves the adjoint equation, in memory that does not grow with the
steps, and nothing else. Both measure a step's error alike: a tolerance means the same in both.
"""
