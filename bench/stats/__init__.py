"""Statistics of the comparison: arrays in, numbers out; nothing here imports torch or a table."""
