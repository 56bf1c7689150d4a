"""The files of a run: written completely or not at all, hashed, stored by all they follow from."""
