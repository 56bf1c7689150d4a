"""The schema of the config and the reference of its keys: both are made from the dataclasses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from redheart.limits import Above, AtLeast, AtMost, Below, Distinct, Hint, Matching, NotEmpty, OneOf
from redheart.storage import files
from redheart.workflow import config, schema, sections
from redheart.workflow.problems import schema_problems
from redheart.workflow.reference import allowed, reference


@dataclass(frozen=True)
class Animal:
    """One animal."""

    name: Annotated[str, Matching("^[a-z]+$")]
    """Its key."""
    legs: Annotated[int, AtLeast(0)]
    """How many legs it has,
    all of them counted."""
    tame: bool = False
    """Whether it comes when called."""


ANIMALS = {
    "propertyNames": {"pattern": "^[a-z]+$"},
    "additionalProperties": {
        "description": "One animal.",
        "type": "object",
        "additionalProperties": False,
        "required": ["legs"],
        "properties": {
            "legs": {
                "description": "How many legs it has, all of them counted.",
                "type": "integer",
                "minimum": 0,
            },
            "tame": {
                "description": "Whether it comes when called.",
                "type": "boolean",
                "default": False,
            },
        },
    },
}


# --- the files --------------------------------------------------------------------------------


def test_the_files_are_what_the_dataclasses_say():
    for path, text in schema.generated().items():
        assert path.read_text("utf-8") == text, f"{path} is not up to date; run `make schema`"


def test_every_default_is_one_that_the_schema_allows():
    tasks = {"regret": {"kind": "regression", "field": "regret_factor"}}
    problems = schema_problems(
        {**sections.defaults(), "run": "x", "tasks": tasks}, schema.config_schema()
    )
    assert list(problems) == []


def descriptions(part):
    if "properties" in part:
        for inner in part["properties"].values():
            yield inner["description"]
            yield from descriptions(inner)
    if isinstance(part.get("additionalProperties"), dict):
        yield from descriptions(part["additionalProperties"])


def test_every_key_is_explained_in_sentences():
    for text in descriptions(schema.config_schema()):
        assert re.match(r"[A-Z`]", text) and text.endswith("."), text
        # Python says None; a config says null.
        assert "None" not in text, text


# --- from a type to a schema ------------------------------------------------------------------


KINDS = [
    (int, {"type": "integer"}, "whole number"),
    (Annotated[int, AtLeast(1)], {"type": "integer", "minimum": 1}, "whole number ≥ 1"),
    (Annotated[float, Above(0)], {"type": "number", "exclusiveMinimum": 0}, "number > 0"),
    (
        Annotated[float, AtLeast(0), AtMost(0.5)],
        {"type": "number", "minimum": 0, "maximum": 0.5},
        "number from 0 to 0.5",
    ),
    (
        Annotated[float | None, AtLeast(0), Below(1)],
        {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 1},
        "number ≥ 0 and < 1 or `null`",
    ),
    (
        bool | str | None,
        {"type": ["boolean", "string", "null"]},
        "`true`, `false`, text or `null`",
    ),
    (Literal["a", "b"], {"enum": ["a", "b"]}, "`a` or `b`"),
    (Literal["", "a"] | None, {"enum": ["", "a", None]}, '`""`, `a` or `null`'),
    (Annotated[str, OneOf(["a", "b", "c"])], {"enum": ["a", "b", "c"]}, "`a`, `b` or `c`"),
    (Annotated[str, NotEmpty()], {"type": "string", "minLength": 1}, "text"),
    (
        Annotated[str | None, NotEmpty()],
        {"type": ["string", "null"], "minLength": 1},
        "text or `null`",
    ),
    (
        Annotated[str, Matching("^[a-z]+$"), Hint("expected small letters")],
        {"type": "string", "pattern": "^[a-z]+$", "patternHint": "expected small letters"},
        "text of small letters",
    ),
    (
        Annotated[tuple[Annotated[float, Above(0)], ...], NotEmpty(), Distinct()],
        {
            "type": "array",
            "items": {"type": "number", "exclusiveMinimum": 0},
            "minItems": 1,
            "uniqueItems": True,
        },
        "list of numbers > 0 (at least one, none twice)",
    ),
    (
        Annotated[tuple[str, ...] | None, Distinct()],
        {"type": ["array", "null"], "items": {"type": "string"}, "uniqueItems": True},
        "list of texts (none twice) or `null`",
    ),
    (
        Mapping[str, Annotated[str, NotEmpty()]] | None,
        {
            "type": ["object", "null"],
            "additionalProperties": {"type": "string", "minLength": 1},
        },
        "names (each with a text) or `null`",
    ),
    (
        Annotated[Mapping[str, Animal], NotEmpty()],
        {"type": "object", "minProperties": 1, **ANIMALS},
        "names, each with the keys of [a task](#a-task)",
    ),
]


@pytest.mark.parametrize(("hint", "expected", "words"), KINDS, ids=[words for *_, words in KINDS])
def test_a_type_with_its_limits_has_a_schema_and_words(hint, expected, words):
    value = schema.value_schema(hint)
    assert value == expected
    assert allowed(value) == words


def test_a_type_that_no_config_holds_is_an_error():
    with pytest.raises(KeyError):
        schema.value_schema(complex)


@dataclass(frozen=True)
class Silent:
    """A dataclass that does not explain its field."""

    legs: int = 4


def test_a_field_without_a_doc_line_is_an_error(monkeypatch):
    monkeypatch.setitem(sections.SECTIONS, "animals", sections.Section("Animals.", (Silent,)))
    with pytest.raises(KeyError, match="legs"):
        schema.config_schema()


# --- the page ---------------------------------------------------------------------------------


def test_the_page_links_what_a_description_names_and_keeps_tables_whole():
    content = files.read_json(config.SCHEMA)
    content["properties"]["demo"]["description"] = "Of a | b (docs/memory.md)."
    content["properties"]["demo"]["properties"]["seed"]["description"] = "Of `|a|`."
    page = reference(content)
    assert "| [`demo`](#demo) | Of a \\| b ([memory.md](memory.md)). |" in page
    assert "| `seed` | Of `\\|a\\|`. | whole number from 0 to 4294967295 | `0` |" in page
