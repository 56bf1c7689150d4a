"""How a model is built and trained, as options and sizes; no torch."""
