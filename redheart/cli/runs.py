"""Commands for a run that has begun or ended: its files, its diary, its store."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redheart import terminal
from redheart.errors import UserError
from redheart.storage import files, run_files


def add(commands: Any) -> None:
    """Add these commands to the parser's."""
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

    compare = commands.add_parser(
        "compare",
        help="tell what differs between two runs",
        epilog="example: redheart compare demo other --html comparison.html",
    )
    compare.add_argument("first", metavar="A", help="a run's folder, or its name")
    compare.add_argument("second", metavar="B", help="the run to compare with it")
    compare.add_argument("--html", type=Path, metavar="FILE", help="write a page of HTML")
    compare.add_argument("--json", action="store_true", help="print all of it as JSON")
    compare.set_defaults(run=_compare)

    accept = commands.add_parser("accept", help="keep a step's results after a refactoring")
    accept.add_argument("steps", nargs="*", metavar="STEP", help="steps as the ledger names them")
    accept.add_argument("--all", action="store_true", help="every step, as after an upgrade")
    accept.add_argument("--why", default="", help="a reason, for the record")
    accept.add_argument("--store", default=".redheart/store", help="the folder of the store")
    accept.set_defaults(run=_accept)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_folder", type=_found, metavar="RUN", help="its folder, or its name")


def _found(run: str) -> Path:
    return run_files.find_run(files.expanded(run))


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


def _compare(arguments: argparse.Namespace) -> None:
    from redheart.comparing.comparison import compare_runs
    from redheart.comparing.page import build_page
    from redheart.comparing.words import terminal_lines

    comparison = compare_runs(arguments.first, arguments.second)
    if arguments.html:
        files.write_text(arguments.html, build_page(comparison))
    if arguments.json:
        print(json.dumps(comparison, ensure_ascii=not terminal.shows_any_text(), indent=1))
        return
    for line in terminal_lines(comparison):
        print(line)
    if arguments.html:
        print(f"\n{arguments.html}: the same as a page")
