"""The model that shipped, opened once: from texts to probabilities and to answers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from redheart.encoding import sentences
from redheart.encoding.tokens import PADDING_ID, Encoded
from redheart.errors import UserError
from redheart.recipe.build import read_recipe
from redheart.serving.answers import Answer, Decision, answers_of
from redheart.serving.model_files import RECIPE, TOKENIZER, ModelFiles, find_model
from redheart.tasks.task import Task

if TYPE_CHECKING:
    from redheart.model.network import Network

# Texts that are predicted at once: more are hardly faster, and fewer are answered earlier.
TEXTS_AT_ONCE = 512
# A network of fewer parameters predicts on one thread: the work between two waits is too small to
# be shared, and on a busy machine the waits cost several times the work.
SMALL_NETWORK = 5_000_000
# The characters of a refused value that a message shows.
SHOWN = 40


class ShippedModel:
    """A model that shipped. Its files are read once; several threads may use it at a time.

    Parameters
    ----------
    path
        The folder of a model, the folder of a run, or the name of a run in `results/`.

    Attributes
    ----------
    folder : Path
        The model's folder.
    tasks : tuple of Task
        What it predicts, in the order of the config.
    decisions : dict
        Task -> thresholds or intervals of its answers.

    Raises
    ------
    UserError
        There is no model, it is not as it shipped, or its files cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self._files = ModelFiles(find_model(path))
        self.folder: Path = self._files.folder
        self._lock = threading.Lock()
        # The member whose weights the network holds.
        self._loaded: int | None = None
        # The hashes first: they name a damaged file better than its reader can.
        _ = self._files.has_hashes
        with self._files.used():
            self._open()

    def _open(self) -> None:
        config, self._source = self._files.config(), self._files.recipe()
        recipe = read_recipe(config)
        # The model may have been trained on a device that this machine does not have.
        self._recipe = replace(recipe, train=replace(recipe.train, device="auto"))
        self.tasks: tuple[Task, ...] = recipe.tasks
        self.decisions: dict[str, Decision] = self._files.decisions(recipe.tasks)
        self._lexicon, self._scales = self._files.lexicon(), self._files.scales()
        self._max_tokens = config["train"]["max_tokens"]
        self._vocabulary_size = self._files.vocabulary_size()
        self._tokenizer = self._files.tokenizer()
        self._tokenizer.enable_truncation(self._max_tokens)
        is_frozen = recipe.model.frozen
        self._reads_sentences = is_frozen and sentences.is_encoder(self._files.trunk[0])
        is_learned = config["model"].get("pretrained") and not is_frozen
        self._trunk = self._files.trunk_config() if is_learned else None
        self._members = self._files.members()
        if (members := len(self._members)) != (fused := len(self._source["fusion"])):
            reason = f"{members} members, and the fusion of {fused}"
            raise self._files.unusable(RECIPE, "cannot be used", reason)
        self._network = self._built()

    def _built(self) -> Network:
        from redheart.evaluation.inference import network_for
        from redheart.model.pretrained import read_trunk

        is_frozen = self._recipe.model.frozen and not self._reads_sentences
        trunk = read_trunk(*self._files.trunk) if is_frozen else None
        with _threads_kept():
            # The sizes of a network depend on no text, so any text shows them.
            network = network_for(self._recipe, self._encoded(["-"]), trunk)
        if sum(parameter.numel() for parameter in network.parameters()) < SMALL_NETWORK:
            train = replace(self._recipe.train, cpu_threads=1)
            self._recipe = replace(self._recipe, train=train)
        return network

    # --- predictions --------------------------------------------------------------------------

    def predict(self, texts: Iterable[str]) -> list[dict[str, Answer]]:
        """Return for each text: task -> answer, as `redheart predict` writes it.

        Parameters
        ----------
        texts
            A list, an array or any other iterable of texts, none of them empty.

        Raises
        ------
        UserError
            A text is no `str` or is empty; the message names its place.
        """
        return list(self.stream(texts))

    def stream(self, texts: Iterable[str]) -> Iterator[dict[str, Answer]]:
        """Yield the answer for each text while others are still read; memory holds few of them.

        Raises
        ------
        UserError
            A text is no `str` or is empty; the message names its place.
        """
        for batch in _batches(texts):
            yield from answers_of(self.tasks, self.decisions, self._predicted(batch))

    def predict_probabilities(self, texts: Iterable[str]) -> dict[str, np.ndarray]:
        """Return task -> float [n, width]: a row for each text, a column for each output.

        `classes` names the columns. Values of a regression have the unit of the training data.

        Raises
        ------
        UserError
            A text is no `str` or is empty; the message names its place.
        """
        batches = [self._predicted(batch) for batch in _batches(texts)]
        return {
            task.name: np.concatenate(
                [np.zeros((0, task.width), np.float32), *(batch[task.name] for batch in batches)]
            )
            for task in self.tasks
        }

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Task -> names of its outputs, in the order of the columns of its probabilities."""
        return {task.name: task.output_names for task in self.tasks}

    def _predicted(self, texts: Sequence[str]) -> Mapping[str, np.ndarray]:
        from redheart.crossover.candidate_predictions import combine

        with self._files.used():
            part = self._encoded(texts)
            with self._lock, _threads_kept():
                weights = enumerate(self._source["fusion"])
                members = [self._of_member(part, member, fusion) for member, fusion in weights]
            predicted = combine(members, self._source.get("tasks"))
            restored = {name: s.restored(predicted[name]) for name, s in self._scales.items()}
            return self._finite(predicted | restored)

    def _of_member(self, part: Encoded, member: int, fusion: Any) -> dict[str, np.ndarray]:
        """Return the predictions of a member, whose weights are loaded unless they were last."""
        from redheart.evaluation.fusion import fused_predictions
        from redheart.evaluation.inference import contributions
        from redheart.model.states import load_into

        if self._loaded != member:
            self._loaded = None
            load_into(self._network, self._members[member])
            self._loaded = member
        contributed = contributions(self._network, part, self._recipe.train)
        return fused_predictions(self.tasks, contributed, fusion)

    def _finite(self, predicted: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        for name, rows in predicted.items():
            if not np.isfinite(rows).all():
                raise UserError(
                    f"{self.folder}: a prediction of '{name}' is not finite; where its run was "
                    "made, set train.precision: fp32 and run it again"
                )
        return predicted

    def _encoded(self, texts: Sequence[str]) -> Encoded:
        """Return the texts as `tokens.encode_part` would, with what is read from files once."""
        encodings = self._tokenizer.encode_batch(list(texts))
        part = Encoded(
            tuple(np.array(e.ids or [PADDING_ID], dtype=np.int32) for e in encodings),
            {},
            self._vocabulary_size,
            self._max_tokens,
            self._lexicon.transform(texts),
            self._trunk,
        )
        if not self._reads_sentences:
            return part
        paths = self._files.trunk[0], self.folder / TOKENIZER
        batches = sentences.sentence_features(*paths, texts, self._max_tokens)
        return replace(part, features=tuple(row for batch in batches for row in batch))


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Give torch back the number of threads that it has: the program may use it for more."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    if isinstance(texts, str | bytes):
        raise UserError("expected a list of texts, got a single one; write [text]")
    # A record, a frame and a set can be iterated too: over their names, or in any order.
    in_order = isinstance(texts, Iterable) and not isinstance(texts, Mapping | Set)
    if not in_order or getattr(texts, "ndim", 1) != 1:
        kind = type(texts).__name__
        raise UserError(f"expected a list of texts, got {kind}; of a table, give one column")
    checked = (_checked(text, place) for place, text in enumerate(texts))
    while batch := list(islice(checked, TEXTS_AT_ONCE)):
        yield batch


def _checked(text: Any, place: int) -> str:
    from redheart.data.records import check_text

    if not isinstance(text, str):
        shown = f"{type(text).__name__} ({str(text)[:SHOWN]})"
        raise UserError(f"text {place}, counted from 0: expected a str, got {shown}")
    try:
        check_text({"text": text}, len(text))
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"text {place}, counted from 0: holds half of a character") from None
    except ValueError as reason:
        raise UserError(f"text {place}, counted from 0: {reason}; leave it out") from None
    return str(text)
