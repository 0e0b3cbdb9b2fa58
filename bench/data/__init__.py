"""Reading, caching, downloading and checking rows on disk."""
