"""The best epoch of each module group: curves, what noise lets them say, the choice."""
