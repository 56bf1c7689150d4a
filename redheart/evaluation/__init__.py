"""What a network predicts, how its modules are fused, and how good that is."""
