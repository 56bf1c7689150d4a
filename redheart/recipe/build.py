"""From a section of the config to the frozen dataclass that a step takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from redheart.recipe.model_options import ModelOptions
from redheart.recipe.training_options import FusionOptions, Recipe, TrainOptions
from redheart.tasks.task import parse_tasks

T = TypeVar("T")


def build(kind: type[T], section: Mapping[str, Any]) -> T:
    """Build an options dataclass from a section; keys that are no fields of it are ignored."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: _frozen(v) for k, v in section.items() if k in names})


def read_recipe(settings: Mapping[str, Any]) -> Recipe:
    """Build the recipe from the sections `tasks`, `model` and `train`, and `fusion` if given."""
    return Recipe(
        parse_tasks(settings["tasks"]),
        build(ModelOptions, settings["model"]),
        build(TrainOptions, settings["train"]),
        build(FusionOptions, settings.get("fusion", {})),
    )


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
