"""Near-duplicates: the exact search for them, which of them stay, and the report."""
