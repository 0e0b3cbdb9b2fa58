"""The report: one HTML page, its server, and bundles of runs."""
