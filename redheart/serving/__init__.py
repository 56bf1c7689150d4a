"""Using what shipped: the model opened, its answers, the texts it reads, a run's results."""
