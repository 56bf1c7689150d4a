"""The one bridge between Snakemake's job object and the library."""

import atexit
import gc
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from redheart.errors import UserError
from redheart.machine import meter, tiers
from redheart.storage import files, run_files
from redheart.storage.artefacts import WITNESSES, Artefacts, Made
from redheart.storage.hashes import Hashes
from redheart.storage.ledger import Ledger
from redheart.storage.store import HASHED, Action, Outcome, Store
from redheart.terminal import escaped
from redheart.workflow import space, steps

VERSIONED = ("redheart", "torch", "snakemake", "numpy", "rapidfuzz", "tokenizers", "scikit-learn")


class Inputs:
    """What a script reads through its job; this code counts in every step, unlike that of `Job`."""

    def __init__(self, snakemake: Any) -> None:
        self.input, self.output = snakemake.input, snakemake.output
        self.wildcards, self.params = snakemake.wildcards, snakemake.params
        self.settings = steps.settings(self.params.get("settings", "{}"))
        self._outside = self.params.get("outside", {}).get("paths", {})

    def settings_of(self, step: str) -> dict[str, Any]:
        """Return the settings of the second step of a rule that has two steps."""
        return steps.settings(self.params[step]["settings"])

    @property
    def names(self) -> list[str]:
        """The names of all that the rule reads: its inputs, and files from outside of the run."""
        return [*dict(self.input.items()), *self._outside]

    def paths(self, name: str) -> Any:
        """Return the path or the paths of what the rule reads under a name."""
        return self._outside[name] if name in self._outside else self.input[name]

    def read(self, name: str) -> Any:
        """Return the content of a JSON input; where the input is several files, a list."""
        value = self.input[name]
        return files.read_json(value) if isinstance(value, str) else [*map(files.read_json, value)]

    def optional(self, name: str, default: Any) -> Any:
        """Return the content of a JSON input, or the default where the rule has no such input."""
        return self.read(name) if name in self.input.keys() else default  # noqa: SIM118

    def weights(self) -> list[list[dict[str, str]]]:
        """Return the hashes of all checkpoints' modules: of the weights and of the averages."""
        return [[manifest["weights"], manifest["ema"]] for manifest in self.read("manifests")]


