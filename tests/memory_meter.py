"""A counter of torch's memory on a CPU: what its allocator says, temporaries within an op included."""

from __future__ import annotations

import gc

import torch


def peak_bytes(work):
    """Return the most that is allocated at once by `work()`; what lives before does not count."""
    gc.collect()  # or what earlier work left in cycles may be freed, and so count, in this one
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as found:
        kept = work()
    events = sorted(
        (event.start_ns(), event.nbytes())
        for event in found.profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    held = highest = 0
    for _, size in events:
        held += size
        highest = max(highest, held)
    del kept
    return highest
