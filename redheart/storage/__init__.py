"""The files of a run: written whole or not at all, hashed, stored under what they follow from."""
