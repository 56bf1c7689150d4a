"""The plan as a table: which settings and which code reach which step.

A step runs again when one of its settings, its code or the content of its inputs changes, and for
no other reason. `tests/workflow/test_steps.py` checks this table against the rules and the config.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from redheart.data.records import RecordOptions
from redheart.errors import UserError, did_you_mean
from redheart.recipe.model_options import ModelOptions
from redheart.recipe.training_options import CheckpointOptions, ScoringOptions, TrainOptions
from redheart.storage import files
from redheart.storage.store import Store
from redheart.sweep.choice import ChoiceOptions
from redheart.workflow import fingerprint

# The environment variable with the steps that are computed whatever the store knows, and the word
# in it that means every step.
ANEW, ALL = "REDHEART_ANEW", "all"
# Options of Snakemake that drop or falsify what it knows of how a file was made.
FORGETTING = ("--touch", "--drop-metadata", "--cleanup-metadata", "--cm")
# The file of the store that keeps the fingerprints.
FINGERPRINTS = "fingerprints.json"


@dataclass(frozen=True)
class Step:
    """What a step depends on besides its inputs and its script."""

    keys: tuple[str, ...] = ()
    """Config keys, dotted. A section means all its keys; `labels`: the tasks without weights."""
    action: str = ""
    """The step's function in the rule's script, where a rule has two steps with a function each."""


def _keys(section: str, *kinds: type) -> tuple[str, ...]:
    return tuple(f"{section}.{field.name}" for kind in kinds for field in fields(kind))


_TRAINING = ("tasks", *_keys("model", ModelOptions), *_keys("train", TrainOptions))
_OF_DEVICE = ("train.device", "train.precision", "train.cpu_threads", "train.deterministic")

# The steps of each phase.
PHASES: dict[str, dict[str, Step]] = {
    "data": {
        "generate_corpus": Step(("demo",)),
        "read_records": Step((*_keys("data", RecordOptions), "stratify_by", "labels")),
        "find_duplicates": Step(("dedup.threshold", "dedup.shards")),
        "deduplicate_records": Step(("dedup.threshold", "dedup.policy", "stratify_by")),
        "split_records": Step(("split", "stratify_by", "labels")),
        "train_tokenizer": Step(("tokenizer",)),
        "import_trunk": Step(("model.pretrained", "train.max_tokens")),
        "fit_lexicon": Step(("lexicon",)),
        "fit_scales": Step(("labels",)),
        "encode_part": Step(("labels", "train.max_tokens")),
        "extract_features": Step(_OF_DEVICE),
    },
    "sweep": {
        "sweep_rate": Step((*_TRAINING, "sweep.epochs")),
        "decide_rung": Step(("sweep.criterion", "sweep.reduction_factor")),
        "join_sweep": Step(),
        "choose_rate": Step(_keys("sweep", ChoiceOptions)),
    },
    "train": {
        "train_leg": Step(
            (*_TRAINING, *_keys("checkpoints", CheckpointOptions)),
            action="scripts.train_leg:train",
        ),
        "evaluate_checkpoint": Step(
            (*_TRAINING, *_keys("train", ScoringOptions), "fusion"),
            action="scripts.train_leg:evaluate",
        ),
    },
    "sweet_spots": {
        "find_sweet_spots": Step(("sweet_spots",)),
    },
    "crossover": {
        "stitch_crossover": Step(),
        "stitch_variant": Step(),
        "stitch_units": Step(),
        "make_soups": Step((*_TRAINING, "fusion")),
        "search_units": Step((*_TRAINING, "fusion")),
    },
    "evaluate": {
        "fit_baseline": Step(("labels", "fusion.balance")),
        "predict_candidates": Step((*_TRAINING, "fusion")),
        "choose_candidate": Step(("tasks", "evaluation")),
        "fit_decisions": Step(("labels", "decisions")),
        "open_test": Step(),
        "predict_test": Step((*_TRAINING, "fusion")),
        "compare_candidates": Step(("tasks", "evaluation")),
        "assess_model": Step(("labels", "evaluation", "decisions")),
        "ship_model": Step(),
    },
    "suspects": {
        "judge_records": Step((*_TRAINING, *_keys("train", ScoringOptions))),
        "judge_test": Step(_TRAINING),
        "map_records": Step(("labels",)),
        "find_suspects": Step(("labels", "data_map.false_discovery_rate")),
    },
    "report": {
        "write_config": Step(),
        "write_results": Step(),
        "make_report": Step(("run", "tasks", "report.figures")),
    },
}

STEPS = {name: step for phase in PHASES.values() for name, step in phase.items()}


def roots(step: str) -> tuple[str, ...]:
    """Return where a step's code begins: its script, and what the script reads through its job."""
    return (STEPS[step].action or f"scripts.{step}", "scripts.job:Inputs")


