"""The folder of a model that shipped: where it lies, if it is as it shipped, what its files hold.

A file that cannot be read is told in one line, by the name of the file. Any other error is a bug of
ours where the folder is as it shipped, by its hashes, and should be a traceback. Where no hashes
vouch for a folder, it may be damaged anywhere, and an error is told in one line too.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redheart.encoding.lexicon import Lexicon, load_lexicon
from redheart.errors import UserError, did_you_mean, explained
from redheart.selection import checksums
from redheart.serving.answers import Decision, read_decisions
from redheart.shapes import Shape, has_shape
from redheart.storage import files, run_files
from redheart.tasks import scale
from redheart.tasks.task import Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FOLDER = "model"
CARD = "README.md"
WEIGHTS, RECIPE, TOKENIZER, LEXICON = "weights.pt", "recipe.json", "tokenizer.json", "lexicon.npz"
SCALES = "scales.json"
# The weights in a folder that `redheart export` made.
EXPORTED = "model.safetensors"
# The files that not every model has, which change the predictions of those that have them.
OPTIONAL = (SCALES, run_files.TRUNK_CONFIG, run_files.TRUNK_WEIGHTS)
# The files that no model lacks, all of which change its predictions.
NEEDED = (WEIGHTS, RECIPE, TOKENIZER, LEXICON, run_files.CONFIG)

# What a prediction needs of the JSON files.
TASK: Shape = {"kind": str, "field": str, "classes?": [str]}
CONFIG_SHAPE: Shape = {"tasks": dict, "model": dict, "train": {"max_tokens": int}}
RECIPE_SHAPE: Shape = {"fusion": [dict], "tasks?": dict, "decisions?": dict}
SCALES_SHAPE: Shape = {"mean": [int | float], "deviation": [int | float]}
# What numpy raises for a file that is no archive of arrays, is cut off or lacks one.
UNREADABLE = (OSError, ValueError, EOFError, LookupError, TypeError, AttributeError)
# Characters of a foreign error that a message quotes.
LONGEST_REASON = 200


def find_model(path: str | Path) -> Path:
    """Return the folder of the model that a path means: itself, or the one in a run's folder.

    Parameters
    ----------
    path
        The folder of a model, the folder of a run, or the name of a run in `results/`.

    Raises
    ------
    UserError
        There is no such folder, or no model is in there.
    """
    named = "name the folder of a model that shipped, such as results/demo/model"
    path = Path(files.expanded(path))
    place = path if path.exists() else Path(run_files.RESULTS, path)
    if not place.is_dir():
        what = "is a file" if path.exists() else "there is no such folder"
        runs = sorted(p.parent.parent.name for p in _models_of_runs())
        near = did_you_mean(path, runs, "runs with a model") if runs and what[0] == "t" else ""
        raise UserError(f"{path}: {what}; {named}{near}")
    for folder in (place, place / FOLDER):
        if any((folder / name).exists() for name in (WEIGHTS, checksums.CHECKSUMS)):
            if (folder / EXPORTED).exists() and not (folder / WEIGHTS).exists():
                raise UserError(
                    f"{folder}: is an exported model, for other programs; name the folder that it "
                    "was exported from, such as results/demo/model"
                )
            return folder
    raise UserError(f"{path}: holds no {WEIGHTS}, so no model shipped into it; {named}")


def _models_of_runs() -> Iterator[Path]:
    return Path(run_files.RESULTS).glob(f"*/{FOLDER}/{WEIGHTS}")


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model that shipped; each is read when it is asked for."""

    folder: Path
    """The folder `model/` of a run, or a copy of it."""

    @cached_property
    def has_hashes(self) -> bool:
        """Whether hashes vouch for the folder. Without any it may be that of an older version.

        A changed model card is only told, since no prediction depends on it. So is a folder without
        hashes: those that older versions shipped are such, and must go on predicting.

        Raises
        ------
        UserError
            A file that predictions depend on is changed or missing.
        """
        optional = [name for name in OPTIONAL if (self.folder / name).exists()]
        differences = checksums.differences(self.folder, (*NEEDED, *optional))
        if differences is None:
            _warn(
                f"{self.folder}: has no {checksums.CHECKSUMS}, as in older versions, so nothing "
                "tells whether its files are those that shipped; where its run was made, the "
                "command of that run adds it"
            )
            return False
        if card := differences.pop(CARD, None):
            _warn(
                f"{self.folder / CARD}: {card} since the model shipped; no prediction depends on "
                "it, but what it says may be wrong"
            )
        if differences:
            named = ", ".join(f"{name} ({how})" for name, how in differences.items())
            raise UserError(
                f"{self.folder}: not as it shipped, by its {checksums.CHECKSUMS}: {named}; "
                f"{self.again}"
            )
        return True

    @property
    def again(self) -> str:
        """What to do about a damaged folder, for its receiver and for its maker."""
        return (
            "copy the whole folder again from where it came from; where its run was made, "
            f"{files.how_to_rebuild(self.folder)}"
        )

    @contextmanager
    def used(self) -> Iterator[None]:
        """Tell an error of the block inside in one line where no hashes vouch for the folder.

        Raises
        ------
        UserError
            The files do not fit together, or the memory does not suffice.
        """
        try:
            with explained():
                yield
        except UserError:
            raise
        except Exception as error:
            if self.has_hashes:
                raise
            raise self.unusable("", "its files do not fit together", error) from error

    def unusable(self, name: str, what: str, error: Exception | str) -> UserError:
        """Return what to tell the user of a file that cannot be used; no name: of the folder."""
        reason = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:LONGEST_REASON]
        return UserError(f"{self.folder / name}: {what} ({reason}); {self.again}")

    # --- what the files hold ----------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return the effective config of the run that the model is from."""
        config = self._json(run_files.CONFIG, CONFIG_SHAPE)
        for name, task in config["tasks"].items():
            if not has_shape(task, TASK):
                raise self.unusable(run_files.CONFIG, "cannot be used", f"the task '{name}'")
        return config

    def recipe(self) -> dict[str, Any]:
        """Return the source of the shipped candidate: its fusion, its decisions."""
        return self._json(RECIPE, RECIPE_SHAPE)

    def decisions(self, tasks: Sequence[Task]) -> dict[str, Decision]:
        """Return how each task's predictions become answers."""
        try:
            return read_decisions(self.recipe().get("decisions"), tasks)
        except ValueError as reason:
            raise self.unusable(RECIPE, "cannot be used", str(reason)) from None

    def scales(self) -> dict[str, scale.Scale]:
        """Return the scale of each regression's values; those of older models have none."""
        if not (self.folder / SCALES).exists():
            return {}
        content = self._json(SCALES, dict)
        for name, values in content.items():
            if not has_shape(values, SCALES_SHAPE):
                raise self.unusable(SCALES, "cannot be used", f"the scale of '{name}'")
        return scale.from_json(content)

    def lexicon(self) -> Lexicon:
        """Return the n-grams that the lexical branches read."""
        try:
            return load_lexicon(self.folder / LEXICON)
        except (*UNREADABLE, zipfile.BadZipFile) as error:
            raise self.unusable(LEXICON, "its content cannot be used", error) from error

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer."""
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(self.folder / TOKENIZER))
        except Exception as error:  # the package raises no narrower class for a file
            raise self.unusable(TOKENIZER, "its content cannot be used", error) from error

    def vocabulary_size(self) -> int:
        """Return the number of tokens that the tokenizer knows."""
        content = self._json(TOKENIZER, {"model": {"vocab": list | dict}})
        return len(content["model"]["vocab"])

    def members(self) -> list[Any]:
        """Return the weights of each member by module, deferred."""
        from redheart.storage.tensors import load_deferred, load_verified

        load = load_deferred if self.has_hashes else load_verified
        content = load(self.folder / WEIGHTS)
        members = content.get("members") if isinstance(content, dict) else None
        if not isinstance(members, list) or not all(isinstance(m, dict) for m in members):
            raise self.unusable(WEIGHTS, "its content cannot be used", "no weights of members")
        return members

    @property
    def trunk(self) -> tuple[Path, Path]:
        """The files of a pretrained trunk: its config, and its weights where it never learned."""
        return self.folder / run_files.TRUNK_CONFIG, self.folder / run_files.TRUNK_WEIGHTS

    def trunk_config(self) -> dict[str, Any]:
        """Return the config of a pretrained trunk."""
        return self._json(run_files.TRUNK_CONFIG, dict)

    def _json(self, name: str, shape: Shape) -> Any:
        try:
            value = files.read_json(self.folder / name)
        except UserError as error:
            reason = str(error).removeprefix(f"{self.folder / name}: ").partition(";")[0]
            raise self.unusable(name, "cannot be used", reason) from None
        if not has_shape(value, shape):
            raise self.unusable(name, "cannot be used", "its JSON lacks a value")
        return value


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
