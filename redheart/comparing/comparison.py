"""The whole comparison of two runs, as JSON."""

from __future__ import annotations

from pathlib import Path

from redheart.comparing import origins, scores
from redheart.comparing.runs import Run, open_run
from redheart.json_values import Json, number

DIFFERENCE = "B minus A"
# Of the intervals, where the config of an older version does not say it.
RESAMPLES = 1000


def compare_runs(first: str | Path, second: str | Path) -> Json:
    """Compare two runs, each given by its folder or its name.

    Returns
    -------
    runs
        What each run is: `name`, `folder`, `candidate`, `seed`, `finished`, `versions`.
    same
        Whether both are one folder.
    settings, steps, data
        What differs in how they were made; steps are null where a run has no record of them.
    tasks_left_out
        The tasks that are not compared, with the reason.
    scores
        The comparison of the two shipped models on val_select, val_confirm and test.
    test_openings
        How often each run's test part was opened; null: not yet.
    costs
        Seconds by phase, peak memory and bytes on disk of each.

    Raises
    ------
    UserError
        A run does not exist or has not begun.
    """
    runs = open_run("A", first), open_run("B", second)
    return {
        "runs": [origins.describe(run) for run in runs],
        "same": runs[0].folder.samefile(runs[1].folder),
        "settings": origins.differing_settings(*runs),
        "steps": origins.differing_steps(*runs),
        "data": origins.differing_data(*runs),
        "tasks_left_out": scores.same_tasks(*runs)[1],
        "scores": _scores(*runs),
        "test_openings": [scores.openings(run) for run in runs],
        "costs": [origins.costs(run) for run in runs],
    }


def _scores(first: Run, second: Run) -> list[Json]:
    resamples = first.config.get("evaluation", {}).get("resamples", RESAMPLES)
    return [scores.compare_part(first, second, part, resamples) for part in scores.MEASURED]


def verdict(score: Json) -> str:
    """Return what a comparable part says of the two models, in words."""
    macro = score["macro"]
    if score["identical"]:
        return "both models predict the same"
    if number(macro["low"]) > 0:
        return "B is better"
    if number(macro["high"]) < 0:
        return "A is better"
    return "the two models are not distinguishable"


def difference(row: Json) -> str:
    """Return a difference with its 95 % interval."""
    if row["difference"] is None:
        return "undefined"
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def notes(comparison: Json) -> list[str]:
    """Return the sentences that a reader of the scores must know."""
    sentences = []
    if comparison["same"]:
        sentences.append("A and B are the same run.")
    for letter, run in zip("AB", comparison["runs"], strict=True):
        if not run["finished"]:
            sentences.append(f"{letter} is not finished: what it lacks is not compared.")
    sentences += [f"Task left out: {task}." for task in comparison["tasks_left_out"]]
    comparable = [score for score in comparison["scores"] if score["comparable"]]
    for score in comparable:
        if score["relabelled"]:
            sentences.append(
                f"{score['part']}: {score['relabelled']:,} records are left out, since the runs "
                "know other labels of them."
            )
    if any(score["part"] == "val_select" for score in comparable):
        sentences.append("Both models were chosen on val_select, so its scores are flattering.")
    if any(score["part"] == "test" for score in comparable):
        opened = [_times(count or 0) for count in comparison["test_openings"]]
        sentences.append(
            f"Test was opened {opened[0]} when A had opened it, {opened[1]} when B had; whoever "
            "picks one of the two by it picks on test."
        )
    return sentences


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def data_lines(data: Json) -> list[str]:
    """Return what is the same and what differs in the records, in sentences."""
    hashes = data["source_sha256"]
    if None in hashes:
        content = "whether its content is the same is unknown (not in the store)"
    else:
        content = "the same content" if hashes[0] == hashes[1] else "another content"
    names = data["source"]
    source = names[0] if names[0] == names[1] else f"{names[0]} and {names[1]}"
    kept = " and ".join(f"{count:,}" for count in data["kept"])
    lines = [f"source {source}: {content}", f"{kept} records, {data['shared']:,} of them in both"]
    if data["in_other_parts"]:
        lines.append(f"{data['in_other_parts']:,} of these lie in another part of the split")
    return lines
