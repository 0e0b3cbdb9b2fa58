"""Training one run: the loop, checkpoints, and what a run may touch meanwhile."""
