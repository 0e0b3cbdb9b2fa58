"""Evaluation of a trained flow: the one place that reads the test split, the same for all."""
