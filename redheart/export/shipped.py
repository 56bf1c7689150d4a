"""A folder that shipped, opened to be written in other formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redheart.encoding import sentences
from redheart.errors import UserError
from redheart.json_values import Json
from redheart.recipe.build import read_recipe
from redheart.recipe.training_options import Recipe
from redheart.selection import checksums
from redheart.serving import model_files
from redheart.storage import files, run_files
from redheart.tasks import scale

if TYPE_CHECKING:
    from redheart.encoding.tokens import Encoded
    from redheart.model.network import Network
    from redheart.storage.tensors import MaybeDeferred

RESULTS, ASSESSMENT = "final_results.json", "assessment.json"


@dataclass(frozen=True)
class Shipped:
    """A model that shipped: one member, its words and where its files lie."""

    folder: Path
    """The folder `model/` of a run."""
    config: Json
    """The effective config of its run."""
    source: Json
    """What its recipe says: candidate, seed, the fusion's weights, decisions where there are."""
    recipe: Recipe
    """Its tasks, its network and its training, on the CPU in float32."""

    @property
    def decisions(self) -> Json:
        """How its predictions become labels, by task; empty for a folder of an older version."""
        decisions: Json = self.source.get("decisions") or {}
        return decisions

    @property
    def fusion(self) -> Mapping[str, Mapping[str, float]]:
        """The weight of each module in each task's prediction."""
        weights: Mapping[str, Mapping[str, float]] = self.source["fusion"][0]
        return weights

    @property
    def release(self) -> Json:
        """What the config says of licences and languages; empty for an older folder."""
        release: Json = self.config.get("release") or {}
        return release

    @property
    def scales(self) -> dict[str, scale.Scale]:
        """The scale of each regression."""
        path = self.folder / model_files.SCALES
        return scale.from_json(files.read_json(path) if path.exists() else {})

    @property
    def trunk(self) -> Path | None:
        """The config of its pretrained trunk; None: it has none."""
        path = self.folder / run_files.TRUNK_CONFIG
        return path if path.exists() else None

    @property
    def hub_id(self) -> str | None:
        """The hub's name of its trunk; None: there is no trunk, or it came from a folder."""
        name = self.config["model"].get("pretrained") or ""
        is_id = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists()
        return name if is_id else None

    @property
    def reads_sentences(self) -> bool:
        """Whether its trunk is the sentence encoder, which is no network of torch."""
        return self.trunk is not None and sentences.is_encoder(self.trunk)

    def states(self) -> MaybeDeferred:
        """Return the weights by module; each tensor is read when it is made."""
        from redheart.storage.tensors import load_deferred

        states: MaybeDeferred = load_deferred(self.folder / model_files.WEIGHTS)["members"][0]
        return states

    def encoded(self, texts: list[str]) -> Encoded:
        """Return texts as its network reads them."""
        from redheart.encoding.lexicon import load_lexicon
        from redheart.encoding.tokens import encode_part

        return encode_part(
            [{"text": text} for text in texts],
            (),
            self.folder / model_files.TOKENIZER,
            self.config["train"]["max_tokens"],
            load_lexicon(self.folder / model_files.LEXICON),
            files.read_json(self.trunk) if self.trunk else None,
        )

    def network(self) -> Network:
        """Return its network with its weights, ready to predict; not for the sentence encoder."""
        from redheart.evaluation.inference import network_for
        from redheart.model.pretrained import read_trunk
        from redheart.model.states import load_into

        frozen = None
        if self.trunk and self.recipe.model.frozen:
            frozen = read_trunk(self.trunk, self.folder / run_files.TRUNK_WEIGHTS)
        network = network_for(self.recipe, self.encoded(["text"]), frozen)
        load_into(network, self.states())
        return network.eval()

    def results(self) -> Json | None:
        """Return the results of the run that it lies in; None: it was taken out of its run."""
        results = self._of_run(RESULTS)
        return results if results and self._is_of(results["shipped"]) else None

    def assessment(self) -> Json | None:
        """Return the scores with intervals of the run that it lies in; None: there are none."""
        assessment = self._of_run(ASSESSMENT)
        return assessment if assessment and self._is_of(assessment) else None

    def _of_run(self, name: str) -> Json | None:
        path = self.folder.absolute().parent / name
        content: Json | None = files.read_json(path) if path.is_file() else None
        return content

    def _is_of(self, shipped: Json) -> bool:
        return all(shipped.get(key) == self.source.get(key) for key in ("candidate", "seed"))


def open_shipped(path: Path) -> Shipped:
    """Open a model that shipped, given its folder or that of its run.

    Raises
    ------
    UserError
        There is no such model, its files are not those that shipped, or it has several members.
    """
    folder = model_files.find_model(path)
    if checksums.read_checksums(folder) is None:
        raise UserError(
            f"{folder}: has no {checksums.CHECKSUMS}, so nothing tells whether its files are those "
            "that shipped; the command of its run adds it"
        )
    _ = model_files.ModelFiles(folder).has_hashes  # refuses a folder that is not as it shipped
    config, source = (
        files.read_json(folder / name) for name in (run_files.CONFIG, model_files.RECIPE)
    )
    if len(source["fusion"]) != 1:
        raise UserError(
            f"{folder}: its prediction takes {len(source['fusion'])} networks; only a model of one "
            "network is exported"
        )
    recipe = read_recipe(config)
    train = replace(recipe.train, device="cpu", precision="fp32")
    return Shipped(folder, config, source, replace(recipe, train=train))


def known_scores(results: Json) -> Mapping[str, Any]:
    """Return the shipped candidate's scores on test: `macro`, and by task its metrics."""
    scores: Mapping[str, Any] = results["candidates"][results["shipped"]["candidate"]]["test"]
    return scores
