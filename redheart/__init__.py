"""Red Heart: the best model that a small labelled corpus can give, as a declarative build.

`load` opens a model that shipped, and `read_results` reads what a run found out: docs/python.md.
The import of this package loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from redheart.serving.run_results import RunResults
    from redheart.serving.shipped_model import ShippedModel

__version__ = "0.4.0"


def load(path: str | Path) -> ShippedModel:
    """Open a model that shipped: its weights, tokenizer and lexicon are read once.

    Parameters
    ----------
    path
        The folder of a model, the folder of a run, or the name of a run in `results/`.

    Raises
    ------
    redheart.errors.UserError
        There is no model, it is not as it shipped, or its files cannot be used.
    """
    from redheart.serving.shipped_model import ShippedModel

    return ShippedModel(path)


def read_results(run: str | Path) -> RunResults:
    """Read what a run found out: its candidates, scores, choice, assessment and suspects.

    Parameters
    ----------
    run
        The run's folder, or its name in `results/`.

    Raises
    ------
    redheart.errors.UserError
        There is no such run, it is not finished, or a file of it is damaged.
    """
    from redheart.serving.run_results import read_results

    return read_results(run)