class Job(Inputs):
    """A Snakemake job whose outputs come from the store, or go there."""

    def __init__(self, snakemake: Any, whole_run: bool = False) -> None:
        """Check what the rule reads, or every file of the run, the folder that ships included."""
        super().__init__(snakemake)
        self.rule = snakemake.rule
        self.store = Store(os.environ["REDHEART_STORE"])
        self.ledger = Ledger(os.environ["REDHEART_LEDGER"])
        self.artefacts = Artefacts(self.ledger.path.parent, WITNESSES)
        self._noted: dict[str, Any] = {}
        Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(
            filename=snakemake.log[0], filemode="w", level=logging.INFO, format="%(message)s"
        )
        sys.excepthook = _one_line
        # Otherwise Python searches all objects of torch for garbage before it ends: 0.3 s a job.
        atexit.register(gc.freeze)
        self._check(None if whole_run else self._read())

    def _read(self) -> list[str]:
        """Return the paths of what the rule reads; weights are checked by whoever loads them."""
        values = [self.paths(name) for name in self.names]
        paths = [path for v in values for path in ([v] if isinstance(v, str) else v)]
        return [path for path in paths if not path.endswith(HASHED)]

    def _check(self, paths: Sequence[str] | None) -> None:
        """Put right the files that are no longer as their steps made them, and name each.

        Raises
        ------
        UserError
            The store no longer holds one of them.
        """
        hashes, missing = Hashes(self.artefacts.run / run_files.HASHES), self.artefacts.missing()
        for line in self.artefacts.mend(self.store, hashes, paths):
            print(line, file=sys.stderr)
        if paths is None:
            hashes.save()
        if lost := sorted({*self.artefacts.missing()} - {*missing}):
            path = self.artefacts.run / lost[0]
            raise UserError(f"{path}: was changed during the run; run the same command again")

    def note(self, **facts: Any) -> None:
        """Add columns to the ledger's line about the running computation."""
        self._noted = facts

    def build(
        self,
        compute: Callable[[Path], Mapping[str, str] | None],
        *,
        step: str | None = None,
        names: Sequence[str] | None = None,
        uses: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Compute or restore the outputs of the rule, or only those in `names`.

        `compute` gets a folder and writes a file there for each output, under the output's name in
        the rule. It may return the hashes that it computed while writing. By default the action
        uses the content of every input file. `extra` are values beside the settings, such as
        wildcards. A rule of two actions has the parameters of the second action under its `step`.
        """
        outputs = {name: self.output[name] for name in names or dict(self.output.items())}
        action = self.action(step, uses, extra)
        anew = action.step in steps.anew(os.environ.get(steps.ANEW, ""))
        outcome = self.store.run(action, outputs, compute, anew)
        target = os.path.relpath(next(iter(outputs.values())), self.ledger.path.parent)
        facts = {**_facts(), **self._noted} if outcome.outcome == "computed" else {}
        facts |= {"why": f"{steps.ANEW} names it"} if anew else {}
        self._noted = {}
        self.ledger.add(outcome, target, self.store, **facts)
        hashes = self.store.outputs(action.key)
        made = {path: Made(hashes[name], action.key, name) for name, path in outputs.items()}
        self.artefacts.add(made, self.store)
        logging.info("%s: %s", action.step, outcome.outcome)
        return outcome

    def write(
        self, name: str, value: Any, writer: Callable[[str, Any], None] = files.write_json
    ) -> None:
        """Write an output that the store need not hold, since it takes no time to make."""
        path = self.output[name]
        writer(path, value)
        self.artefacts.add({path: Made(files.sha256_file(path))}, self.store)

    def action(
        self,
        step: str | None = None,
        uses: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Action:
        """Return the action of a computation, which names all that the computation depends on."""
        params = self.params[step] if step else self.params
        return Action(
            step or self.rule,
            {**json.loads(params["settings"]), **(extra or {})},
            params["code"],
            self.content() if uses is None else uses,
        )

    def keys(
        self, uses: Mapping[str, Any], values: Callable[[int], Mapping[str, Any]]
    ) -> Callable[[int], str]:
        """Return a function from a number of devices or epochs to the key of its action.

        `values` gives the values of a number that the key covers beside the settings, like `extra`
        of `build`.
        """
        return lambda number: self.action(uses=uses, extra=values(number)).key

    def check_space(self, footprint: tiers.Kept) -> None:
        """Refuse a run that the disk cannot hold, given the sizes that training keeps in memory."""
        config, run = files.read_json(os.environ["REDHEART_CONFIG"]), self.ledger.path.parent
        space.check(config, footprint, self.store, run, self.content("train")["train"])

    def content(self, *names: str) -> dict[str, Any]:
        """Return the hashes of all that the rule reads, or only of what is in `names`."""
        return {
            name: files.sha256_file(value)
            if isinstance(value, str)
            else [files.sha256_file(path) for path in value]
            for name, value in ((name, self.paths(name)) for name in self.names)
            if not names or name in names
        }


def _facts() -> dict[str, Any]:
    """Return facts about a computation that stand in the ledger and in no artefact."""
    return {
        "peak_memory_bytes": meter.peak_memory(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
    }


def commit() -> str | None:
    """Return the commit of the working folder; None outside of a git repository or without git."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return process.stdout.strip() or None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    packages = {name: metadata.version(name) for name in VERSIONED}
    return {"python": sys.version.split()[0], **packages}


def _one_line(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Show a user's error in one line; show a traceback for a bug."""
    if issubclass(kind, UserError):
        logging.error("%s", error)
        print(f"error: {escaped(str(error))}", file=sys.stderr)
    else:
        logging.error("a bug", exc_info=(kind, error, trace))
        sys.__excepthook__(kind, error, trace)
