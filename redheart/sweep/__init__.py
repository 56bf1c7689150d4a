"""The learning-rate sweep: trials, successive halving, the choice of the rate."""
