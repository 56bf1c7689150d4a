"""What is learned: tasks and their labels, losses, metrics, the balance of classes."""
