"""Checkpoints put together: soups, stitched models, the search, all candidates."""
