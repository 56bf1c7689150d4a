"""The report's tables of the candidates, and the rows of their forest plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redheart.crossover.candidates import BASELINE, NAMES_IN_WORDS, NOTES, REFERENCES
from redheart.json_values import Json
from redheart.report.tables import Table, make_table
from redheart.tasks.metrics import MAIN_METRIC
from redheart.tasks.task import Task

SIGNIFICANT = 0.05
# The beginnings of the titles of the columns that only the table's files have, not the page.
HIDDEN = ("difference", "low", "high", "test, seed")


def candidates_table(results: Json, sources: Mapping[str, Json]) -> Table:
    """Return a row per candidate: its scores on each part, and its cost."""
    rows = [{"name": name, **scores} for name, scores in results["candidates"].items()]
    seeds = sources if any("per_seed" in row for row in rows) else ()

    def of_seed(row: Json, seed: str) -> float | None:
        return row["per_seed"][seed]["test"]["macro"] if "per_seed" in row else None

    def compared(key: str, reference: str) -> Any:
        return lambda row: row["test"][f"versus_{reference}"][key]

    def in_brackets(reference: str) -> Any:
        return lambda row: difference_in_words(results, row["name"], reference)

    differences = [
        column
        for reference in REFERENCES
        for column in (
            (f"against {reference}", "s", in_brackets(reference)),
            (f"p by Holm ({reference})", ".2g", compared("p_holm", reference)),
            *((f"{key}, {reference}", "+.4f", compared(key, reference)) for key in HIDDEN[:3]),
        )
    ]
    return make_table(
        rows,
        ("candidate", "", lambda row: row["name"]),
        ("passes", "g", lambda row: row["forward_passes"]),
        ("val_select", ".3f", lambda row: row["val_select"]),
        ("val_confirm", ".3f", lambda row: row["val_confirm"]),
        ("test", ".3f", lambda row: row["test"]["macro"]),
        *differences,
        *((f"test, seed {s}", ".3f", lambda row, s=s: of_seed(row, s)) for s in seeds),
        mark=lambda row: row["name"] == results["shipped"]["candidate"],
    )


def recipes_table(results: Json, sources: Mapping[str, Json]) -> Table:
    """Return a row per candidate: its note, and the weights that make it."""
    return make_table(
        list(results["candidates"]),
        ("candidate", "", lambda name: name),
        ("what it is", "", lambda name: what_it_is(name, sources)),
        ("made of", "", lambda name: _made_of(name, sources)),
        mark=lambda name: name == results["shipped"]["candidate"],
    )


def tasks_table(results: Json, tasks: Sequence[Task]) -> Table:
    """Return a row per task and metric, the main metric first; a column per candidate."""
    candidates = results["candidates"]
    first = next(iter(candidates.values()))["test"]["tasks"]
    scores = [
        (name, ".3f", lambda row, tested=tested["test"]["tasks"]: tested[row[0].name][row[1]])
        for name, tested in candidates.items()
    ]
    return make_table(
        [(task, metric) for task in tasks for metric in first[task.name]],
        ("task", "", lambda row: row[0].name),
        ("metric", "", lambda row: row[1]),
        *scores,
        mark=lambda row: row[1] == MAIN_METRIC[row[0].kind],
    )


def what_it_is(name: str, sources: Mapping[str, Json]) -> str:
    """Return a candidate's note, and the equal candidate, if there is one in some or all seeds."""
    if name == BASELINE:
        return NOTES[BASELINE]
    by_seed = {seed: of_seed[name] for seed, of_seed in sources.items() if name in of_seed}
    notes = dict.fromkeys(source["note"] for source in by_seed.values() if source.get("note"))
    same = {seed: source["same_as"] for seed, source in by_seed.items() if source.get("same_as")}
    if same and len(set(same.values())) == 1 and len(same) == len(by_seed):
        notes[f"the same as {next(iter(same.values()))}"] = None
    elif same:
        seeds = ", ".join(f"as {twin} in seed {seed}" for seed, twin in same.items())
        notes[f"the same {seeds}"] = None
    return "; ".join(notes)


def _made_of(name: str, sources: Mapping[str, Json]) -> str:
    """Return in words the weights that make a candidate, seed by seed if they differ."""
    if name == BASELINE:
        return ""
    by_seed = {
        seed: _weights(of_seed[name]) for seed, of_seed in sources.items() if name in of_seed
    }
    if len(set(by_seed.values())) < 2:
        return next(iter(by_seed.values()), "")
    return "; ".join(f"seed {seed}: {weights}" for seed, weights in by_seed.items())


def _weights(source: Json) -> str:
    if "offsets" in source:
        return f"variants at offsets {', '.join(map(str, source['offsets']))}"
    epochs = source.get("epochs", ())
    if isinstance(epochs, Mapping):
        base = source.get("base")  # the source of all units without an epoch of their own
        named = [f"{name} of epoch {epoch}" for name, epoch in epochs.items() if epoch != base]
        return (f"{base}; " if base else "") + ", ".join(named)
    return f"{'epoch' if len(epochs) == 1 else 'epochs'} {list_epochs(epochs)}"


def list_epochs(epochs: Sequence[int]) -> str:
    """List epochs; of more than eight, give the range and the number."""
    if len(epochs) > 8:
        return f"{min(epochs)} to {max(epochs)} ({len(epochs)} of them)"
    return ", ".join(map(str, sorted(epochs)))


def comparison_rows(results: Json) -> list[dict[str, Any]]:
    """Return a row per candidate for the forest plot, in the order of the results."""
    return [
        {
            "label": _labelled(name, result["forward_passes"]),
            "ships": name == results["shipped"]["candidate"],
            "yardstick": name == BASELINE,
            "against": {
                reference: {
                    **result["test"][f"versus_{reference}"],
                    "seeds": _seed_differences(results, name, reference),
                    "words": difference_in_words(results, name, reference).partition(" ")[0],
                    "significant": _is_significant(result["test"][f"versus_{reference}"]),
                }
                for reference in REFERENCES
            },
        }
        for name, result in results["candidates"].items()
    ]


def _labelled(name: str, passes: int) -> str:
    return f"{in_words(name)} ×{passes}" if passes > 1 else in_words(name)


def _is_significant(versus: Json) -> bool:
    return versus["p_holm"] is not None and versus["p_holm"] < SIGNIFICANT


def _seed_differences(results: Json, name: str, reference: str) -> list[float]:
    """Return the difference to the reference by training seed; none if there is only one seed."""
    scores, references = (
        [seed["test"]["macro"] for seed in results["candidates"][key].get("per_seed", {}).values()]
        for key in (name, reference)
    )
    pairs = zip(scores, references, strict=False) if name != reference else ()
    return [a - b for a, b in pairs if a is not None and b is not None]


def in_words(name: str) -> str:
    """Return a candidate's name as a noun without an article."""
    return NAMES_IN_WORDS.get(name, name.replace("_", " ")).removeprefix("the ")


def difference_in_words(results: Json, name: str, reference: str) -> str:
    """Return a candidate's difference to another with its 95 % interval."""
    versus = results["candidates"][name]["test"][f"versus_{reference}"]
    if name == reference:
        return "reference"
    if versus["difference"] is None:
        return "undefined"
    return f"{versus['difference']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]"
