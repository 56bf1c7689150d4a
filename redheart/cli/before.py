"""Commands before a run: what a config means, what its run will take, what it will read."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from redheart import terminal
from redheart.errors import UserError

# `import` names at most this many refused records.
REFUSALS_SHOWN = 20


def add(commands: Any) -> None:
    """Add these commands to the parser's."""
    check = commands.add_parser("check", help="check a config and print it with all defaults")
    check.add_argument("config", nargs="+", help="config files, later ones over earlier ones")
    check.set_defaults(run=_check)

    plan = commands.add_parser("plan", help="tell what a run will take: memory, disk space, time")
    plan.add_argument("config", nargs="+", help="config files, later ones over earlier ones")
    plan.add_argument(
        "--measure", action="store_true", help="time real optimizer steps, however long they take"
    )
    plan.set_defaults(run=_plan)

    importing = commands.add_parser("import", help="turn a corpus of any format into JSON Lines")
    importing.add_argument("source", help="JSON, JSON Lines, CSV, TSV, Parquet, or a data set")
    importing.add_argument("target", help="the file to write: NAME.jsonl")
    add_column(importing)
    importing.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="check labels, share of refusals and columns as a run under this config would",
    )
    importing.set_defaults(run=_import)


def add_column(command: argparse.ArgumentParser) -> None:
    """Add the option that maps fields of the records to columns of the source."""
    command.add_argument(
        "--column",
        action="append",
        default=[],
        type=_column,
        metavar="FIELD=COLUMN",
        help="take a field of the records from a column, as in text=body; may be repeated",
    )


def _check(arguments: argparse.Namespace) -> None:
    import yaml

    from redheart.workflow import config

    settings = config.read(arguments.config)
    print(
        yaml.safe_dump(settings, allow_unicode=terminal.shows_any_text(), sort_keys=False), end=""
    )


def _plan(arguments: argparse.Namespace) -> None:
    # The workflow sets the same value for training. It must be set before anything imports torch.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from redheart.workflow import config, plan

    settings = config.read(arguments.config)
    for line in plan.report(settings, Path("results") / settings["run"], arguments.measure):
        print(line)


def _column(text: str) -> tuple[str, str]:
    field, equals, column = text.partition("=")
    if not (field and equals and column):
        raise argparse.ArgumentTypeError(f"expected FIELD=COLUMN, as in text=body, got {text!r}")
    return field, column


def _import(arguments: argparse.Namespace) -> None:
    from redheart.data.reading import read_source
    from redheart.data.records import RecordOptions
    from redheart.recipe.build import build
    from redheart.storage import files
    from redheart.tasks.task import parse_tasks
    from redheart.workflow import config

    if not arguments.target.endswith(".jsonl"):
        raise UserError(f"{arguments.target}: JSON Lines are written; give it a name in .jsonl")
    files.refuse_overwriting(arguments.source, arguments.target)
    settings = config.read(arguments.config) if arguments.config else {"data": {}, "tasks": {}}
    options = build(RecordOptions, settings["data"])
    options = replace(options, columns={**(options.columns or {}), **dict(arguments.column)})
    report = read_source(
        arguments.source,
        arguments.target,
        parse_tasks(settings["tasks"]),
        options,
        settings.get("stratify_by"),
    )
    for entry in report["rejected"][:REFUSALS_SHOWN]:
        print(f"refused: {entry['place']}: {entry['reason']}", file=sys.stderr)
    if len(report["rejected"]) > REFUSALS_SHOWN:
        more = len(report["rejected"]) - REFUSALS_SHOWN
        print(f"refused: {more:,} more", file=sys.stderr)
    print(f"{arguments.target}: {report['kept']:,} of {report['read']:,} records")
