"""How fast `redheart predict` is: the first answer, and texts a second, on this machine.

    python bench/predict.py results/demo

The first figure is that of a new process, with the import of torch; the seconds of its processors
beside it tell how long it takes where nothing else runs. The texts are those of the run's records.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redheart
from redheart.data.records import read_jsonl
from redheart.serving.shipped_model import ShippedModel


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--texts", type=int, default=10_000, help="texts to predict")
    arguments = parser.parse_args()
    records = read_jsonl(arguments.run / "data" / "records.jsonl")
    texts = [r["text"] for r in itertools.islice(itertools.cycle(records), arguments.texts)]
    first, last, processors, peak = command(arguments.run, texts)
    print(f"characters a text: {sum(map(len, texts)) / len(texts):.0f}")
    print(f"command: first answer after {first:.2f} s, {len(texts):,} after {last:.2f} s,")
    print(f"  {processors:.2f} s of processors, {peak / 1e6:.0f} MB at most")
    model = redheart.load(arguments.run)
    model.predict(texts[:32])
    begin, used = time.perf_counter(), time.process_time()
    model.predict(texts)
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    print(f"load(): {len(texts) / seconds:,.0f} texts a second,", end=" ")
    print(f"{len(texts) / used:,.0f} a second of one processor")
    print(f"load average: {os.getloadavg()[0]:.1f}")
    print(f"beside other texts: answers differ by {largest_difference(model, texts):.1e} at most")


def command(run: Path, texts: list[str]) -> tuple[float, float, float, float]:
    """Return the seconds to the first and the last answer, those of processors, and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "texts.jsonl")
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        line = [sys.executable, "-m", "redheart.cli.main", "predict", str(run), str(path)]
        begin = time.perf_counter()
        with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            first = time.perf_counter() - begin
            for _ in process.stdout:
                pass
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = used.ru_utime + used.ru_stime
        return first, time.perf_counter() - begin, seconds, used.ru_maxrss * 1024


def largest_difference(model: ShippedModel, texts: list[str]) -> float:
    """Return how much a probability differs between a text alone and among others."""
    among = model.predict_probabilities(texts[:200])
    alone = [model.predict_probabilities([text]) for text in texts[:200]]
    return max(
        float(abs(among[task.name][i] - by_task[task.name][0]).max())
        for task in model.tasks
        if task.kind != "regression"
        for i, by_task in enumerate(alone)
    )


if __name__ == "__main__":
    main()
