"""The best epoch of each module group: the curves, their noise, the choice."""
