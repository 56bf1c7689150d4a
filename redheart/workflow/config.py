"""The config: from raw YAML to checked, complete settings. The only reader of config keys."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from redheart.errors import UserError
from redheart.recipe.build import build
from redheart.recipe.model_options import ModelOptions, resolve
from redheart.storage import files
from redheart.tasks.task import parse_tasks
from redheart.workflow.problems import Origin, cross_problems, schema_problems
from redheart.workflow.sections import SECTIONS, defaults

# The keys whose values are paths; a model's id has no `~`.
PATHS = (
    ("data", "source"),
    ("data", "corrections"),
    ("split", "keep"),
    ("model", "pretrained"),
    ("store", "path"),
)
# The loader in C takes a tenth of the time, where it is there.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Aliases of aliases make a file of a few lines larger than any memory. This many values, commas and
# brackets are a hundred times those of a config with all the classes that it may have.
MOST_PARTS = 2_000_000
KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
SCHEMA = Path(__file__).parents[2] / "config" / "schemas" / "config.schema.json"


def effective(raw: Mapping[str, Any], paths: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Check a config and fill in the defaults.

    Parameters
    ----------
    raw
        The merged config as Snakemake hands it over.
    paths
        The config's files; messages name them.

    Raises
    ------
    UserError
        The config has problems. The message has one line for each: file, key, what was expected,
        the nearest valid key.
    """
    contents = [(str(path), read_file(path)) for path in paths]
    schema = files.read_json(SCHEMA)
    settings = _numbers(raw, schema)
    problems = [*schema_problems(settings, schema)]
    if not problems:
        complete = _fill(settings, defaults())
        for section, key in PATHS:
            try:
                complete[section][key] = files.expanded(complete[section][key])
            except UserError as error:
                problems.append(([section, key], str(error)))
        train = complete["train"]
        train["schedule_epochs"] = train["schedule_epochs"] or train["epochs"]
        # A trial follows the schedule of the main training, and learns nothing after its end.
        complete["sweep"]["epochs"] = min(complete["sweep"]["epochs"], train["schedule_epochs"])
        problems += cross_problems(complete)
        if not problems:
            complete["model"]["signal"] = _signal_task(complete)
    if problems:
        origin = Origin(contents)
        raise UserError(
            "\n".join(f"{origin.of(path)}{'.'.join(path)}: {text}" for path, text in problems)
        )
    return complete


def read(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Read config files, later ones over earlier ones, and check them as a run would.

    Raises
    ------
    UserError
        A file is missing, is no YAML, or holds no valid config.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        merged = _merged(merged, read_file(path))
    return effective(merged, paths)


def read_file(path: str | Path) -> dict[str, Any]:
    """Read one config file as it is written.

    Raises
    ------
    UserError
        The file is missing, is no YAML in UTF-8, is no mapping, or has a key that stands twice or
        is no text.
    """
    try:
        files.refuse_pipe(path)
        text = Path(path).read_text("utf-8-sig")
        loader = LOADER(text)
        node = loader.get_single_node()
        _check_keys(node, path)
        content = loader.construct_document(node) if node else {}
        _check_size(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        line = Path(path).read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: line {line} is no UTF-8; save the file as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: no valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, got {type(content).__name__}")
    return content


def _check_size(content: Any) -> None:
    """Raise a ValueError for a value that holds itself, or whose aliases multiply one another."""
    parts = json.JSONEncoder(default=str).iterencode(content)
    if any(True for _ in itertools.islice(parts, MOST_PARTS, None)):
        raise ValueError("its aliases repeat too much; write out what they stand for")


def _check_keys(root: yaml.Node | None, path: str | Path) -> None:
    """Refuse a key that is no text, which no setting has, and a key that would replace another."""
    waiting, visited = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in visited:
            continue
        visited.add(id(node))
        waiting += [
            part for item in node.value for part in (item if isinstance(item, tuple) else [item])
        ]
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            line = key.start_mark.line + 1
            if key.tag not in KEY_TAGS:
                raise UserError(f"{path}: line {line}: a key must be a text; put it into quotes")
            if key.value in lines:
                raise UserError(
                    f"{path}: line {line}: the key '{key.value}' stands in line {lines[key.value]} "
                    "already, and one of the two would be lost; join them"
                )
            lines[key.value] = line


def check_names(paths: Sequence[str]) -> None:
    """Refuse files from outside whose names hold a mark of the workflow.

    Raises
    ------
    UserError
        Snakemake would take a part of a path for a wildcard, `{word}`, or for a variable, `<word>`.
    """
    for path in paths:
        if mark := re.search(r"[{}]|<[a-z][a-z0-9_]*>", path):
            raise UserError(
                f"{path}: Snakemake takes {mark[0]} in a path for its own; rename the file or its "
                "folder, or name a link to it"
            )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one config over another key by key, as Snakemake does."""
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **both}


def _fill(config: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a config over the defaults, section by section; `tasks` has no default."""
    merged = dict(default)
    for key, value in config.items():
        section = key in SECTIONS and isinstance(value, Mapping)
        merged[key] = {**default[key], **value} if section else value
    return merged


def _numbers(value: Any, schema: Mapping[str, Any]) -> Any:
    """Read `1e-5` as a number, and `60.0` as whole: YAML reads them as a text and a fraction."""
    if isinstance(value, Mapping):
        by_key = schema.get("properties", {})
        default = schema.get("additionalProperties") or {}
        return {key: _numbers(item, by_key.get(key, default)) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item, schema.get("items", {})) for item in value]
    kind = schema.get("type", "")
    is_text = isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value)
    if is_text and ("number" in kind or "integer" in kind):
        value = float(value)
    if "integer" in kind and isinstance(value, float) and value.is_integer():
        value = int(value)
    # No setting may be infinite or NaN. As a text, such a value does not pass the schema.
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _signal_task(config: Mapping[str, Any]) -> str | bool:
    """Return the task that the signal chain serves, or False where there is no signal chain.

    The config names the task, since the order of the tasks is lost in JSON with sorted keys.
    """
    tasks = parse_tasks(config["tasks"])
    served = resolve(build(ModelOptions, config["model"]), tasks, vocab_size=1, max_tokens=1)
    return served.signal_task or False
