"""Made-up assessment.json, decisions.json and suspects.json, whose numbers agree with each other."""

from __future__ import annotations

import numpy as np

TEXTS = (
    "I told my sister that her wedding took far too long, and now she will not speak to me.",
    "나는 친구에게 솔직하게 말했고, 그 친구는 이제 나와 말을 하지 않는다. " * 6,
    "My neighbour borrowed the ladder.",
)
BINS = 10


def assessment(tasks, generator, train=300, records=200, gain=0.02):
    """Return assessment.json of a model that is right on about six records of ten."""
    entries = {task.name: _entry(task, generator, train, records, gain) for task in tasks}
    for k, entry in enumerate(entries.values()):
        entry["versus_baseline"]["p_holm"] = (0.8, 0.003, 0.02)[k % 3]
        entry["versus_baseline"]["difference"] *= (1, -1, 1)[k % 3]
    scores = [entry["score"] for entry in entries.values()]
    macro = {"score": float(np.mean(scores)), "baseline": 0.5, "majority": 0.21}
    low, high = macro["score"] - 0.03, macro["score"] + 0.03
    versus = {"difference": gain, "low": gain - 0.04, "high": gain + 0.04, "p": 0.3}
    return {
        **{"candidate": "greedy_soup", "seed": 0},
        **{"records": records, "clusters": records - 4, "resamples": 1000},
        "macro": {**macro, "low": low, "high": high, "versus_baseline": versus},
        "tasks": entries,
    }


def decisions(tasks):
    """Return decisions.json that fits these tasks."""
    entries = {}
    for task in tasks:
        entry = {"kind": task.kind}
        if task.kind == "multilabel":
            entry |= {"thresholds": dict.fromkeys(task.classes, 0.31)}
            entry |= {"positives": dict.fromkeys(task.classes, 12)}
        elif task.kind == "regression":
            widths = dict.fromkeys(task.output_names, 0.8)
            entry |= {"coverage": 0.9, "records": 300, "half_width": widths}
        entries[task.name] = entry
    return {"candidate": "greedy_soup", "seed": 0, "tasks": entries}


def suspects(tasks, generator, n=500, suspected=45):
    """Return suspects.json with the same number of suspected labels for each task."""
    return {
        **{"checkpoints": 30, "seeds": [0], "false_discovery_rate": 0.1},
        "method": "A mixture of two groups was fitted to each class.",
        "tasks": {task.name: _suspects(task, generator, n, suspected) for task in tasks},
    }


def _entry(task, generator, train, records, gain):
    kind = task.kind
    metric = {
        **{"multiclass": "macro_f1", "multilabel": "mean_average_precision"},
        **{"distribution": "js_similarity", "regression": "r2"},
    }[kind]
    other = {"regression": "mean_absolute_error", "multilabel": "micro_f1"}.get(kind, "accuracy")
    score = float(0.5 + 0.2 * generator.random())
    versus = {"difference": gain, "low": -0.01, "high": gain + 0.03, "p": 0.01, "p_holm": 0.5}
    entry = {
        **{"kind": kind, "metric": metric, "labelled": records},
        **{"score": score, "low": score - 0.04, "high": score + 0.04},
        **{"baseline": score - gain, "majority": 0.2, "versus_baseline": versus},
        "metrics": {metric: score, other: 0.6},
        "baseline_metrics": {metric: score - gain, other: None},
        "mistakes": _mistakes(task, generator),
    }
    if kind == "regression":
        return entry | {"outputs": [_output(name, generator) for name in task.output_names]}
    entry |= _classes(task, generator, train, records) | {"calibration": _calibration(generator)}
    if kind == "multilabel":
        del entry["confusion"], entry["confused"]
    return entry


