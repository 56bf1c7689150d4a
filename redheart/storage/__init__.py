"""The files of a run: written completely or not at all, hashed, and stored under their keys."""
