"""Running a plan: one process a run, on this machine or on a cluster."""
