"""The export of a run's training metrics as TensorBoard's event files; no step needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from redheart.errors import UserError
from redheart.storage import diary, files, run_files

NOT_INSTALLED = "event files take the package tensorboard; install it (`pip install tensorboard`)"
# TensorBoard looks for files with `tfevents` in their names. The name is fixed, so a second export
# replaces the first.
FILE = "events.out.tfevents.redheart"


def write_event_files(run_folder: Path, logdir: Path) -> int:
    """Write an event file for each training seed of a run and return their number.

    The metrics of steps have tags under `step/`. The numbers of checkpoints' tables have tags under
    the names of their sections. The horizontal axis counts optimizer steps. The files hold no
    clock: equal runs give equal bytes.

    Raises
    ------
    UserError
        TensorBoard is not installed, or the run has no metrics of steps.
    """
    legs = run_folder.glob(f"{run_files.seed_folder('*')}/{run_files.steps('*')}")
    seeds = sorted({path.parents[1] for path in legs})
    if not seeds:
        raise UserError(
            f"{run_folder}: no metrics of training steps there; name a run's folder, such as "
            "results/demo, after its training"
        )
    for seed in seeds:
        _write(logdir / seed.name / FILE, seed)
    return len(seeds)


def scalars(folder: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the optimizer step and the scalars by tag, for each step and each checkpoint.

    Parameters
    ----------
    folder
        The folder of a seed.
    """
    for path in sorted(folder.glob(run_files.steps("*")), key=run_files.epoch_of):
        step = 0
        for row in diary.read_lines(path, {"step": int}):
            step = row.pop("step")
            yield step, flat(row, "step/")
        table = folder / run_files.metrics(run_files.epoch_of(path))
        if table.is_file():
            yield step, flat(files.read_shaped(table, dict))


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of nested mappings by their paths, `a/b/c`; leave out other values."""
    numbers: dict[str, float] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            numbers |= flat(item, f"{prefix}{name}/")
        elif isinstance(item, int | float):
            numbers[prefix + name] = float(item)
    return numbers


def _write(path: Path, folder: Path) -> None:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise UserError(NOT_INSTALLED) from None
    # TensorBoard's own EventFileWriter puts the time and the machine into the name and the content.
    with files.atomic(path) as stream:
        writer = RecordWriter(stream)
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for step, numbers in scalars(folder):
            values = [
                Summary.Value(tag=tag, simple_value=number) for tag, number in numbers.items()
            ]
            writer.write(Event(step=step, summary=Summary(value=values)).SerializeToString())
