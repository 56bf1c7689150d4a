"""What the network reads: some texts of a part, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redheart.tokens import Encoded, pad


@dataclass(frozen=True)
class Batch:
    """Views of the same texts; the first dimension of each is the texts."""

    ids: Tensor
    """Token ids, int64 (batch, tokens), padded on the right."""
    mask: Tensor
    """bool (batch, tokens), True where there is a token; at least one in every text."""
    # Further views that only some networks read come here, None where they are not needed.
    features: Tensor | None = None
    """Features of each token by a frozen trunk, float16 (batch, tokens, dimension); else 0."""

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch on a device."""
        return self._each(lambda view: view.to(device))

    def doubled(self) -> Batch:
        """Return the texts twice, one copy after the other: R-Drop's two passes in one."""
        return self._each(lambda view: torch.cat([view, view]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        views: dict[str, Any] = {}
        for field in fields(self):
            view = getattr(self, field.name)
            views[field.name] = view if view is None else change(view)
        return Batch(**views)


def make_batch(part: Encoded, rows: Sequence[int] | np.ndarray) -> Batch:
    """Return the texts of a part that stand in `rows`, in that order, on the CPU."""
    ids, mask = pad([part.ids[row] for row in rows])
    features = None
    if part.features is not None:
        known = np.concatenate([part.features[row] for row in rows])
        padded = np.zeros((*ids.shape, known.shape[1]), known.dtype)
        padded[mask] = known
        features = torch.from_numpy(padded)
    return Batch(torch.from_numpy(ids), torch.from_numpy(mask), features)
