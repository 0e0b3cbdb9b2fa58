"""Figures: numbers in, pictures out; matplotlib is imported when one is drawn."""
