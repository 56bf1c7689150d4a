"""The model that shipped: a folder that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from redheart.encoding import sentences
from redheart.encoding.lexicon import load_lexicon
from redheart.encoding.tokens import Encoded, encode_part
from redheart.recipe.build import read_recipe
from redheart.storage import files, run_files
from redheart.tasks import scale


@dataclass(frozen=True)
class ShippedModel:
    """A model folder, opened."""

    folder: Path
    """The folder `model/` of a run."""

    def predict(self, texts: Sequence[str]) -> list[dict[str, dict[str, float]]]:
        """Return for each text: task -> output -> probability, or the value of a regression.

        Values have the unit of the training data. A folder without scales shipped before targets
        were standardised: its network predicts values with their unit.
        """
        from redheart.crossover import candidate_predictions
        from redheart.evaluation import inference
        from redheart.model.pretrained import read_trunk
        from redheart.storage.tensors import load_verified

        recipe = read_recipe(files.read_json(self.folder / run_files.CONFIG))
        # The model may have been trained on a device that this machine does not have.
        recipe = replace(recipe, train=replace(recipe.train, device="auto"))
        part, trunk = self._encoded(texts), None
        if recipe.model.frozen and sentences.is_encoder(self._trunk_files[0]):
            part = replace(part, features=self._sentence_features(texts, part.max_tokens))
        elif recipe.model.frozen:
            trunk = read_trunk(*self._trunk_files)
        network = inference.network_for(recipe, part, trunk)
        members = load_verified(self.folder / "weights.pt")["members"]
        source = files.read_json(self.folder / "recipe.json")
        predicted = candidate_predictions.combine(
            [
                candidate_predictions.predict(network, states, part, recipe, weights)
                for states, weights in zip(members, source["fusion"], strict=True)
            ],
            source.get("tasks"),
        )
        for name, fitted in self._scales().items():
            predicted[name] = fitted.restored(predicted[name])
        return [
            {
                task.name: dict(
                    zip(task.output_names, predicted[task.name][row].tolist(), strict=True)
                )
                for task in recipe.tasks
            }
            for row in range(len(texts))
        ]

    def _scales(self) -> dict[str, scale.Scale]:
        path = self.folder / "scales.json"
        return scale.from_json(files.read_json(path)) if path.is_file() else {}

    def _sentence_features(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, ...]:
        tokenizer = self.folder / "tokenizer.json"
        batches = sentences.sentence_features(self._trunk_files[0], tokenizer, texts, max_tokens)
        return tuple(features for batch in batches for features in batch)

    @property
    def _trunk_files(self) -> tuple[Path, Path]:
        return self.folder / run_files.TRUNK_CONFIG, self.folder / run_files.TRUNK_WEIGHTS

    def _encoded(self, texts: Sequence[str]) -> Encoded:
        tokenizer = self.folder / "tokenizer.json"
        config = files.read_json(self.folder / run_files.CONFIG)
        model, max_tokens = config["model"], config["train"]["max_tokens"]
        learned = model.get("pretrained") and model.get("freeze_after") != 0
        trunk = files.read_json(self._trunk_files[0]) if learned else None
        lexicon = load_lexicon(self.folder / "lexicon.npz")
        records = [{"text": text} for text in texts]
        return encode_part(records, (), tokenizer, max_tokens, lexicon, trunk)
