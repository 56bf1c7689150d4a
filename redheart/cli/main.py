"""The command line itself: which commands there are, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from redheart import __version__, terminal
from redheart.cli import before, models, review, runs, start
from redheart.errors import UserError
from redheart.storage import files

PURPOSE = "The commands beside the workflow."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, or 1 after saying in one line what is wrong."""
    return terminal.exit_code(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    try:
        parsed = _parsed(arguments)
        for name, value in vars(parsed).items():
            several = isinstance(value, list)
            setattr(
                parsed, name, [*map(files.expanded, value)] if several else files.expanded(value)
            )
        return int(parsed.run(parsed) or 0)
    except UserError as error:
        print(f"error: {terminal.escaped(str(error))}", file=sys.stderr)
        return 1


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command. The words after `run` are Snakemake's, whose options are not known here."""
    if arguments[:1] == [start.NAME] and not {"-h", "--help"} & set(arguments):
        parsed = _parser().parse_args(arguments[:1])
        parsed.words = list(arguments[1:])
        return parsed
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="redheart", description=PURPOSE)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (before, start, models, runs, review):
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
