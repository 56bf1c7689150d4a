"""The command that starts a run: Snakemake with the right arguments."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redheart.errors import UserError

NAME = "run"
CONFIG_ENDINGS = (".yaml", ".yml")
CORES = re.compile(r"--(cores|jobs)(=.*)?|-[cj].*")


def add(commands: Any) -> None:
    """Add this command to the parser's."""
    run = commands.add_parser(
        NAME,
        help="compute what a config asks for and is not valid yet",
        usage="redheart run [CONFIG.yaml ...] [TARGET ...] [OPTION ...]",
        description="Run Snakemake with the right arguments. Later configs count over earlier "
        "ones; without one, config/config.yaml is taken. A target is a phase or a file. All "
        "options are Snakemake's own.",
        epilog="example: redheart run mine.yaml sweep --cores 2",
    )
    run.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    command = snakemake_command(arguments.words)
    if not Path("Snakefile").is_file():
        raise UserError("no Snakefile here; go to the folder of Red Heart's repository first")
    print(f"running: {shlex.join(command)}", file=sys.stderr, flush=True)
    program = Path(sys.executable).with_name(command[0])
    os.execv(program, command)


def snakemake_command(words: Sequence[str]) -> list[str]:
    """Return the command of Snakemake for the words after `redheart run`.

    Raises
    ------
    UserError
        A config is named without its ending, or cannot be read. Snakemake, which reads it before
        any line of the workflow, would end in a traceback.
    """
    from redheart.workflow import config

    options = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    configs = [word for word in words[:options] if word.endswith(CONFIG_ENDINGS)]
    others = [word for word in words[:options] if word not in configs]
    for path in (word for word in words if word.endswith(CONFIG_ENDINGS)):
        config.read_file(path)
    for word in others:
        if found := next((e for e in CONFIG_ENDINGS if Path(word + e).is_file()), ""):
            raise UserError(f"{word}: is no target; for the config, write {word}{found}")
    cores = [] if any(map(CORES.fullmatch, words)) else ["--cores", "1"]
    chosen = ["--configfile", *configs] if configs else []
    # `--configfile` takes all words up to the next option, so another option has to follow it.
    return ["snakemake", *others, *chosen, *cores, *words[options:]]
