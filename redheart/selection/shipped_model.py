"""The model that shipped: a folder that predicts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from redheart.encoding import sentences
from redheart.encoding.lexicon import load_lexicon
from redheart.encoding.tokens import Encoded, encode_part
from redheart.errors import UserError, explained
from redheart.recipe.build import read_recipe
from redheart.recipe.training_options import Recipe
from redheart.selection import checksums
from redheart.storage import files, run_files
from redheart.tasks import scale
from redheart.tasks.task import Task

FOLDER = "model"
CARD = "README.md"
WEIGHTS, RECIPE, TOKENIZER, LEXICON = "weights.pt", "recipe.json", "tokenizer.json", "lexicon.npz"
SCALES = "scales.json"
# The files that not every model has, which change the predictions of those that have them.
OPTIONAL = (SCALES, run_files.TRUNK_CONFIG, run_files.TRUNK_WEIGHTS)
# The files that no model lacks, all of which change its predictions.
NEEDED = (WEIGHTS, RECIPE, TOKENIZER, LEXICON, run_files.CONFIG)
# Characters of a foreign error that a message quotes.
LONGEST_REASON = 200


def model_folder(path: Path) -> Path:
    """Return the folder of the model that a path means: itself, or the one in a run's folder.

    Raises
    ------
    UserError
        The path is no folder, or no model is in there.
    """
    named = "name the folder of a model that shipped, such as results/demo/model"
    if not path.is_dir():
        what = "is a file" if path.exists() else "there is no such folder"
        raise UserError(f"{path}: {what}; {named}")
    for folder in (path, path / FOLDER):
        if any((folder / name).exists() for name in (WEIGHTS, checksums.CHECKSUMS)):
            return folder
    raise UserError(f"{path}: holds no {WEIGHTS}, so no model shipped into it; {named}")


def refuse_changed(folder: Path) -> bool:
    """Check that a model's folder is as it shipped, and tell whether that can be known.

    A changed model card is only told, since no prediction depends on it. So is a folder without
    hashes: those that older versions shipped are such, and must go on predicting.

    Raises
    ------
    UserError
        A file that predictions depend on is changed or missing.
    """
    optional = [name for name in OPTIONAL if (folder / name).exists()]
    differences = checksums.differences(folder, (*NEEDED, *optional))
    if differences is None:
        print(
            f"warning: {folder}: has no {checksums.CHECKSUMS}, as in older versions, so nothing "
            "tells whether its files are those that shipped; where its run was made, the command "
            "of that run adds it",
            file=sys.stderr,
        )
        return False
    if card := differences.pop(CARD, None):
        print(
            f"warning: {folder / CARD}: {card} since the model shipped; no prediction depends on "
            "it, but what it says may be wrong",
            file=sys.stderr,
        )
    if differences:
        named = ", ".join(f"{name} ({how})" for name, how in differences.items())
        raise UserError(
            f"{folder}: not as it shipped, by its {checksums.CHECKSUMS}: {named}; {_again(folder)}"
        )
    return True


def _again(folder: Path) -> str:
    """Return what to do about a damaged folder, for its receiver and for its maker."""
    return (
        "copy the whole folder again from where it came from; where its run was made, "
        f"{files.how_to_rebuild(folder)}"
    )


@dataclass(frozen=True)
class ShippedModel:
    """A model folder, opened."""

    folder: Path
    """The folder `model/` of a run."""

    def predict(self, texts: Sequence[str]) -> list[dict[str, dict[str, float]]]:
        """Return for each text: task -> output -> probability, or the value of a regression.

        Values have the unit of the training data. A folder without scales shipped before targets
        were standardised: its network predicts values with their unit.

        Raises
        ------
        UserError
            The folder is not as it shipped, or its files cannot be used.
        """
        has_hashes = refuse_changed(self.folder)
        with self._using(run_files.CONFIG):
            recipe = read_recipe(self._json(run_files.CONFIG))
        # The model may have been trained on a device that this machine does not have.
        recipe = replace(recipe, train=replace(recipe.train, device="auto"))
        part = self._encoded(texts)
        with self._using():
            predicted = self._predictions(recipe, texts, part, has_hashes)
            return [
                {task.name: _by_output(task, predicted[task.name][row]) for task in recipe.tasks}
                for row in range(len(texts))
            ]

    def _predictions(
        self, recipe: Recipe, texts: Sequence[str], part: Encoded, has_hashes: bool
    ) -> Mapping[str, np.ndarray]:
        from redheart.crossover import candidate_predictions
        from redheart.evaluation import inference
        from redheart.model.pretrained import read_trunk
        from redheart.storage.tensors import load_deferred, load_verified

        trunk = None
        if recipe.model.frozen and sentences.is_encoder(self._trunk_files[0]):
            part = replace(part, features=self._sentence_features(texts, part.max_tokens))
        elif recipe.model.frozen:
            trunk = read_trunk(*self._trunk_files)
        network = inference.network_for(recipe, part, trunk)
        load = load_deferred if has_hashes else load_verified
        members, source = load(self.folder / WEIGHTS)["members"], self._json(RECIPE)
        predicted = candidate_predictions.combine(
            [
                candidate_predictions.predict(network, states, part, recipe, weights)
                for states, weights in zip(members, source["fusion"], strict=True)
            ],
            source.get("tasks"),
        )
        scales = scale.from_json(self._json(SCALES) if (self.folder / SCALES).exists() else {})
        return predicted | {name: s.restored(predicted[name]) for name, s in scales.items()}

    def _sentence_features(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, ...]:
        tokenizer = self.folder / TOKENIZER
        batches = sentences.sentence_features(self._trunk_files[0], tokenizer, texts, max_tokens)
        return tuple(features for batch in batches for features in batch)

    @property
    def _trunk_files(self) -> tuple[Path, Path]:
        return self.folder / run_files.TRUNK_CONFIG, self.folder / run_files.TRUNK_WEIGHTS

    def _json(self, name: str) -> Any:
        return files.read_json(self.folder / name)

    def _encoded(self, texts: Sequence[str]) -> Encoded:
        with self._using(run_files.CONFIG):
            config = self._json(run_files.CONFIG)
            model, max_tokens = config["model"], config["train"]["max_tokens"]
            learned = model.get("pretrained") and model.get("freeze_after") != 0
        trunk = self._json(run_files.TRUNK_CONFIG) if learned else None
        with self._using(LEXICON):
            lexicon = load_lexicon(self.folder / LEXICON)
        records = [{"text": text} for text in texts]
        with self._using(TOKENIZER):
            return encode_part(records, (), self.folder / TOKENIZER, max_tokens, lexicon, trunk)

    @contextmanager
    def _using(self, name: str = "") -> Iterator[None]:
        """Turn what a file's content makes the block inside raise into one line about the file.

        A foreign file may make its reader raise anything; that of a tokenizer raises `Exception`.
        Without a name, the whole folder is meant.
        """
        try:
            with explained():
                yield
        except UserError:
            raise
        except Exception as error:
            what = "its content cannot be used" if name else "its files do not fit together"
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
            raise UserError(
                f"{self.folder / name}: {what} ({reason}); {_again(self.folder)}"
            ) from error


def _by_output(task: Task, values: np.ndarray) -> dict[str, float]:
    if not np.isfinite(values).all():
        raise ValueError(f"the prediction of '{task.name}' is not finite")
    return dict(zip(task.output_names, values.tolist(), strict=True))
