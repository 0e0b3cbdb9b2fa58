"""Studies: methods x data sets x seeds, their budgets and presets, and their plans."""
