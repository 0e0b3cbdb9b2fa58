"""A bundle: records, tables and figures in one folder, with a manifest and checksums."""
