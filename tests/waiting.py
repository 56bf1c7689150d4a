"""Waiting for what another process does, on a machine that may be busy."""

import time


def until(happened, what, seconds=300):
    """Wait until `happened()` is true; fail by the name of what did not come, long after it should have."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.01)
