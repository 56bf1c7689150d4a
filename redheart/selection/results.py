"""The file of a run for other programs to read: `final_results.json`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from redheart.storage import files

SCHEMA = Path(__file__).parents[2] / "config" / "schemas" / "results.schema.json"


def gather(
    run: str,
    comparison: Mapping[str, Any],
    access: Mapping[str, Any],
    reports: Mapping[str, Mapping[str, Any]],
    best: Mapping[str, Any],
    spots: Mapping[int, Mapping[str, Any]],
    provenance: Mapping[str, Any],
    cost: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of `final_results.json`, checked against its schema.

    Parameters
    ----------
    comparison
        What `compare` returned: the shipped candidate, all candidates, and the sentence about the
        linear baseline.
    access
        What `summarise_openings` returned: how often test was opened.
    reports
        The reports `records`, `dedup` and `split`.
    best
        The chosen learning rate.
    spots
        Each seed's sweet spots.
    """
    epochs = {
        str(seed): {group: spot["epoch"] for group, spot in of_seed["groups"].items()}
        for seed, of_seed in spots.items()
    }
    results = {
        "run": run,
        "provenance": dict(provenance),
        "data": {
            "read": reports["records"]["read"],
            "rejected": reports["records"]["rejected_count"],
            **_corrected(reports["records"]),
            "removed": reports["dedup"]["removed"],
            "kept": reports["dedup"]["kept"],
            "parts": {name: part["count"] for name, part in reports["split"]["parts"].items()},
        },
        "best_learning_rate": best["best_learning_rate"],
        "sweet_spots": epochs if len(epochs) > 1 else next(iter(epochs.values())),
        **comparison,
        "test_access": dict(access),
        "cost": dict(cost),
    }
    jsonschema.validate(results, files.read_json(SCHEMA))
    return results


def _corrected(records: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many labels a file of corrections changed, and how many records it dropped."""
    if "corrections" not in records:
        return {}
    return {"corrected": {key: records["corrections"][key] for key in ("changed", "dropped")}}


def cost(
    ledger: Sequence[Mapping[str, Any]],
    folder: str | Path,
    steps_by_phase: Mapping[str, Collection[str]],
) -> dict[str, Any]:
    """Return the cost of the present results: seconds by phase, peak memory, bytes on disk.

    Parameters
    ----------
    ledger
        The run's ledger, oldest line first. For each target only the last computation counts, so
        the sum contains no restored result and no result that was replaced later.
    folder
        The run's folder.
    steps_by_phase
        The steps of each phase; a step's seconds count for its phase. The phase `report` is left
        out: the report is made from this file, so its seconds stand in the ledger alone.
    """
    computed = {
        (line["step"], line["target"]): line for line in ledger if line["outcome"] == "computed"
    }
    seconds = {
        phase: round(sum(line["seconds"] for line in computed.values() if line["step"] in steps), 3)
        for phase, steps in steps_by_phase.items()
        if phase != "report"
    }
    sizes = (path.stat().st_size for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {
        "seconds": seconds,
        "peak_memory_bytes": max(
            (line.get("peak_memory_bytes", 0) for line in computed.values()), default=0
        ),
        "disk_bytes": sum(sizes),
    }