def _classes(task, generator, train, records):
    width = task.width
    shares = 1.0 / np.arange(1, width + 1)
    true = generator.choice(width, records, p=shares / shares.sum())
    wrong = generator.random(records) < 0.4
    predicted = np.where(wrong, generator.integers(0, width, records), true)
    counts = np.zeros((width, width), dtype=int)
    np.add.at(counts, (true, predicted), 1)
    hits, support, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)

    def ratio(a, b):
        return float(a / b) if b else None

    rows = [
        {
            **{"name": name, "train": int(train * shares[k] / shares.sum())},
            **{"support": int(support[k]), "predicted": int(said[k])},
            **{"precision": ratio(hits[k], said[k]), "recall": ratio(hits[k], support[k])},
            **{"f1": ratio(2 * hits[k], support[k] + said[k]), "average_precision": 0.5},
        }
        for k, name in enumerate(task.classes)
    ]
    off = counts - np.diag(hits)
    worst = np.argsort(-off, axis=None, kind="stable")[:10]
    pairs = [divmod(int(place), width) for place in worst if off.flat[place]]
    confused = [
        {
            **{"true": task.classes[i], "predicted": task.classes[j]},
            **{"count": int(off[i, j]), "share": float(off[i, j] / support[i])},
        }
        for i, j in pairs
    ]
    confusion = {"classes": list(task.classes), "counts": counts.tolist()}
    return {"classes": rows, "confusion": confusion, "confused": confused}


def _calibration(generator):
    bins = [
        {
            **{"low": k / BINS, "high": (k + 1) / BINS, "mean_probability": (k + 0.5) / BINS},
            **{"observed": float(0.8 * (k + 0.5) / BINS), "count": int(generator.integers(1, 60))},
        }
        for k in range(1, BINS)
    ]
    empty = {"mean_probability": None, "observed": None, "count": 0}
    bins.insert(0, {"low": 0.0, "high": 0.1, **empty})
    return {"ece": 0.083, "records": 200, "bins": bins}


def _output(name, generator):
    true = generator.normal(0, 1, 500)
    points = np.stack([true, 0.6 * true + generator.normal(0, 0.4, 500)], axis=1)
    errors = points[:, 1] - points[:, 0]
    quantiles = {f"p{q:02d}": float(np.percentile(errors, q)) for q in (5, 25, 50, 75, 95)}
    return {
        **{"name": name, "r2": 0.52, "mean_absolute_error": 0.31, "spearman": 0.7},
        **{"half_width": 0.8, "coverage": 0.88, "residuals": quantiles, "points": points.tolist()},
    }


def _mistakes(task, generator):
    label, said = {
        "multiclass": lambda: (task.classes[0], task.classes[-1]),
        "multilabel": lambda: ([task.classes[0]], []),
        "distribution": lambda: (task.classes[0], task.classes[-1]),
        "regression": lambda: (0.1234567, 0.9),
    }[task.kind]()
    sure = None if task.kind == "regression" else 0.97
    return [
        {
            **{"id": f"m{k}", "text": TEXTS[k % len(TEXTS)], "label": label},
            **{"prediction": said, "probability": sure and sure - 0.01 * k},
        }
        for k in range(20)
    ]


def _suspects(task, generator, n, suspected):
    marks = np.arange(n) < suspected
    confidence = np.where(marks, 0.12, 0.8) + generator.normal(0, 0.05, n)
    records = [
        {
            **{"id": f"s{k}", "part": "train", "label": "X", "model_says": "Y"},
            **{"confidence": float(confidence[k]), "variability": 0.1, "margin": -0.6},
            **{"suspected": True, "text": TEXTS[k % len(TEXTS)]},
        }
        for k in range(suspected)
    ]
    return {
        **{"suspected": suspected, "expected_false": suspected / 10, "records": records},
        "classes": {"X": {"records": n, "suspected": suspected}},
        "map": {
            "confidence": np.clip(confidence, 0, 1).tolist(),
            "variability": np.abs(generator.normal(0.12, 0.05, n)).tolist(),
            "suspected": marks.astype(int).tolist(),
        },
    }
