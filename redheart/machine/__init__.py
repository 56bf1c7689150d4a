"""Where a training runs: devices, processes, memory, and the plan that keeps within it."""
