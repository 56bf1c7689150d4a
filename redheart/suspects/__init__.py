"""Records whose labels look wrong: what the checkpoints said of them, and which are named."""
