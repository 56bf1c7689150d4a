"""Soups: averages of all checkpoints, or of the checkpoints that help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from redheart.crossover import candidate_predictions
from redheart.crossover.candidate_sources import ranked_epochs
from redheart.crossover.stitch_recipe import Load, State, Tensor
from redheart.encoding.tokens import Encoded
from redheart.errors import UserError
from redheart.evaluation.inference import network_for
from redheart.json_values import or_null
from redheart.model.network import Network
from redheart.recipe.training_options import Recipe
from redheart.storage.tensors import MaybeDeferred, save_tensors
from redheart.tasks import metrics


def average(states: Iterable[State]) -> dict[str, dict[str, Tensor]]:
    """Return the mean of several states: the uniform soup (Wortsman et al. 2022, section 2).

    The states are read one by one and added in float32 or wider. The mean has the dtype of the
    first state.

    Raises
    ------
    UserError
        There is no state, or the states do not have the same modules and tensors.
    """
    remaining = iter(states)
    first = next(remaining, None)
    if first is None:
        raise UserError("soup: there is no state to average; train at least one checkpoint")
    total, count = _widened(first), 1
    for state in remaining:
        _add(total, state)
        count += 1
    return _mean(total, count, first)


def greedy_soup(
    epochs_by_score: Sequence[int], load: Load, score: Callable[[State], float]
) -> tuple[State, list[int], list[dict[str, Any]]]:
    """Average the checkpoints that do not lower the average's score.

    Recipe 1 of Wortsman et al. 2022 (arXiv 2203.05482): begin with the best checkpoint, then try
    the others in the order of their own scores. A checkpoint is kept if the soup with it scores no
    lower. It is never kept if that score is NaN. Each step loads one checkpoint, adds it to a
    running sum and scores once. Memory holds this sum and one mean, tensor by tensor, for any
    number of checkpoints.

    Parameters
    ----------
    epochs_by_score
        The epochs of the checkpoints, best first.
    load, score
        Read an epoch's state; score a state, higher is better.

    Returns
    -------
    The soup, the epochs in it, and the trace: one `{"epoch", "score", "kept"}` for each step. The
    score is null if it is not finite.
    """
    if not epochs_by_score:
        raise UserError("greedy soup: there is no checkpoint to begin with; train at least one")
    first, *later = epochs_by_score
    begin = load(first)
    best = float(score(begin))
    total, members, trace = _widened(begin), [first], [_step(first, best, kept=True)]
    for epoch in later:
        state = load(epoch)
        value = float(score(_mean_with(total, state, len(members) + 1)))
        helps = value >= best
        trace.append(_step(epoch, value, kept=helps))
        if helps:
            best = value
            _add(total, state)
            members.append(epoch)
    return _mean(total, len(members), begin), members, trace


def _step(epoch: int, score: float, kept: bool) -> dict[str, Any]:
    return {"epoch": epoch, "score": or_null(score), "kept": kept}


def _add(total: dict[str, dict[str, Tensor]], state: State) -> None:
    """Add a state to a sum, tensor by tensor; the state's own tensors do not change."""
    _check_names(total, state)
    for module, tensors in total.items():
        for name in tensors:
            tensors[name] = tensors[name] + _wide(state[module][name])


def _mean_with(total: State, state: State, count: int) -> dict[str, dict[str, Tensor]]:
    """Return the mean of a sum and one more state, in the dtypes of this state."""
    _check_names(total, state)
    return {
        module: {
            name: _cast((tensor + _wide(state[module][name])) / count, state[module][name].dtype)
            for name, tensor in tensors.items()
        }
        for module, tensors in total.items()
    }


def _check_names(total: State, state: State) -> None:
    if _names(total) != _names(state):
        differing = sorted(_names(total) ^ _names(state))
        raise UserError(
            f"soup: the states do not have the same tensors ({'.'.join(differing[0])} is in one"
            " alone); average checkpoints of one model"
        )


def _mean(total: State, count: int, like: State) -> dict[str, dict[str, Tensor]]:
    """Divide a sum by its number of states; the result has the dtypes of `like`."""
    return {
        module: {
            name: _cast(tensor / count, like[module][name].dtype)
            for name, tensor in tensors.items()
        }
        for module, tensors in total.items()
    }


def _widened(state: State) -> dict[str, dict[str, Tensor]]:
    return {
        module: {name: _wide(tensor) for name, tensor in tensors.items()}
        for module, tensors in state.items()
    }


def _names(state: State) -> set[tuple[str, str]]:
    return {(module, name) for module, tensors in state.items() for name in tensors}


def _wide(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 or wider: a sum of half-precision numbers loses too much."""
    tensor = tensor.make() if hasattr(tensor, "make") else tensor
    if tensor.dtype.itemsize >= 4:
        return tensor
    return tensor.float() if hasattr(tensor, "float") else tensor.astype("float32")


def _cast(tensor: Tensor, dtype: Any) -> Tensor:
    return tensor.to(dtype) if hasattr(tensor, "to") else tensor.astype(dtype)


Save = Callable[[str, MaybeDeferred], None]


def write_soups(
    folder: Path,
    checkpoints: Sequence[str],
    tables: Sequence[Mapping[str, Any]],
    validation: Encoded,
    recipe: Recipe,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Make all soups and write each to a folder under its name, as `weights` by module.

    Parameters
    ----------
    checkpoints
        The paths of all saved checkpoints.
    tables
        The metrics of the checkpoints, in the order of epochs.
    validation
        val_select.

    Returns
    -------
    What `make_soups` returns, and the SHA-256 of each file.
    """
    hashes: dict[str, str] = {}

    def save(name: str, states: MaybeDeferred) -> None:
        hashes[name] = save_tensors(folder / name, {"weights": states})

    network, load = network_for(recipe, validation), candidate_predictions.loader(checkpoints)
    return make_soups(network, load, tables, validation, recipe, save), hashes


def make_soups(
    network: Network,
    load: candidate_predictions.Load,
    tables: Sequence[Mapping[str, Any]],
    validation: Encoded,
    recipe: Recipe,
    save: Save,
) -> dict[str, Any]:
    """Average all checkpoints (uniform), and the checkpoints that help on val_select (greedy).

    The greedy soup is recipe 1 of Wortsman et al. 2022, arXiv 2203.05482. Both soups are made of
    the weights, and of their moving averages (`_ema`) if these were saved.

    Parameters
    ----------
    save
        Receives each soup's name and weights, before the next soup is made.

    Returns
    -------
    By soup: the epochs in it, and the trace of a greedy soup.
    """

    def score(states: MaybeDeferred) -> float:
        predicted, _ = candidate_predictions.fit_fusion(network, states, validation, recipe)
        return float(metrics.macro(recipe.tasks, predicted, validation.targets))

    epochs_by_soup: dict[str, Any] = {}
    for suffix, source, scored in (("", "weights", "raw"), ("_ema", "ema", "ema")):
        if scored not in tables[0]["fused"]:
            continue

        def state(epoch: int, source: str = source) -> MaybeDeferred:
            return load(epoch)[source]

        ranked = ranked_epochs(tables, scored)
        save(f"uniform{suffix}", average(map(state, sorted(ranked))))
        epochs_by_soup[f"uniform{suffix}"] = {"epochs": sorted(ranked)}
        greedy, members, trace = greedy_soup(ranked, state, score)
        save(f"greedy{suffix}", greedy)
        epochs_by_soup[f"greedy{suffix}"] = {"epochs": members, "trace": trace}
    return epochs_by_soup
