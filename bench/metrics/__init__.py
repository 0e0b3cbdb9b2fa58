"""Measures of a flow: tensors in, numbers out; no model class, no files."""
