"""What ships: the baseline, the comparison and its intervals, the choice, the results."""
