"""Finding plug-ins, and checking their sources."""
