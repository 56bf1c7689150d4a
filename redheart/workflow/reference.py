"""The page that explains every key of the config, `docs/config.md`, written from the schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redheart.json_values import Json

REFERENCE = Path(__file__).parents[2] / "docs" / "config.md"

HEAD = """\
<!-- `make schema` writes this page from the dataclasses of the options. Edit those instead. -->
# Every key of a config

A config is a YAML file. It says what is learned (`tasks`); every other key has a default:

```yaml
run: mine
data: {source: data/mine.jsonl}
tasks:
  topic: {kind: multiclass, field: topic, classes: [work, home, travel]}
train:
  epochs: 20
```

Most keys stand in a section: `train.epochs` is the key `epochs` of the section `train`.

- `redheart check mine.yaml` checks a config and prints it with all defaults.
- A run checks its config before it does anything else. All mistakes are told at once, each with
  its file, its key and what was expected. An unknown key is a mistake too.
- Of several files (`--configfile base.yaml mine.yaml`) the later one counts, key by key.
- Numbers may be written as `1e-5`.
- [config/config.yaml](../config/config.yaml) is the demo's config. It shows every key in its place.
- The first line of that file, `# yaml-language-server: $schema=...`, names the schema for editors.
  An editor then completes keys, underlines mistakes and shows the texts of this page.
"""

PLURAL = {"whole number": "whole numbers", "number": "numbers", "text": "texts"}
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def reference(schema: Json) -> str:
    """Return the page, in Markdown."""
    keys = schema["properties"]
    sections = {name: part for name, part in keys.items() if "properties" in part}
    top = {name: part for name, part in keys.items() if name not in sections}
    task = keys["tasks"]["additionalProperties"]
    return "\n".join(
        [
            HEAD,
            *("| section | what its keys are about |", "|---|---|"),
            *(f"| [`{name}`](#{name}) | {_text(part)} |" for name, part in sections.items()),
            "\n## Keys in no section\n",
            *_table(top, schema["required"]),
            f"\n### A task\n\n{_text(task)} The name of the task is its key below `tasks`.\n",
            *_table(task["properties"], task["required"]),
            *(line for name, part in sections.items() for line in _section(name, part)),
            "",
        ]
    )


def _section(name: str, schema: Json) -> list[str]:
    return [f"\n## `{name}`\n", f"{_text(schema)}\n", *_table(schema["properties"], ())]


def _table(keys: Mapping[str, Json], required: Sequence[str]) -> list[str]:
    rows = [
        f"| `{key}` | {_text(schema)} | {allowed(schema)} | "
        f"{'required' if key in required else _value(schema['default'])} |"
        for key, schema in keys.items()
    ]
    return ["| key | what it says | values | default |", "|---|---|---|---|", *rows]


def _text(schema: Json) -> str:
    """Return a description for a table, with links to the pages that it names."""
    text = schema["description"].replace("|", "\\|")
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", text)


def _value(value: Any) -> str:
    plain = isinstance(value, str) and value
    return f"`{value if plain else json.dumps(value)}`"


def allowed(schema: Json) -> str:
    """Say in words which values a key takes."""
    if "enum" in schema:
        return _either([_value(value) for value in schema["enum"]])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return _either([words for kind in kinds for words in _words(kind, schema)])


def _either(choices: Sequence[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def _words(kind: str, schema: Json) -> list[str]:
    match kind:
        case "null":
            return ["`null`"]
        case "boolean":
            return ["`true`", "`false`"]
        case "integer":
            return [f"whole number{_range(schema)}"]
        case "number":
            return [f"number{_range(schema)}"]
        case "array":
            return [_list(schema)]
        case "object" if "properties" in schema["additionalProperties"]:
            return ["names, each with the keys of [a task](#a-task)"]
        case "object":
            return ["names (each with a text)"]
    hint = schema.get("patternHint", "").removeprefix("expected ")
    return [f"text of {hint}" if hint else "text"]


def _range(schema: Json) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    bounds = [f"{sign} {schema[keyword]}" for keyword, sign in SIGNS.items() if keyword in schema]
    return f" {' and '.join(bounds)}" if bounds else ""


def _list(schema: Json) -> str:
    item = allowed(schema["items"])
    words = re.sub(r"^(whole number|number|text)", lambda kind: PLURAL[kind[1]], item)
    at_least = ["at least one"] if "minItems" in schema else []
    distinct = ["none twice"] if schema.get("uniqueItems") else []
    remarks = ", ".join([*at_least, *distinct])
    return f"list of {words}" + (f" ({remarks})" if remarks else "")
