"""The JSON Schema of the config, made from the dataclasses whose fields are its keys.

`make schema` writes the schema and the page that explains all keys. The start of a run only reads
the file. To make the schema, it would have to parse the sources of the dataclasses, since Python
keeps no text under a field.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from redheart.json_values import Json
from redheart.limits import Limit, NotEmpty, OneOf
from redheart.workflow.config import SCHEMA
from redheart.workflow.reference import REFERENCE, reference
from redheart.workflow.sections import NULL_BY_DEFAULT, SECTIONS, RunOptions, defaults_of

TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}
NOT_EMPTY = {"string": "minLength", "array": "minItems", "object": "minProperties"}


def config_schema() -> Json:
    """Return the schema of the config."""
    properties = _properties(RunOptions) | {name: _section(name) for name in SECTIONS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Config of a Red Heart run",
        **_object(properties, _required(RunOptions)),
    }


def generated() -> dict[Path, str]:
    """Return the text of every file that is made from the dataclasses."""
    schema = config_schema()
    return {
        SCHEMA: json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        REFERENCE: reference(schema),
    }


# --- from a dataclass to the schema of an object ----------------------------------------------


def _section(name: str) -> Json:
    about, kinds = SECTIONS[name]
    properties = {key: schema for kind in kinds for key, schema in _properties(kind).items()}
    for section, key in NULL_BY_DEFAULT:
        if section == name:
            properties[key] |= {"type": [properties[key]["type"], "null"], "default": None}
    return {"description": about, **_object(properties, [])}


def _object(properties: Mapping[str, Json], required: Sequence[str]) -> Json:
    # A message lists several problems of one place in a config in the order of these keywords.
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _properties(kind: type) -> dict[str, Json]:
    lines, default = doc_lines(kind), defaults_of(kind)
    return {
        name: {"description": lines[name], **value_schema(hint)}
        | ({"default": default[name]} if name in default else {})
        for name, hint in get_type_hints(kind, include_extras=True).items()
    }


def _required(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if field.default is MISSING]


def doc_lines(kind: type) -> dict[str, str]:
    """Return the text under each field of a dataclass, on one line."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    lines = {}
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(line))):
                lines[name] = " ".join(line.split())
    return lines


# --- from a type to the schema of a value -----------------------------------------------------


def value_schema(hint: Any) -> Json:
    """Return the schema of the values that a type with its limits allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = value_schema(arguments[0])
        for limit in arguments[1:]:
            schema = _limited(schema, limit)
        return schema
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return _union([value_schema(argument) for argument in arguments])
    if origin is tuple:
        return {"type": "array", "items": value_schema(arguments[0])}
    if origin is Mapping:
        return {"type": "object", **_values(arguments[1])}
    return {"type": TYPES[hint]}


def _limited(schema: Json, limit: Limit) -> Json:
    if isinstance(limit, OneOf):
        return {limit.keyword: limit.value}
    if isinstance(limit, NotEmpty):
        # In a union such as text or null, the first type is the one whose values can be empty.
        kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
        return {**schema, NOT_EMPTY[kind]: 1}
    return {**schema, limit.keyword: limit.value}


def _union(schemas: Sequence[Json]) -> Json:
    """Join the schemas of types; only the first schema may say more than the name of its type."""
    if "enum" in schemas[0]:
        return {"enum": [*schemas[0]["enum"], None]}
    return {**schemas[0], "type": [schema["type"] for schema in schemas]}


def _values(hint: Any) -> Json:
    """Return the schema of a mapping's values, and of its keys if the values are dataclasses.

    The field `name` of such a dataclass is the key.
    """
    kind: type = hint
    if not is_dataclass(kind):
        return {"additionalProperties": value_schema(kind)}
    properties = _properties(kind)
    name = properties.pop("name")
    key = {keyword: name[keyword] for keyword in ("pattern", "patternHint") if keyword in name}
    required = [key for key in _required(kind) if key in properties]
    about = inspect.getdoc(kind)
    return {
        "propertyNames": key,
        "additionalProperties": {"description": about, **_object(properties, required)},
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, "utf-8")
