"""Rows on disk: reading and caching them, downloading and checking them."""
