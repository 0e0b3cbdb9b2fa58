"""What the author of a plug-in imports: the contract of methods and data sets."""
