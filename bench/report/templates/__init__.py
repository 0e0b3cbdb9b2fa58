"""The page and its parts (jinja2), its style and its script."""
