"""The first screen of the report: what a person asks of a run, answered in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redheart.json_values import Json
from redheart.report.advice import Advice
from redheart.report.candidate_tables import SIGNIFICANT, in_words
from redheart.report.contents import ReportInputs
from redheart.report.task_tables import metric_in_words, percent
from redheart.selection.comparison import noise_sentence
from redheart.selection.openings import openings_sentence

LINEAR = "TF-IDF + linear"
# A class counts among the worst only with so many records in test: fewer say too little.
ENOUGH_IN_TEST = 5
WORST = 3  # so many classes and pairs are named
# From this expected calibration error on, stated probabilities mislead.
LARGE_ERROR = 0.05
MOST_NAMED = 6  # tasks in a sentence
MOST_OPENINGS = 3  # of test, with all that is to be said of them


@dataclass(frozen=True)
class Answer:
    """A question of a reader, and its answer."""

    question: str
    """The question in words."""
    sentences: tuple[str, ...]
    """The answer."""
    link: str
    """The part of the page with the evidence."""


def headline(assessment: Json) -> str:
    """Return the first sentence of the report: how good, how sure, and against TF-IDF."""
    macro = assessment["macro"]
    if macro["score"] is None:
        return "No task is labelled in the test part, so the model has no score."
    what = "macro score" if len(assessment["tasks"]) > 1 else _only_metric(assessment)
    return (
        f"On {assessment['records']:,} texts that it has never seen, the model's {what} is "
        f"{macro['score']:.3f} of 1 (95 % interval {macro['low']:.3f} to {macro['high']:.3f}): "
        f"{_verdict(assessment)}."
    )


def answers(inputs: ReportInputs, advice: Sequence[Advice]) -> list[Answer]:
    """Return the questions with their answers, in the order of the page."""
    assessment = inputs.assessment
    return [
        Answer("How good is it?", tuple(_how_good(assessment)), "tasks"),
        Answer("Compared with what?", tuple(_compared(assessment)), "tasks"),
        Answer("How sure is that?", tuple(_how_sure(inputs)), "reading"),
        Answer("Where is it bad?", tuple(_where_bad(assessment)), "tasks"),
        Answer("What next?", tuple(_next(advice)), "next"),
        Answer("Are labels wrong?", tuple(_labels(inputs.suspects)), "suspects"),
        Answer("Can its probabilities be believed?", tuple(_probabilities(inputs)), "tasks"),
        Answer("Did it train long enough?", tuple(_training(inputs)), "training"),
        Answer("What did it learn from?", tuple(_data(inputs)), "data"),
        Answer("What ships?", tuple(_ships(inputs)), "candidates"),
    ]


def compared_tasks(assessment: Json) -> dict[str, list[str]]:
    """Return the tasks by how they compare with TF-IDF + linear, beyond chance by Holm.

    Returns
    -------
    The names under `better`, `worse`, `equal` (chance may explain the difference) and `unknown`.
    """
    groups: dict[str, list[str]] = {"better": [], "worse": [], "equal": [], "unknown": []}
    for name, task in assessment["tasks"].items():
        versus = task["versus_baseline"]
        if versus["difference"] is None:
            groups["unknown"].append(name)
        elif versus["p_holm"] is None or versus["p_holm"] >= SIGNIFICANT:
            groups["equal"].append(name)
        else:
            groups["better" if versus["difference"] > 0 else "worse"].append(name)
    return groups


def worst_classes(assessment: Json) -> list[tuple[str, Json]]:
    """Return task and row of the classes with the lowest F1, of those seen often enough in test."""
    rows = [
        (name, row)
        for name, task in assessment["tasks"].items()
        for row in task.get("classes") or ()
        if row["f1"] is not None and (row["support"] or 0) >= ENOUGH_IN_TEST
    ]
    return sorted(rows, key=lambda row: (row[1]["f1"], row[0], row[1]["name"]))[:WORST]


def confused_words(pair: Json) -> str:
    """Return a confused pair in words."""
    return (
        f"{percent(pair['share'])} of {_quoted(pair['true'])} are taken for "
        f"{_quoted(pair['predicted'])} ({pair['count']})"
    )


def _verdict(assessment: Json) -> str:
    groups, total = compared_tasks(assessment), len(assessment["tasks"])
    better, worse = len(groups["better"]), len(groups["worse"])
    if len(groups["unknown"]) == total:
        return "there is nothing to compare it with"
    if total == 1:
        verdict = "better than" if better else "worse than" if worse else "not to be told from"
        return f"{verdict} a linear model on words ({LINEAR})"
    parts = [f"better on {better}"] if better else []
    parts += [f"worse on {worse}"] if worse else []
    if not parts:
        return f"on none of {total} tasks to be told from a linear model on words ({LINEAR})"
    return f"{' and '.join(parts)} of {total} tasks than a linear model on words ({LINEAR})"


def _how_good(assessment: Json) -> Iterator[str]:
    tasks = {n: t for n, t in assessment["tasks"].items() if t["score"] is not None}
    if not tasks:
        yield "Nobody knows: no record of test has a label."
        return
    by_score = sorted(tasks, key=lambda name: -tasks[name]["score"])
    shown = by_score if len(by_score) <= MOST_NAMED else [*by_score[:3], *by_score[-3:]]
    few = (
        ""
        if len(shown) == len(by_score)
        else f", the three best and the three worst of {len(by_score)}"
    )
    yield f"By task, 0 to 1, with the 95 % interval{few}:"
    for name in shown:
        task = tasks[name]
        yield (
            f"{name} {task['score']:.3f} [{task['low']:.3f}, {task['high']:.3f}], "
            f"{metric_in_words(task['metric'])}"
        )


def _compared(assessment: Json) -> Iterator[str]:
    macro, groups = assessment["macro"], compared_tasks(assessment)
    versus = macro["versus_baseline"]
    if macro["majority"] is not None:
        yield f"Always the most frequent answer: {macro['majority']:.3f}."
    if versus["difference"] is not None:
        yield (
            f"{LINEAR}: {macro['baseline']:.3f}, so the model's gain is "
            f"{versus['difference']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]."
        )
    else:
        yield f"It cannot be compared with {LINEAR}: no record of test has a label."
    for words, key in (("Worse", "worse"), ("Better", "better")):
        if groups[key]:
            named = [
                f"{n} ({assessment['tasks'][n]['versus_baseline']['difference']:+.3f})"
                for n in groups[key]
            ]
            yield f"{words} beyond chance: {_listed(named)}."
    if groups["equal"]:
        yield f"Chance may explain the difference: {_listed(groups['equal'])}."


def _how_sure(inputs: ReportInputs) -> Iterator[str]:
    macro, assessment = inputs.assessment["macro"], inputs.assessment
    if macro["score"] is not None:
        half = (macro["high"] - macro["low"]) / 2
        yield (
            f"To about ±{half:.3f}: {assessment['records']:,} texts in {assessment['clusters']:,} "
            f"groups of similar ones, drawn anew {assessment['resamples']:,} times."
        )
    results = inputs.results
    per_seed = results["candidates"][results["shipped"]["candidate"]].get("per_seed", {})
    yield noise_sentence(len(per_seed) or 1)
    access = results["test_access"]
    if access["openings"] <= MOST_OPENINGS:
        yield openings_sentence(access)
    else:
        yield f"Test was opened {access['openings']} times; this was number {access['opening']}."


def _where_bad(assessment: Json) -> Iterator[str]:
    for name, row in worst_classes(assessment):
        yield (
            f"{name}, {_quoted(row['name'])}: F1 {row['f1']:.2f} ({row['support']:,} in test, "
            f"{row['train']:,} in train)."
        )
    rare = [
        row
        for task in assessment["tasks"].values()
        for row in task.get("classes") or ()
        if (row["support"] or 0) < ENOUGH_IN_TEST
    ]
    if rare:
        what = "1 class has" if len(rare) == 1 else f"{len(rare)} classes have"
        yield f"{what} fewer than {ENOUGH_IN_TEST} records in test, too few to tell."
    pairs = [
        (name, pair)
        for name, task in assessment["tasks"].items()
        for pair in (task.get("confused") or ())
        if pair["count"] >= ENOUGH_IN_TEST
    ]
    for name, pair in sorted(pairs, key=lambda row: -row[1]["share"])[:1]:
        yield f"{name}: {confused_words(pair)}."
    outputs = [
        (output["r2"], output["name"] if output["name"] == name else f"{name}, {output['name']}")
        for name, task in assessment["tasks"].items()
        for output in task.get("outputs") or ()
        if output["r2"] is not None
    ]
    for r2, name in sorted(outputs)[:1]:
        yield f"Least well predicted number: {name} (R² {r2:.2f})."
    unseen = [n for n, task in assessment["tasks"].items() if not task["labelled"]]
    if unseen:
        yield f"Nobody knows of {_listed(unseen)}: no record of test has a label."


def _probabilities(inputs: ReportInputs) -> Iterator[str]:
    errors = {
        name: task["calibration"]["ece"]
        for name, task in inputs.assessment["tasks"].items()
        if (task.get("calibration") or {}).get("ece") is not None
    }
    if errors:
        worst = max(errors, key=lambda name: errors[name])
        verdict = "No" if min(errors.values()) >= LARGE_ERROR else "Not of every task"
        verdict = "Yes" if errors[worst] < LARGE_ERROR else verdict
        named = [f"{name} {percent(error, 1)}" for name, error in errors.items()]
        yield f"{verdict}: they miss what came true, on average, by {_listed(named)}."
    for name, task in inputs.assessment["tasks"].items():
        covered = [o["coverage"] for o in task.get("outputs") or () if o["coverage"] is not None]
        stated = inputs.decisions.get("tasks", {}).get(name, {}).get("coverage")
        if covered and stated is not None:
            yield (
                f"{name}: the {percent(stated)} interval held "
                f"{percent(sum(covered) / len(covered))} of the true values."
            )
        elif task["kind"] == "regression":
            few = all(o["half_width"] is None for o in task.get("outputs") or ())
            why = "too few validation records" if few else "no test record has a value"
            yield f"{name}: how often an interval holds is not known, {why}."


def _labels(suspects: Json | None) -> Iterator[str]:
    if suspects is None:
        yield "They were not examined (data_map.enabled: false)."
        return
    counts = {name: task["suspected"] for name, task in suspects["tasks"].items()}
    total = sum(counts.values())
    if not total:
        yield "None is suspected."
        return
    named = [f"{name} {count:,}" for name, count in counts.items() if count]
    yield f"{total:,} are suspected: {_listed(named)}."
    yield (
        f"At most about {percent(suspects['false_discovery_rate'])} of such a list are right after "
        f"all; {suspects['checkpoints']} checkpoints were asked."
    )


def _training(inputs: ReportInputs) -> Iterator[str]:
    spots = [s for of_seed in inputs.sweet_spots.values() for s in of_seed["groups"].values()]
    epochs, last = [spot["epoch"] for spot in spots], trained_epochs(inputs)
    over = sum(spot["overfitting_epoch"] is not None for spot in spots)
    yield (
        f"The groups of modules are best in {_range(min(epochs), max(epochs))} of {last}; "
        f"{over} of {len(spots)} provably {'gets' if over == 1 else 'get'} worse behind theirs."
    )
    yield f"Learning rate {inputs.results['best_learning_rate']}, chosen in the sweep."


def trained_epochs(inputs: ReportInputs) -> int:
    """Return the last epoch of the main training."""
    spots = [s for of_seed in inputs.sweet_spots.values() for s in of_seed["groups"].values()]
    return int(max(epoch for spot in spots for epoch in spot["curve"]["epochs"]))


def _data(inputs: ReportInputs) -> Iterator[str]:
    data, parts = inputs.results["data"], inputs.parts
    yield (
        f"{len(parts['train']):,} texts; {data['kept']:,} of {data['read']:,} records are left "
        f"({data['rejected']:,} refused, {data['removed']:,} near-duplicates removed)."
    )
    holds = all(claim["holds"] for claim in inputs.split["certificate"])
    yield (
        "No near-duplicate of a test text is in train: the split proves it."
        if holds
        else "Not every claim about the split holds: see its certificate."
    )


def _ships(inputs: ReportInputs) -> Iterator[str]:
    results = inputs.results
    name = results["shipped"]["candidate"]
    yield f"The {in_words(name)}, of {len(results['candidates'])} candidates."
    yield f"redheart predict results/{results['run']}/model texts.jsonl"


def _next(advice: Sequence[Advice]) -> Iterator[str]:
    if not advice:
        yield "No rule has anything to say."
    for number, entry in enumerate(advice, 1):
        yield f"{number}. {entry.short}."


def _range(first: int, last: int) -> str:
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def _only_metric(assessment: Json) -> str:
    return metric_in_words(next(iter(assessment["tasks"].values()))["metric"])


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:MOST_NAMED])
    more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return ", ".join([*shown, *more])


def _quoted(name: object) -> str:
    return f"“{' '.join(str(name).split())}”"
