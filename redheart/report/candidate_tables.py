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
HIDDEN = ("name", "difference", "low", "high", "test, seed")


def candidates_table(results: Json, sources: Mapping[str, Json]) -> Table:
    """Return a row per candidate: its scores on each part, and its cost.

    Candidates with the very same weights are one row, under the name of the first of them.
    """
    twins = same_weights(results, sources)
    rows = [{"name": name, **results["candidates"][name]} for name in twins]
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
            (f"against {in_words(reference)}", "s", in_brackets(reference)),
            ("p by Holm", ".2g", compared("p_holm", reference)),
            *((f"{key}, {reference}", "+.4f", compared(key, reference)) for key in HIDDEN[1:4]),
        )
    ]
    return make_table(
        rows,
        ("candidate", "", lambda row: words_and_names(twins[row["name"]])),
        ("name", "", lambda row: row["name"]),
        ("passes", "g", lambda row: row["forward_passes"]),
        ("val_select", ".3f", lambda row: row["val_select"]),
        ("val_confirm", ".3f", lambda row: row["val_confirm"]),
        ("test", ".3f", lambda row: row["test"]["macro"]),
        *differences,
        *((f"test, seed {s}", ".3f", lambda row, s=s: of_seed(row, s)) for s in seeds),
        mark=lambda row: results["shipped"]["candidate"] in twins[row["name"]],
    )


def recipes_table(results: Json, sources: Mapping[str, Json]) -> Table:
    """Return a row per candidate: its note, and the weights that make it."""
    twins = same_weights(results, sources)
    return make_table(
        list(twins),
        ("candidate", "", lambda name: words_and_names(twins[name])),
        ("what it is", "", lambda name: what_it_is(name, sources)),
        ("made of", "", lambda name: _made_of(name, sources)),
        mark=lambda name: results["shipped"]["candidate"] in twins[name],
    )


def tasks_table(results: Json, tasks: Sequence[Task]) -> Table:
    """Return a row per task, metric and candidate: the value on test, the main metric first."""
    candidates = results["candidates"]
    first = next(iter(candidates.values()))["test"]["tasks"]
    return make_table(
        [(t, metric, name) for t in tasks for metric in first[t.name] for name in candidates],
        ("task", "", lambda row: row[0].name),
        ("metric", "", lambda row: row[1]),
        ("candidate", "", lambda row: row[2]),
        ("value", ".3f", lambda row: candidates[row[2]]["test"]["tasks"][row[0].name][row[1]]),
        mark=lambda row: row[1] == MAIN_METRIC[row[0].kind],
    )


def same_weights(results: Json, sources: Mapping[str, Json]) -> dict[str, list[str]]:
    """Return the candidates by the first one that has the same weights in every training seed.

    Returns
    -------
    The names, in the order of the results; each list begins with its key.
    """
    twins: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for name in results["candidates"]:
        equal = {of_seed.get(name, {}).get("same_as") for of_seed in sources.values()}
        twin = equal.pop() if len(equal) == 1 else None
        first[name] = first.get(twin, name) if twin else name
        twins.setdefault(first[name], []).append(name)
    return twins


def words_and_names(names: Sequence[str]) -> str:
    """Return candidates as words, each with its name: `greedy soup (greedy_soup)`."""
    return " = ".join(
        in_words(n) if in_words(n) == n or n == BASELINE else f"{in_words(n)} ({n})" for n in names
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
        named = [f"{name} of {_place(epoch)}" for name, epoch in epochs.items() if epoch != base]
        if not base:
            return ", ".join(named)
        return f"the {in_words(base)}" + (f", with {', '.join(named)}" if named else ", unchanged")
    return f"{'epoch' if len(epochs) == 1 else 'epochs'} {list_epochs(epochs)}"


def _place(source: int | str) -> str:
    return f"epoch {source}" if isinstance(source, int) else f"the {in_words(source)}"


def list_epochs(epochs: Sequence[int]) -> str:
    """List epochs; of more than eight, give the range and the number."""
    if len(epochs) > 8:
        return f"{min(epochs)} to {max(epochs)} ({len(epochs)} of them)"
    return ", ".join(map(str, sorted(epochs)))


def comparison_rows(results: Json, sources: Mapping[str, Json]) -> list[dict[str, Any]]:
    """Return a row per candidate for the forest plot; those with the same weights are one row."""
    twins = same_weights(results, sources)
    return [
        {
            "label": _labelled(name, result["forward_passes"], len(twins[name]) - 1),
            "ships": results["shipped"]["candidate"] in twins[name],
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
        for name, result in ((name, results["candidates"][name]) for name in twins)
    ]


def _labelled(name: str, passes: int, others: int) -> str:
    more = f" (+{others} equal)" if others else ""
    return f"{in_words(name)} ×{passes}" if passes > 1 else f"{in_words(name)}{more}"


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
