"""Measure saving, stitching and archiving a checkpoint of the 730m preset: time, bytes, memory.

    python bench/checkpoints.py [--folder DIR]    DIR: on the disk to measure; 6 GB go there

The weights are random bf16 numbers in the preset's shapes (1.5 GB), scaled as weights are; nothing
is trained. Compare the ratios within one run, and not the seconds of two runs.
docs/checkpoints.md has the figures.

The ways to save take turns in random order, and the fastest time of each counts, not the median. A
virtual machine returns freed memory to its host, so the page cache of the next writer waits for the
host, up to three times as long as the writing takes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from redheart.crossover import stitch_recipe
from redheart.model.states import parameters_by_module
from redheart.recipe.build import read_recipe
from redheart.recipe.groups import groups
from redheart.storage import archive, files
from redheart.storage.tensors import hash_modules, load_tensors, save_tensors
from redheart.workflow import config, plan_sizes

ROOT = Path(__file__).parents[1]
EPOCHS = (2, 4, 6, 8, 10)
REPEATS, ROUNDS = 3, 7
# So many bytes of a file are compressed to measure ratio and speed of each method; the slowest
# method sets the limit.
PART_BYTES = 60_000_000
States = dict[str, dict[str, Tensor]]


def make_weights(seed: int) -> States:
    """Return weights of the 730m preset in bf16, normal with a deviation of 0.02."""
    settings = config.read([str(ROOT / "config" / "redheart-730m.yaml")])
    recipe, corpus = read_recipe(settings), plan_sizes.read_corpus(settings, Path("results/none"))
    part = plan_sizes.synthetic_part(recipe, corpus, settings["train"]["max_tokens"], None, 1)
    generator = torch.Generator().manual_seed(seed)
    return {
        module: {
            name: torch.empty(p.shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
            for name, p in parameters.items()
        }
        for module, parameters in parameters_by_module(
            plan_sizes.meta_network(recipe, part)
        ).items()
    }


def tensors_of(states: States) -> list[Tensor]:
    """Return all tensors."""
    return [tensor for state in states.values() for tensor in state.values()]


def in_turns(folder: Path, tasks: dict[str, Callable[[Path], Any]]) -> dict[str, float]:
    """Return the least seconds of each task; the file that a task writes is deleted after it."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for number in range(ROUNDS):
        random.Random(number).shuffle(names)
        for name in names:
            os.sync()
            started = time.perf_counter()
            tasks[name](folder / "out")
            seconds[name].append(time.perf_counter() - started)
            (folder / "out").unlink(missing_ok=True)
    return {name: min(each) for name, each in seconds.items()}


def saving(states: States, folder: Path) -> dict[str, float]:
    """Return the seconds of each way to save weights; all but the first also compute a hash."""

    def raw(path: Path) -> None:
        with open(path, "wb") as stream:
            for tensor in tensors_of(states):
                stream.write(tensor.flatten().view(torch.uint8).numpy().data)
            stream.flush()
            os.fsync(stream.fileno())

    def torch_then_hash(path: Path) -> None:
        with open(path, "wb") as stream:
            torch.save({"weights": states}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        files.sha256_file(path)

    def safetensors_then_hash(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({f"{m}.{n}": t for m, state in states.items() for n, t in state.items()}, path)
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        files.sha256_file(path)

    def with_module_hashes(path: Path) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=1) as pool:
            hashing = pool.submit(hash_modules, states)
            save_tensors(path, {"weights": states})
            hashing.result()

    return in_turns(
        folder,
        {
            "raw write and fsync, no hash": raw,
            "Red Heart: save with the file's hash": lambda path: save_tensors(
                path, {"weights": states}
            ),
            "Red Heart: and a hash per module": with_module_hashes,
            "torch.save and fsync, then SHA-256 of the file": torch_then_hash,
            "safetensors and fsync, then SHA-256 of the file": safetensors_then_hash,
        },
    )


def show_saving(states: States, folder: Path) -> None:
    """Print the times of all ways to save, and of a SHA-256 alone."""
    size = sum(tensor.nbytes for tensor in tensors_of(states))
    print(
        f"\n{size / 1e9:.2f} GB of bf16 in {len(tensors_of(states))} tensors; fastest of {ROUNDS}"
    )
    seconds = saving(states, folder)
    first = next(iter(seconds.values()))
    for name, each in seconds.items():
        print(f"  {name:<50}{each:7.2f} s {size / 1e6 / each:7.0f} MB/s {each / first:6.2f} x")
    sha = hashlib.sha256()
    started = time.perf_counter()
    for tensor in tensors_of(states):
        sha.update(tensor.flatten().view(torch.uint8).numpy().data)
    print(f"  {'SHA-256 alone':<50}{time.perf_counter() - started:7.2f} s")


def show_loading(paths: list[Path]) -> None:
    """Print the time to map a file, read 15 % of its bytes and add them up."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        tensors = tensors_of(load_tensors(paths[0])["weights"])
        wanted, read = 0.15 * sum(t.nbytes for t in tensors), 0
        for tensor in tensors:
            if read < wanted:
                tensor.flatten().view(torch.int16).sum()
                read += tensor.nbytes
        times.append(time.perf_counter() - started)
    print(f"\nmap the file, add up {read / 1e6:.0f} MB of it: {median(times):.2f} s, warm")


STITCH = """
import json, sys, time
from pathlib import Path
from redheart.crossover import stitching
recipe, paths = json.loads(Path(sys.argv[1]).read_text()), sys.argv[3:]
def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])
def read():
    return int(Path("/proc/self/io").read_text().split()[1])
