"""From given texts to written answers: in batches, so that the first answers come early."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import IO

from redheart.errors import UserError
from redheart.serving.inputs import Given
from redheart.serving.outputs import Writer, kept_names, shown
from redheart.serving.shipped_model import TEXTS_AT_ONCE, ShippedModel

# Texts of the first batch: their answers come before the other texts are read.
FIRST_TEXTS = 32
# Texts without an answer that are named one by one.
REFUSALS_SHOWN = 20


def answer_texts(
    model: ShippedModel, texts: Iterable[Given], writer: Writer, stream: IO[str], skips: bool
) -> int:
    """Write the answer for each text, in order; memory holds the texts of one batch.

    Parameters
    ----------
    stream
        What the writer writes to. It is flushed after each batch.
    skips
        Whether a text that cannot be predicted is told and left out. Otherwise it ends the answers,
        after those for all texts before it.

    Returns
    -------
    The number of texts that were left out.

    Raises
    ------
    UserError
        A text cannot be predicted and none is to be left out, or the texts cannot be read further.
    """
    telling = _Telling(model, skips)
    for batch in _batches(texts, telling):
        answers = model.predict([given.record["text"] for given in batch])
        for given, answer in zip(batch, answers, strict=True):
            telling.of_record(given)
            writer.write(given.record, answer)
        stream.flush()
        telling.refuse()
    telling.end()
    return telling.left_out


class _Telling:
    """What a person must know of the texts, each thing told once."""

    def __init__(self, model: ShippedModel, skips: bool) -> None:
        self.skips = skips
        self.tasks = frozenset(task.name for task in model.tasks)
        self.left_out = self.mended = 0
        self.renamed: set[str] = set()
        # What ends the answers, once those before it are written.
        self.refusal: UserError | None = None

    def of_refused(self, given: Given) -> None:
        """Tell why a text is left out, or note it as what ends the answers."""
        reason = shown(given.refusal)  # it may quote names of fields
        if not self.skips:
            self.refusal = UserError(
                f"{given.place}: {reason}; {given.remedy}, or leave such out with --on-error skip"
            )
            return
        self.left_out += 1
        if self.left_out <= REFUSALS_SHOWN:
            print(f"left out: {given.place}: {reason}", file=sys.stderr)

    def of_record(self, given: Given) -> None:
        """Tell of a record's fields that are not written as they are."""
        self.mended += given.is_mended
        if self.tasks.isdisjoint(given.record):
            return
        names = kept_names(given.record, self.tasks)
        for name in (name for name in names if names[name] not in (name, *self.renamed)):
            self.renamed.add(names[name])
            print(
                f"note: the field '{name}' of the records is kept as '{names[name]}', since the "
                "answer of the task of that name stands in its place",
                file=sys.stderr,
            )

    def refuse(self) -> None:
        """Raise what ends the answers, if there is something."""
        if self.refusal:
            raise self.refusal

    def end(self) -> None:
        """Tell the counts."""
        if self.left_out > REFUSALS_SHOWN:
            print(f"left out: {self.left_out - REFUSALS_SHOWN:,} more", file=sys.stderr)
        if self.mended:
            print(
                f"note: in {self.mended:,} records NaN or infinity, which JSON does not have, "
                "became null",
                file=sys.stderr,
            )


def _batches(texts: Iterable[Given], telling: _Telling) -> Iterator[list[Given]]:
    """Yield texts in batches: a small one first, and one wherever a pipe has no more for now.

    A text that cannot be predicted, or an input that cannot be read further, comes after all texts
    before it: the batch with these is yielded first.
    """
    batch: list[Given] = []
    size = FIRST_TEXTS
    given_texts = iter(texts)
    while True:
        try:
            given = next(given_texts, None)
        except UserError as error:
            telling.refusal, given = error, None
        is_last = given is None
        if given is not None and given.refusal:
            telling.of_refused(given)
            is_last = not telling.skips
        elif given is not None and given.place:
            batch.append(given)
        waits = given is not None and not given.place
        if is_last or (batch and (waits or len(batch) >= size)):
            yield batch
            batch, size = [], TEXTS_AT_ONCE
        if is_last:
            return
