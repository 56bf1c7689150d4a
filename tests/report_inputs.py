"""Made-up inputs of the report, of realistic size; and the same with markup in every text."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import assessed
import numpy as np

from redheart.duplicates.report import label_agreement
from redheart.report.contents import ReportInputs
from redheart.selection import bootstrap, comparison
from redheart.split import report as split_report
from redheart.split.dealing import split_records
from redheart.split.parts import SplitOptions
from redheart.sweep.choice import choose_rate
from redheart.sweep.trials import derive, join_repeats, summarise
from redheart.sweet_spots.choice import find_sweet_spots
from redheart.tasks.task import Task, target_matrix

EMOTIONS = ("joy", "anger", "surprise", "disgust", "sadness", "shame", "fear")
VERDICTS = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
TASKS = (
    Task("emotion", "distribution", "emotions", EMOTIONS),
    Task("bentham", "regression", "bentham", ("intensity", "duration")),
    Task("regret", "regression", "regret"),
    Task("topics", "multilabel", "topics", ("family", "work", "money")),
    Task("verdict", "multiclass", "label", VERDICTS),
)
GROUPS = {
    "A": ("backbone", *(f"heads.{task.name}" for task in TASKS)),
    "B": tuple(f"neural_{task.name}" for task in TASKS),
    "C": ("dsp", "kalman"),
    **{f"advanced_{name}": (f"advanced_{name}",) for name in ("emotion", "regret", "bentham")},
}
# How far each candidate's predictions lie from the truth.
NOISE = {
    **{"last": 0.62, "best_single": 0.55, "ema": 0.54, "uniform_soup": 0.53},
    **{"greedy_soup": 0.50, "crossover": 0.51, "variants_ensemble": 0.505, "tfidf_linear": 0.62},
}
# As many candidates as a run with a search has.
MANY = {
    **NOISE,
    **{"single_by_loss": 0.56, "single_by_units": 0.55, "ema_last": 0.56, "uniform_soup_ema": 0.53},
    **{"greedy_soup_ema": 0.50, "per_task_best": 0.48, "crossover_units": 0.52, "ascent": 0.47},
    **{"crossover_units_ema": 0.52, **{f"variant_{o}": 0.53 for o in (-4, -2, 0, 2, 4)}},
}
UNITS = {
    "trunk": GROUPS["A"],
    **{name: (name,) for group in list(GROUPS)[1:] for name in GROUPS[group]},
}
# Short enough for the previews of texts, which hold 80 characters.
HOSTILE = "<script>ran=1</script><img src=x onerror=ran=1> a|b\n*c* _d_ `e` [f](g)"


def records(n, tasks, generator):
    """Return labelled records whose texts are 50 to a few thousand characters long."""
    values = {
        "distribution": lambda task: generator.dirichlet(np.ones(task.width)).tolist(),
        "regression": lambda task: (
            generator.random(task.width).tolist() if task.classes else float(generator.random())
        ),
        "multilabel": lambda task: generator.integers(0, 2, task.width).tolist(),
        "multiclass": lambda task: task.classes[int(task.width * generator.random() ** 2)],
    }
    lengths = (50 + 1700 * generator.lognormal(-0.3, 0.7, n)).astype(int)
    return [
        {
            "id": f"r{i}",
            "text": "x" * length,
            **{task.field: values[task.kind](task) for task in tasks},
        }
        for i, length in enumerate(lengths)
    ]


def sweep_files(rates, generator):
    """Return best_lr.json and curves.json of a sweep with three repeats a rate."""

    def trial(i, rate, seed):
        diverged = {"epoch": 1, "reason": "the loss is not finite"} if rate >= 0.01 else None
        losses = [
            (2 - 0.3 * i * np.tanh(epoch / 3) + generator.normal(0, 0.02), epoch)
            for epoch in range(1, 6)
        ]
        epochs = derive(
            [
                {
                    "epoch": epoch,
                    "train_loss": loss - 0.05 * epoch,
                    "val_loss": None if rate == 0.003 else loss,
                    "val_loss_se": None if rate == 0.003 else 0.03,
                    "gradient_norm": {"mean": 1.0, "std": 0.2, "max": 2.0, "min": 0.1},
                }
                for loss, epoch in ([] if diverged else losses)
            ]
        )
        summary = summarise(epochs)
        trial = {"learning_rate": rate, "seed": seed, "diverged": diverged}
        return {**trial, "epochs": epochs, "summary": summary, "record_losses": []}

    joined = [
        join_repeats([trial(i, rate, seed) for seed in range(3)]) for i, rate in enumerate(rates)
    ]
    return choose_rate(joined)


def spots_file(groups, epochs, generator):
    """Return sweet_spots.json of groups that overfit one after the other."""
    turns = {group: 12 + 9 * i for i, group in enumerate(groups)}

    def row(turn, epoch):
        val = 1.2 + 0.6 * np.exp(-epoch / 8) + 0.012 * max(0, epoch - turn)
        return {
            "train_loss": 0.5 + 1.2 * np.exp(-epoch / 18) + generator.normal(0, 0.01),
            "val_loss": val + generator.normal(0, 0.015),
            "stability": 0.8,
        }

    metrics = [
        {"epoch": epoch, "groups": {group: row(turn, epoch) for group, turn in turns.items()}}
        for epoch in epochs
    ]
    return find_sweet_spots(metrics, groups)


def search_file(epochs, generator, moves=4):
    """Return search.json of one seed: a few units are exchanged, and every one has a heat map."""
    units = [unit for unit in UNITS if unit != "trunk"]
    path = [
        {"unit": unit, "from": "greedy_soup", "to": 2 + 8 * i, "task": TASKS[i].name}
        | {"before": 0.4 + 0.01 * i, "after": 0.412 + 0.008 * i}
        for i, unit in enumerate(units[:moves])
    ]
    grid = epochs[:: len(epochs) // 5]
    scores = [
        [0.45 - 0.0002 * (t - 40) ** 2 / 40 - 0.0004 * abs(t - u) for u in grid] for t in grid
    ]
    heat = {"trunk_epochs": grid, "unit_epochs": grid}
    return {
        "units": units,
        "trunk": {"source": "greedy_soup"},
        "epochs": epochs,
        "path": path,
        "chosen": dict.fromkeys(units, "greedy_soup") | {move["unit"]: move["to"] for move in path},
        "heat_map": {
            "unit": {
                unit: {**heat, "scores": (np.array(scores) + generator.normal(0, 1e-3)).tolist()}
                for unit in units
            }
        },
    }


def sources_file(spots):
    """Return candidates.json of one seed."""
    epochs = {group: spot["epoch"] for group, spot in spots["groups"].items()}
    return {
        "last": {"epochs": [60]},
        "best_single": {"epochs": [14]},
        "ema": {"epochs": [22]},
        "uniform_soup": {"epochs": list(range(2, 61, 2))},
        "greedy_soup": {"epochs": [14, 18, 22]},
        "crossover": {"epochs": epochs},
        "variants_ensemble": {"offsets": [-4, -2, 0, 2, 4], "note": "several models"},
        "ascent": {
            "base": "greedy_soup",
            "epochs": {"dsp": 4, "kalman": "greedy_soup"},
            "note": "units, one by one",
        },
        "variant_4": {"epochs": epochs, "note": "shifted by 4", "same_as": "variant_2"},
    }


def results_file(tasks, parts, seeds, generator, noise):
    """Return final_results.json of candidates that miss the truth by their `NOISE`."""
    targets = {
        part: {task.name: target_matrix(task, members) for task in tasks}
        for part, members in parts.items()
        if part != "train"
    }

    def guess(share, target):
        return np.clip(target + generator.normal(0, share, target.shape), 1e-3, None)

    predictions = {
        name: {
            seed: {
                part: {task: guess(share, target) for task, target in by_task.items()}
                for part, by_task in targets.items()
            }
            for seed in (seeds if name != "tfidf_linear" else seeds[:1])
        }
        for name, share in noise.items()
    }
    passes = {"variants_ensemble": 5, "per_task_best": 3, "tfidf_linear": 0}
    on_test = {name: [of["test"] for of in runs.values()] for name, runs in predictions.items()}
    alone = np.arange(len(parts["test"]))
    resampled = bootstrap.bootstrap_scores(tasks, on_test, targets["test"], alone, 100)
    candidates = comparison.candidate_results(
        tasks, predictions, targets, resampled, dict.fromkeys(noise, 1) | passes, {}
    )
    macro = {name: candidates[name]["test"]["macro"] for name in noise}
    against = bootstrap.Interval(0.021, 0.004, 0.039)
    return {
        "run": "demo",
        "provenance": {"commit": "c0ffee", "versions": {}, "command": "", "config_sha256": ""},
        "data": {"read": 10_460, "rejected": 9, "removed": 312, "kept": 10_139, "parts": {}},
        "best_learning_rate": 0.0003,
        "sweet_spots": {},
        "shipped": {"candidate": "greedy_soup", "reason": "The greedy soup ships.", "seed": 0},
        "baseline_sentence": comparison.baseline_sentence(
            "greedy_soup", macro["greedy_soup"], macro["tfidf_linear"], against
        ),
        "test_access": {"opening": 1, "openings": 1, "others": []},
        "candidates": candidates,
        "cost": {"seconds": {"train": 1234.5}, "peak_memory_bytes": 987654321, "disk_bytes": 1},
    }


# The arguments of the largest inputs.
SEARCHED = ((0, 1, 2), TASKS, tuple(GROUPS), 400, True)


@cache
def synthetic(seeds=(0,), tasks=TASKS, groups=tuple(GROUPS), n=400, searched=False):
    """Return inputs of realistic size: 30 checkpoints, 7 rates, 8 candidates."""
    generator = np.random.default_rng(0)
    corpus = records(n, tasks, generator)
    options = SplitOptions()
    strata = [record.get("label", "all") for record in corpus]
    pairs = [(0, 1, 0.91), (5, 9, 0.84), (9, 30, 0.85)]
    indices = split_records(corpus, [pair[:2] for pair in pairs], strata, options)
    parts = {part: [corpus[i] for i in members] for part, members in indices.items()}
    best, curves = sweep_files((1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2), generator)
    chosen = {group: GROUPS[group] for group in groups}
    spots = {str(seed): spots_file(chosen, range(2, 61, 2), generator) for seed in seeds}
    noise, search = NOISE, {}
    if searched:
        noise = MANY
        search = {seed: search_file(list(range(2, 61, 2)), generator) for seed in spots}
        for spots_of_seed in spots.values():
            spots_of_seed["units"] = spots_file(UNITS, range(2, 61, 2), generator)["groups"]
    return ReportInputs(
        tasks=tasks,
        results=results_file(tasks, parts, list(seeds), generator, noise),
        sources={seed: sources_file(spots_of_seed) for seed, spots_of_seed in spots.items()},
        records=records_report(tasks),
        dedup=dedup_report(),
        split=split_report.split_report(corpus, indices, strata, pairs, options),
        best=best,
        curves=curves,
        sweet_spots=spots,
        search=search,
        parts=parts,
        assessment=assessed.assessment(tasks, generator),
        decisions=assessed.decisions(tasks),
        hyperparameters={"train.epochs": 60, "model.pretrained": None, "seeds": list(seeds)},
        suspects=assessed.suspects(tasks, generator) if searched else None,
    )


def records_report(tasks):
    return {
        "source": "scruples.jsonl.gz",
        "read": 10_460,
        "kept": 10_451,
        "rejected": [
            *({"place": f"line {i}", "id": f"r{i}", "reason": "empty text"} for i in range(8)),
            {"place": "line 9", "id": None, "reason": "broken JSON at column 3 (Expecting value)"},
        ],
        "rejected_count": 9,
        "labelled": {task.name: 1 - 0.03 * i for i, task in enumerate(tasks)},
        "renormalised": {task.name: 4 for task in tasks if task.kind == "distribution"},
        "missing_ids": 2,
        "non_finite": 0,
    }


def dedup_report():
    return {
        **{"read": 10_451, "removed": 312, "kept": 10_139, "removal_rate": 312 / 10_451},
        **{"threshold": 0.92, "policy": "keep_first"},
        "removed_pairs": [
            {
                "removed": f"r{i + 1000}",
                "kept": f"r{i}",
                "similarity": 0.99 - 0.0017 * i,
                "removed_preview": f"AITA for telling my sister {i} that her wedding took far too long? We all",
                "kept_preview": f"AITA for telling my sister {i} that her wedding was long? 나는 친구에게",
            }
            for i in range(40)
        ],
        "clusters": {
            **{"count": 290, "largest": 9, "labelled": 288},
            "agreement": label_agreement([["OTHER", "AUTHOR"], *[["OTHER", "OTHER"]] * 287]),
            "conflicting": [{"ids": ["r1", "r1001"], "labels": {"r1": "OTHER", "r1001": "AUTHOR"}}],
            "text_characters": 80,
            "largest_clusters": [
                cluster("I told my sister that it was long.", "I told my sister it took long!"),
                cluster("나는 친구에게 말했다. " * 9, "나는 친구에게 말했다. " * 9),
            ],
        },
        "similarity_histogram": {"edges": [0.92, 0.96, 1.0], "counts": [17, 295]},
    }


def cluster(first, second):
    """Return a cluster of three records as the report of the step holds it."""
    return {
        "ids": ["r1", "r2", "r3"],
        "labels": {"r1": "OTHER", "r2": "AUTHOR", "r3": "OTHER"},
        "similarity": 0.95,
        "distinct_texts": 2,
        "texts": [
            {"id": name, "characters": len(text), "text": text[:80]}
            for name, text in (("r1", first), ("r3", second))
        ],
    }


def hostile(inputs):
    """Return the inputs with markup wherever text comes from records or from the config."""
    pair = {**inputs.dedup["removed_pairs"][0], "removed_preview": f"a preview {HOSTILE}"}
    spots = inputs.sweet_spots["0"]
    group = {**spots["groups"]["A"], "reason": f"a group {HOSTILE} $x$"}
    large = {
        **cluster(f"{HOSTILE}갑이 말했다", f"을{HOSTILE}이 말했다"),
        "labels": {"r1": f"갑의 라벨 {HOSTILE}"},
    }
    large["texts"][0]["id"] = f"을의 아이디 {HOSTILE}"
    claim = {"claim": f"a claim {HOSTILE}", "part": None, "measured": 0, "bound": 0, "holds": True}
    classes = {**inputs.split["classes"], f"a class {HOSTILE}": {"count": 1, "share": 0.1}}
    return replace(
        inputs,
        results={**inputs.results, "run": f"a run {HOSTILE}"},
        dedup={
            **inputs.dedup,
            "removed_pairs": [{**pair, "kept_preview": f"a kept preview {HOSTILE}"}],
            "clusters": {**inputs.dedup["clusters"], "largest_clusters": [large]},
        },
        records={
            **inputs.records,
            "rejected": [{"place": "line 1", "id": "=1", "reason": f"a reason {HOSTILE}"}],
            "corrections": {
                **{"file": f"fixes {HOSTILE}", "changed": 1234, "dropped": 5, "undecided": 6},
                "applied": [
                    {"id": "r1", "field": "label", "before": HOSTILE, "after": ["a", 1]},
                    {"id": "r2", "dropped": True},
                ],
            },
        },
        split={
            **inputs.split,
            "classes": classes,
            "certificate": [claim],
            "parts": {
                name: {**part, "classes": classes} for name, part in inputs.split["parts"].items()
            },
        },
        assessment=hostile_assessment(inputs.assessment),
        suspects=inputs.suspects and hostile_suspects(inputs.suspects),
        sweet_spots={"0": {**spots, "groups": {**spots["groups"], f"$A {HOSTILE}": group}}},
    )


def hostile_assessment(assessment):
    """Return an assessment with markup in the names of classes and outputs, and in mistakes."""
    changed = copy.deepcopy(assessment)
    for task in changed["tasks"].values():
        words = {"id": f"a mistake's id {HOSTILE}", "text": f"a mistake {HOSTILE}"}
        task["mistakes"][0] |= {**words, "label": HOSTILE, "prediction": HOSTILE}
        for row in task.get("outputs", [])[:1]:
            row["name"] = f"an output {HOSTILE}"
        if "classes" in task:
            name = f"an assessed class {HOSTILE}"
            task["classes"][0]["name"] = name
            if "confusion" in task:
                task["confusion"]["classes"][0] = name
                task["confused"][0]["true"] = name
    return changed


def hostile_suspects(suspects):
    """Return suspected labels with markup in their texts, ids and labels, and in the method."""
    changed = copy.deepcopy(suspects)
    changed["method"] = f"A method {HOSTILE}."
    for task in changed["tasks"].values():
        task["records"][0] |= {"text": f"a suspect {HOSTILE}", "id": HOSTILE, "label": HOSTILE}
        task["classes"] = {f"a class {HOSTILE}": {"records": 2, "suspected": 1}}
    return changed


def many_classes():
    """Return inputs with a task of a hundred classes, one of as many labels, and ten more."""
    names = tuple(f"class {k:03d} of emotions" for k in range(100))
    tasks = (
        Task("wide", "multiclass", "wide", names),
        Task("labels", "multilabel", "labels", names),
        *(Task(f"task_number_{k:02d}", "multiclass", f"f{k}", EMOTIONS) for k in range(10)),
    )
    return synthetic((0,), tasks, ("A", "B"), 400)
