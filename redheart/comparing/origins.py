"""How two runs were made: the settings, steps, records and costs that differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from redheart.comparing.runs import CHOICE, RECORDS_REPORT, RESULTS, Run
from redheart.json_values import Json
from redheart.selection import results
from redheart.split.parts import PARTS
from redheart.storage import run_files
from redheart.storage.ledger import differences
from redheart.workflow.steps import PHASES, STEPS

ABSENT = "(absent)"
UNKNOWN_STEP = "(unknown step)"
NO_STORE = "unknown: not in the store"


def describe(run: Run) -> Json:
    """Return what a comparison says of a run at its head."""
    choice, whole = run.read_or_none(CHOICE), run.read_or_none(RESULTS)
    provenance = (whole or {}).get("provenance") or {}
    return {
        "name": run.name,
        "folder": str(run.folder),
        "candidate": choice["candidate"] if choice else None,
        "seed": choice["seed"] if choice else None,
        "finished": whole is not None,
        "versions": provenance.get("versions") or {},
    }


def differing_settings(first: Run, second: Run) -> list[Json]:
    """Return the keys of the effective configs that differ, dotted, with both values."""
    ours = _with_all_sections(first.config, second.config)
    theirs = _with_all_sections(second.config, first.config)
    return [
        {"key": path, "a": _at(first.config, path), "b": _at(second.config, path)}
        for path in differences(ours, theirs)
        if path != "run"
    ]


def _with_all_sections(config: Json, other: Json) -> Json:
    """Return a config with the sections of another, empty: an older version has fewer of them."""
    return {**{name: {} for name, value in other.items() if isinstance(value, dict)}, **config}


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(config, Mapping) or key not in config:
            return ABSENT
        config = config[key]
    return config


def differing_steps(first: Run, second: Run) -> list[Json] | None:
    """Return the steps whose actions differ: how many each run has alone, and why.

    An action is one computation of a step; its key covers settings, code and inputs. None: a run
    has no record of what its steps made.
    """
    if not (first.made and second.made):
        return None
    keys = [_keys_by_step(run) for run in (first, second)]
    why = _reasons(first, second)
    rows = []
    for step in (*STEPS, *sorted({*keys[0], *keys[1]} - {*STEPS})):
        of_a, of_b = (by_step.get(step, set()) for by_step in keys)
        if of_a != of_b:
            rows.append(
                {
                    "step": step,
                    "a": len(of_a - of_b),
                    "b": len(of_b - of_a),
                    "both": len(of_a & of_b),
                    "why": sorted(why[step], key=_settings_first) or [_only(of_a, of_b)],
                }
            )
    return rows


def _settings_first(reason: str) -> tuple[bool, str]:
    return reason in ("code", "inputs"), reason


def _only(of_a: set[str], of_b: set[str]) -> str:
    return "only in A" if not of_b else "only in B" if not of_a else "other targets"


def _keys_by_step(run: Run) -> dict[str, set[str]]:
    keys = defaultdict(set)
    for key, step in _steps(run).items():
        keys[step].add(key)
    return keys


def _steps(run: Run) -> dict[str, str]:
    """Return which step each action behind a run's files is of, by the ledger or by the store."""
    told = {line["key"]: line["step"] for line in run.ledger if line.get("key")}
    keys = {made.key for made in run.made.values() if made.key}
    return {key: told.get(key) or _by_store(run, key) for key in sorted(keys)}


def _by_store(run: Run, key: str) -> str:
    return str((run.store.ingredients(key) or {}).get("step", UNKNOWN_STEP))


def _reasons(first: Run, second: Run) -> dict[str, set[str]]:
    """Return by step why actions of the same files differ."""
    step_of = _steps(first)
    why: dict[str, set[str]] = defaultdict(set)
    pairs = {
        (first.made[name].key, second.made[name].key)
        for name in first.made.keys() & second.made.keys()
    }
    for key, other in sorted(pairs):
        if key != other and key in step_of:
            ingredients = first.store.ingredients(key), second.store.ingredients(other)
            known = all(ingredients)
            paths = differences(*ingredients) if known else [NO_STORE]
            why[step_of[key]] |= set(_in_words(paths))
    return why


def _in_words(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        kind, _, rest = path.partition(".")
        yield {"params": rest, "uses": "inputs"}.get(kind, path)


def differing_data(first: Run, second: Run) -> Json:
    """Return what the runs read and how they shared it out, by id and text of the records."""
    both = (first, second)
    reports = [run.read_or_none(RECORDS_REPORT) or {} for run in both]
    places = [_places(run) for run in both]
    shared = places[0].keys() & places[1].keys()
    moved = sum(places[0][record] != places[1][record] for record in shared)
    return {
        "source": [run.config["data"]["source"] for run in both],
        "source_sha256": [_source_hash(run) for run in both],
        "read": [report.get("read") for report in reports],
        "rejected": [report.get("rejected_count") for report in reports],
        "kept": [len(place) for place in places],
        "shared": len(shared),
        "in_other_parts": moved,
        "parts": {part: _part(part, places) for part in PARTS},
    }


def _places(run: Run) -> dict[tuple[str, str], str]:
    """Return the part of each record, by its id and text."""
    return {
        (str(record["id"]), record["text"]): part
        for part in PARTS
        for record in run.read_or_none(run_files.records(part)) or ()
    }


def _part(part: str, places: list[dict[tuple[str, str], str]]) -> Json:
    of_a, of_b = ({record for record, p in place.items() if p == part} for place in places)
    return {"a": len(of_a), "b": len(of_b), "shared": len(of_a & of_b)}


def _source_hash(run: Run) -> str | None:
    """Return the hash of the source, if the store still knows what was read."""
    made = run.made.get("data/records.jsonl")
    ingredients = run.store.ingredients(made.key) if made and made.key else None
    source = (ingredients or {}).get("uses", {}).get("source")
    return ", ".join(map(str, source)) if isinstance(source, list) else source


def costs(run: Run) -> Json:
    """Return a run's seconds by phase, its peak memory, and its bytes on disk."""
    return results.cost(run.ledger, run.folder, PHASES)