def parameters(config: Mapping[str, Any], step: str) -> str:
    """Return the step's own subset of the effective config, as JSON with sorted keys."""
    return files.canonical({key: _select(config, key) for key in STEPS[step].keys})


def settings(text: str) -> dict[str, Any]:
    """Turn what `parameters` returns back into nested sections, as in the config file."""
    nested: dict[str, Any] = {}
    for key, value in json.loads(text).items():
        section, _, name = key.partition(".")
        if name:
            nested.setdefault(section, {})[name] = value
        else:
            nested["tasks" if section == "labels" else section] = value
    return nested


def anew(names: str) -> frozenset[str]:
    """Return the steps that are computed whatever the store knows.

    Parameters
    ----------
    names
        The value of the environment variable `ANEW`: names of steps, separated by commas, or `all`.
    """
    words = {word.strip() for word in names.split(",")} - {""}
    for word in sorted(words - {ALL, *STEPS}):
        raise UserError(f"{ANEW}: there is no step '{word}'{did_you_mean(word, [ALL, *STEPS])}")
    return frozenset(STEPS if ALL in words else words)


def check_forced(chosen: frozenset[str], command: Sequence[str]) -> None:
    """Refuse a command of Snakemake that would not start the jobs of these steps.

    Raises
    ------
    UserError
        Snakemake leaves jobs alone whose outputs are there, and no option forces them.
    """
    rules = {roots(step)[0].removeprefix("scripts.").partition(":")[0] for step in chosen}
    named = "--forceall" if chosen == set(STEPS) else f"--forcerun {' '.join(sorted(rules))}"
    if chosen and not any(re.match(r"--force|-[A-Za-z]*[fFR]", word) for word in command):
        raise UserError(f"{ANEW} changes only jobs that run; let them run: add {named}")


def check_remembered(command: Sequence[str]) -> None:
    """Refuse a command after which Snakemake would not see that old results are of another plan.

    Raises
    ------
    UserError
        The command holds one of the options in `FORGETTING`, or the beginning of one.
    """
    for word in command:
        begun = len(word) > 3 and any(option.startswith(word) for option in FORGETTING)
        if begun or re.fullmatch(r"-[A-Za-z]?t", word):
            raise UserError(
                f"{word}: with it, Snakemake would take old results for those of this config and "
                "code; leave it out: what is still valid does not run again, whatever its time"
            )


def codes(store: Store) -> dict[str, str]:
    """Return the fingerprint of the code behind each step, or the older one it was accepted as."""
    accepted = store.accepted()
    return {step: accepted.get((step, code), code) for step, code in present_codes(store).items()}


def present_codes(store: Store) -> dict[str, str]:
    """Return the fingerprint of the code behind each step as it is now.

    The store keeps the fingerprints beside a hash of all sources. While the hash is the same, they
    are read from the store, since the workflow needs them at every start, and on a cluster in
    every job.
    """
    path, sources = store.root / FINGERPRINTS, _sources()
    try:
        stored = files.read_json(path)
        if stored["sources"] == sources:
            return {step: str(stored["codes"][step]) for step in STEPS}
    except (UserError, TypeError, KeyError):  # The file is missing or damaged; it is only a copy.
        pass
    present = {step: fingerprint.fingerprint(roots(step)) for step in STEPS}
    if store.root.is_dir():
        files.write_json(path, {"sources": sources, "codes": present})
    return present


def _sources() -> str:
    """Return a hash over all files of the library and the scripts.

    While it stays the same, so do all fingerprints, and it takes a hundredth of their time.
    Python's version counts, since it decides how a syntax tree is written.
    """
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for folder in (fingerprint.PACKAGE, fingerprint.SCRIPTS):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder.parent)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def accept(step: str, store: Store, why: str) -> str:
    """Let the present code of a step count as the code that last computed, and record this.

    It is meant for a refactoring that changes no result: nothing is then computed again. The user
    promises that: results of the old code are taken for results of the new code.

    Returns
    -------
    A sentence that tells the user what was accepted.
    """
    if step not in STEPS:
        raise UserError(f"there is no step '{step}'{did_you_mean(step, STEPS, 'steps')}")
    present, latest = present_codes(store)[step], store.latest_code(step)
    if latest is None:
        return f"{step}: has never computed anything; nothing to accept"
    if codes(store)[step] == latest:
        return f"{step}: its code counts as unchanged already"
    store.accept(step, present, latest, why)
    return f"{step}: code {present[:12]} now counts as {latest[:12]}"


def _select(config: Mapping[str, Any], key: str) -> Any:
    if key == "labels":
        return {
            name: {option: value for option, value in task.items() if option != "weight"}
            for name, task in config["tasks"].items()
        }
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value
