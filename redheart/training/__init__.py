"""The main training: epochs, optimizers, checkpoints leg by leg, snapshots."""
