"""The workflow: the config, which settings and code reach which step, what a run takes."""
