"""What the network reads: some texts of a part, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redheart.encoding.tokens import Encoded, pad


@dataclass(frozen=True)
class Batch:
    """Views of the same texts; the first dimension of each is the texts."""

    ids: Tensor
    """Token ids, int64 (batch, tokens), padded on the right."""
    mask: Tensor
    """bool (batch, tokens), True where there is a token; at least one in every text."""
    # Further views that only some networks read come here, None where they are not needed.
    ngrams: Tensor | None = None
    """Which n-grams stand in each text, int64 (batch, n-grams), padded."""
    ngram_values: Tensor | None = None
    """Their tf-idf values, float32 (batch, n-grams), 0 for padding."""
    features: Tensor | None = None
    """A frozen trunk's features by token, float16 (batch, tokens, dimension), 0 for padding."""
    full: bool = False
    """Whether the mask is known to be True everywhere; attention is faster without a mask."""

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch on a device."""
        return self._changed(lambda view: view.to(device))

    def doubled(self) -> Batch:
        """Return the texts twice, one copy after the other: R-Drop's two passes in one.

        N-grams stay single: the module that reads them has no dropout, so its two passes agree.
        """
        twice = self._changed(lambda view: torch.cat([view, view]))
        return replace(twice, ngrams=self.ngrams, ngram_values=self.ngram_values)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        views: dict[str, Any] = {}
        for field in fields(self):
            view = getattr(self, field.name)
            views[field.name] = change(view) if isinstance(view, Tensor) else view
        return Batch(**views)


def make_batch(part: Encoded, rows: Sequence[int] | np.ndarray) -> Batch:
    """Return the texts of a part that stand in `rows`, in that order, on the CPU."""
    views = dict(zip(("ids", "mask"), pad([part.ids[row] for row in rows]), strict=True))
    if part.features is not None:
        features = np.concatenate([part.features[row] for row in rows])
        views["features"] = np.zeros((*views["ids"].shape, features.shape[1]), features.dtype)
        views["features"][views["mask"]] = features
    if part.ngrams is not None:
        views["ngrams"], views["ngram_values"] = part.ngrams.padded(rows)
    tensors = {name: torch.from_numpy(view) for name, view in views.items()}
    return Batch(full=bool(views["mask"].all()), **tensors)
