"""`redheart` on the command line: the commands beside the workflow."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from redheart import __version__, terminal
from redheart.errors import UserError
from redheart.storage import files, run_files

# `import` names at most this many refused records.
REFUSALS_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after saying in one line what is wrong."""
    return terminal.exit_code(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        parsed = _parser().parse_args(arguments)
        for name, value in vars(parsed).items():
            several = isinstance(value, list)
            setattr(
                parsed, name, [*map(files.expanded, value)] if several else files.expanded(value)
            )
        parsed.run(parsed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="redheart", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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
    importing.add_argument(
        "--column",
        action="append",
        default=[],
        type=_column,
        metavar="FIELD=COLUMN",
        help="take a field of the records from a column, as in text=body; may be repeated",
    )
    importing.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="check labels, share of refusals and columns as a run under this config would",
    )
    importing.set_defaults(run=_import)

    predict = commands.add_parser("predict", help="predict texts with a model that shipped")
    predict.add_argument("model", type=Path, help="the folder results/<run>/model")
    predict.add_argument("texts", help="JSON Lines with a `text` each; - reads standard input")
    predict.set_defaults(run=_predict)

    parts = commands.add_parser("parts", help="print each record's part, for split.keep")
    _add_run(parts)
    parts.set_defaults(run=_parts)

    ledger = commands.add_parser("ledger", help="tell what was computed or restored, and why")
    _add_run(ledger)
    ledger.add_argument(
        "--epochs", action="store_true", help="also the time and memory of each epoch"
    )
    ledger.set_defaults(run=_ledger)

    tensorboard = commands.add_parser("tensorboard", help="show a run's training in TensorBoard")
    _add_run(tensorboard)
    tensorboard.add_argument(
        "logdir", type=Path, nargs="?", help="default: results/<run>/tensorboard"
    )
    tensorboard.set_defaults(run=_tensorboard)

    archive = commands.add_parser("archive", help="pack a run's folder into one smaller file")
    _add_run(archive)
    archive.add_argument("file", help="the archive to write")
    archive.set_defaults(run=_archive)

    restore = commands.add_parser("restore", help="unpack an archive into a new folder")
    restore.add_argument("file", help="the archive")
    restore.add_argument("run_folder", type=Path, help="the folder to make: results/<run>")
    restore.set_defaults(run=_restore)

    verify = commands.add_parser("verify", help="check every file of a run by its hash")
    _add_run(verify)
    verify.set_defaults(run=_verify)

    prune = commands.add_parser("prune", help="remove files that are no longer of a run's plan")
    _add_run(prune)
    prune.set_defaults(run=_prune)

    accept = commands.add_parser("accept", help="keep a step's results after a refactoring")
    accept.add_argument("steps", nargs="*", metavar="STEP", help="steps as the ledger names them")
    accept.add_argument("--all", action="store_true", help="every step, as after an upgrade")
    accept.add_argument("--why", default="", help="a reason, for the record")
    accept.add_argument("--store", default=".redheart/store", help="the folder of the store")
    accept.set_defaults(run=_accept)
    return parser


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_folder", type=_found, metavar="RUN", help="its folder, or its name")


def _found(run: str) -> Path:
    return run_files.find_run(files.expanded(run))


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


def _predict(arguments: argparse.Namespace) -> None:
    from redheart.selection.shipped_model import ShippedModel, model_folder

    model = ShippedModel(model_folder(arguments.model))
    lines = _content(arguments.texts).split(b"\n")
    texts = [_text(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    for prediction in model.predict(texts) if texts else ():
        print(json.dumps(prediction, ensure_ascii=not terminal.shows_any_text()))


def _content(path: str) -> bytes:
    """Return the bytes of a file, or of standard input for a dash."""
    from redheart.storage.files import unreadable

    if path == "-" and sys.stdin is None:
        raise UserError("standard input is closed; name a file of texts")
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def _text(line: bytes, number: int) -> str:
    from redheart.data.sources import parse_line

    try:
        text = str(parse_line(line)["text"].encode(), "utf-8")
        if text.strip():
            return text
        reason = "the text is empty"
    except UnicodeEncodeError:
        reason = "the text holds half a character (a lone surrogate)"
    except (KeyError, TypeError, AttributeError):
        reason = "no text there"
    except ValueError as error:
        reason = str(error)
    raise UserError(f'line {number}: {reason}; expected a JSON object, {{"text": "..."}}')


def _parts(arguments: argparse.Namespace) -> None:
    from redheart.split.kept import write_parts

    terminal.write_utf8()  # `split.keep` reads it again, and an escaped id would be another id
    write_parts(arguments.run_folder, sys.stdout)


def _ledger(arguments: argparse.Namespace) -> None:
    from redheart.storage.ledger import Ledger

    path = arguments.run_folder / run_files.LEDGER
    lines = Ledger(path).lines()
    if not lines:
        raise UserError(f"{path}: no ledger there; name a run's folder, such as results/demo")
    for line in lines:
        when = f"{line['outcome']:9}{line['seconds']:8.1f} s"
        print(f"{when}  {line['step']:20} {line['target']}: {line['why']}")
        for row in line.get("epochs", ()) if arguments.epochs else ():
            print(f"{'':9}{row['seconds']:8.1f} s  epoch {row['epoch']}, {_epoch(row)}")


def _epoch(row: Mapping[str, Any]) -> str:
    """Describe the speed and memory of an epoch; older ledgers counted no tokens."""
    memory = f"{row['peak_memory_bytes'] / 1e9:.2f} GB at most"
    speed = row.get("tokens", 0) / max(row["seconds"], 0.001)
    return f"{speed:,.0f} tokens/s, {memory}" if speed else memory


def _tensorboard(arguments: argparse.Namespace) -> None:
    from redheart.report.event_files import write_event_files

    folder = arguments.logdir or arguments.run_folder / "tensorboard"
    written = write_event_files(arguments.run_folder, folder)
    print(f"event files: {written}; look at them with: tensorboard --logdir {folder}")


def _archive(arguments: argparse.Namespace) -> None:
    from redheart.storage.archive import archive_run

    run_bytes, archive_bytes = archive_run(arguments.run_folder, arguments.file)
    print(f"{arguments.file}: {run_bytes / 1e6:,.1f} MB in {archive_bytes / 1e6:,.1f} MB")


def _restore(arguments: argparse.Namespace) -> None:
    from redheart.storage.archive import restore_run

    count = restore_run(arguments.file, arguments.run_folder)
    print(f"{arguments.run_folder}: {count:,} files, each as its hash says")


def _verify(arguments: argparse.Namespace) -> None:
    from redheart.storage.artefacts import verify

    for line in verify(arguments.run_folder):
        print(line)


def _prune(arguments: argparse.Namespace) -> None:
    from redheart.storage.artefacts import prune

    for path in prune(arguments.run_folder):
        print(f"{path}: removed")


def _accept(arguments: argparse.Namespace) -> None:
    from redheart.storage.store import Store
    from redheart.workflow import steps

    if arguments.all == bool(arguments.steps):
        raise UserError("accept: name the steps, or --all for every step")
    for step in steps.STEPS if arguments.all else arguments.steps:
        print(steps.accept(step, Store(arguments.store), arguments.why))


if __name__ == "__main__":
    sys.exit(main())
