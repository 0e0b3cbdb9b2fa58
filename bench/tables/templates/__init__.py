"""Templates of tables and pages (jinja2)."""
