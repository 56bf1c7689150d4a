"""The workflow: the config, what reaches which step, what a run takes."""
