"""Training one run: the loop, checkpoints, and what a method may not open meanwhile."""