before, read_before, started = memory("VmRSS"), read(), time.perf_counter()
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
stitching.write_stitched(sys.argv[2], recipe, paths)
print(time.perf_counter() - started, read() - read_before, memory("VmHWM") - before)
"""


def show_stitching(states: States, paths: list[Path], folder: Path) -> None:
    """Print time, read bytes and memory of a process that stitches groups from five checkpoints."""
    hashes = {epoch: {"weights": hash_modules(states)} for epoch in EPOCHS}
    by_group = groups(states)
    epochs = dict(zip(by_group, cycle(EPOCHS), strict=False))
    recipe, target = folder / "recipe.json", folder / "stitched.pt"
    files.write_json(recipe, stitch_recipe.make_recipe(epochs, by_group, hashes))
    command = [sys.executable, "-c", STITCH, str(recipe), str(target), *map(str, paths)]
    rows = []
    for _ in range(REPEATS):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append([float(number) for number in done.stdout.split()])
        target.unlink()
    seconds, read, peak = (median(column) for column in zip(*rows, strict=True))
    whole = sum(path.stat().st_size for path in paths)
    print(
        f"\nstitch {len(by_group)} groups from {len(paths)} files of {whole / 1e9:.1f} GB together"
    )
    print(f"  {seconds:.2f} s, checks included; {read / 1e9:.2f} GB read, each byte twice:")
    print("  to check its module's hash, and to write it")
    print(f"  peak memory above that of the process before: {peak / 1e6:.0f} MB (bar: 400)")


def show_archives(path: Path, folder: Path) -> None:
    """Print size and time of several ways to pack a checkpoint, measured on a part of it."""
    import zstandard

    with open(path, "rb") as stream:
        stream.seek(path.stat().st_size // 2)
        part = stream.read(PART_BYTES)
    scale = path.stat().st_size / len(part)
    compressor = zstandard.ZstdCompressor(level=1)
    methods: dict[str, Callable[[], bytes]] = {
        "gzip, level 9": lambda: gzip.compress(part, 9),
        "gzip, level 6": lambda: gzip.compress(part, 6),
        "zstd, level 1": lambda: compressor.compress(part),
        "zstd, level 1, bytes split": lambda: compressor.compress(archive.split(part, 2)),
    }
    print(f"\npack one file, from {PART_BYTES / 1e6:.0f} MB of it scaled to the whole")
    for name, method in methods.items():
        started = time.perf_counter()
        share = len(method()) / len(part)
        print(f"  {name:<30}{(time.perf_counter() - started) * scale:7.1f} s {share:7.1%}")
    run = folder / "run"
    run.mkdir()
    os.link(path, run / "epoch.pt")
    started = time.perf_counter()
    before, after = archive.archive_run(run, folder / "archive")
    packed = time.perf_counter()
    archive.restore_run(folder / "archive", folder / "restored")
    print("the whole file, measured")
    print(f"  {'redheart archive, with hash':<30}{packed - started:7.1f} s {after / before:7.1%}")
    print(f"  {'redheart restore, verified':<30}{time.perf_counter() - packed:7.1f} s")


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where to write; default: the system's temporary folder")
    given = parser.parse_args()
    torch.set_num_threads(1)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {load}")
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        states = make_weights(seed=0)
        show_saving(states, folder)
        paths = [folder / f"epoch_{epoch:03d}.pt" for epoch in EPOCHS]
        save_tensors(paths[0], {"weights": states})
        for path in paths[1:]:
            os.link(paths[0], path)
        show_loading(paths)
        show_stitching(states, paths, folder)
        show_archives(paths[0], folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
