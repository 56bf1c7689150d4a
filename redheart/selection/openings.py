"""The log of test openings: every frozen choice that was measured on test, oldest first."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redheart.storage import diary, files

# The steps that read test after it is open. No other step reads test, except for its encoding and
# the statistics of the parts.
READERS = (
    "predict_test",
    "fit_baseline",
    "compare_candidates",
    "assess_model",
    "judge_test",
    "map_records",
    "find_suspects",
)
# Two openings are the same if these keys are equal: a job that runs again adds no opening.
IDENTITY = ("run", "choice_sha256")
# What a line of the log has, as far as it is read again.
LINE = {"run": str, "choice_sha256": str, "candidate": str}


def record_opening(log: str | Path, run: str, choice: str | Path) -> list[dict[str, Any]]:
    """Log that a frozen choice opens test, unless the log has this opening already.

    Parameters
    ----------
    log
        The log of this test part; it only grows.
    run
        Name of the run.
    choice
        The run's `choice.json`.

    Returns
    -------
    All openings so far, the oldest first.
    """
    chosen = files.read_json(choice)
    opening = {
        "run": run,
        "choice_sha256": files.sha256_file(choice),
        "candidate": chosen["candidate"],
        "compared": chosen["compared_on_test"],
        "with": chosen["with"],
        "steps": list(READERS),
    }
    if all(identity(opening) != identity(line) for line in _logged(log)):
        diary.append_line(log, opening)
    logged = _logged(log)
    if damaged := [number for number, line in diary.numbered_lines(log, LINE) if line is None]:
        print(
            f"warning: {log}: damaged at {diary.named_lines(damaged)}; as test was opened for "
            "whatever stood there, it counts as an opening of an unknown choice",
            file=sys.stderr,
        )
    return logged


def _logged(log: str | Path) -> list[dict[str, Any]]:
    """Return the openings of a log; a damaged line was one too, of which no more is known."""
    return [
        line or {"run": "unknown", "choice_sha256": f"line {number}", "candidate": "unknown"}
        for number, line in diary.numbered_lines(log, LINE)
    ]


def identity(opening: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values that distinguish one opening from another."""
    return tuple(opening[key] for key in IDENTITY)


def summarise_openings(
    openings: Sequence[Mapping[str, Any]], run: str, choice: str | Path
) -> dict[str, Any]:
    """Return the `test_access` part of final_results.json: this opening and the others.

    Parameters
    ----------
    openings
        All openings that `record_opening` returned, with this one.
    run, choice
        As for `record_opening`.
    """
    order = [identity(opening) for opening in openings]
    place = order.index((run, files.sha256_file(choice)))
    others = [opening for opening in openings if opening is not openings[place]]
    return {
        "opening": place + 1,
        "openings": len(openings),
        "others": [{key: opening[key] for key in ("run", "candidate")} for opening in others],
    }


def openings_sentence(access: Mapping[str, Any]) -> str:
    """Return a sentence on how often test was opened, from `summarise_openings`' result."""
    if access["openings"] == 1:
        return "Test was opened once, for this choice."
    others = ", ".join(f"{other['candidate']} of run {other['run']}" for other in access["others"])
    return (
        f"Test was opened {access['openings']} times; this choice was number {access['opening']}, "
        f"the others: {others}. Whoever picks among them picks on test."
    )
