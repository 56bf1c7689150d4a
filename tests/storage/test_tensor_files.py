"""Files of tensors: torch's own bytes, one tensor in memory at a time, hashed on the way."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from redheart.errors import UserError
from redheart.storage import files, tensor_files
from redheart.storage.tensor_files import Deferred
from redheart.storage.tensors import _interned, hash_modules, load_deferred, save_tensors

VALUES = {
    "modules": {
        "a": {"w": torch.randn(3, 4), "half": torch.ones(2, dtype=torch.bfloat16)},
        "b": {"scale": torch.tensor(0.5), "none": torch.empty(0), "count": torch.arange(3)},
    },
    "generators": {"cpu": torch.get_rng_state(), "flags": torch.tensor([True])},
    "plain": [1, 2.5, None, "cpu", "storage", "0", "0", (1, "글"), {}],
    "double": torch.randn(2, 1, 5, dtype=torch.float64),
    "list": [torch.zeros(3, dtype=torch.int16), torch.ones(2, 0)],
    "large": torch.randn(300_000),
}


@pytest.fixture
def without_crc():
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    yield
    torch.serialization.set_crc32_options(before)


def saved_by_torch(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize("flushed", [100, 10_000, tensor_files.FLUSHED_BYTES])
def test_the_bytes_are_those_of_torch_and_their_hash_is_told(
    tmp_path, without_crc, monkeypatch, flushed
):
    monkeypatch.setattr(tensor_files, "FLUSHED_BYTES", flushed)
    value = _interned(VALUES)
    sha256 = save_tensors(tmp_path / "a.pt", VALUES)
    content = (tmp_path / "a.pt").read_bytes()
    assert content == saved_by_torch(value)
    assert sha256 == hashlib.sha256(content).hexdigest()


def test_of_a_view_only_what_it_shows_is_written(tmp_path):
    whole = torch.arange(1000.0).reshape(10, 100)
    save_tensors(tmp_path / "a.pt", [whole[3], whole.T[:2]])
    own = save_tensors(tmp_path / "b.pt", [whole[3].clone(), whole.T[:2].contiguous()])
    assert files.sha256_file(tmp_path / "a.pt") == own


def test_deferred_tensors_are_made_one_by_one_and_give_the_same_bytes(tmp_path):
    made = []

    def maker(number):
        def make():
            made.append(number)
            return torch.full((4,), float(number))

        return Deferred((4,), torch.float32, make)

    sha256 = save_tensors(tmp_path / "a.pt", [maker(n) for n in range(3)])
    assert made == [0, 1, 2]
    plain = [torch.full((4,), float(n)) for n in range(3)]
    assert sha256 == save_tensors(tmp_path / "b.pt", plain)


def test_what_is_read_deferred_is_what_was_written(tmp_path):
    save_tensors(tmp_path / "a.pt", VALUES)
    loaded = load_deferred(tmp_path / "a.pt")
    assert loaded["plain"] == VALUES["plain"]
    assert isinstance(loaded["large"], Deferred)
    assert hash_modules(loaded["modules"]) == hash_modules(VALUES["modules"])
    for name in ("double", "large"):
        assert torch.equal(tensor_files.made(loaded[name]), VALUES[name])
    again = save_tensors(tmp_path / "b.pt", loaded)
    assert again == files.sha256_file(tmp_path / "a.pt")


def test_a_value_without_tensors_is_read_as_it_is(tmp_path):
    save_tensors(tmp_path / "a.pt", {"a": [1, "b"]})
    assert load_deferred(tmp_path / "a.pt") == {"a": [1, "b"]}


def test_a_file_that_is_cut_off_while_it_is_read_is_told(tmp_path):
    path = tmp_path / "a.pt"
    save_tensors(path, VALUES)
    loaded = load_deferred(path)
    os.truncate(path, 2000)
    with pytest.raises(UserError, match=r"a\.pt: cut off while it was read; to rebuild it, `rm "):
        tensor_files.made(loaded["large"])


def test_a_disk_that_fails_while_bytes_are_flushed_beside_is_told(tmp_path, monkeypatch):
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:  # while another thread writes; the kernel reports such an error once
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_files, "FLUSHED_BYTES", 100_000)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_tensors(tmp_path / "a.pt", VALUES)
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import sys, torch
from pathlib import Path
from redheart.crossover import stitch_recipe, stitching
from redheart.storage.tensors import save_tensors
folder = sys.argv[1]
paths = [f"{folder}/epoch_{epoch:03d}.pt" for epoch in (2, 4)]
manifests = {}
if sys.argv[2] == "save":
    tensor = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    states = {f"m{m}": {f"w{i}": tensor for i in range(10)} for m in range(5)}
    for path in paths:
        save_tensors(path, {"weights": states, "ema": states})
    sys.exit()
hashes = {epoch: {"weights": {f"m{m}": sys.argv[3] for m in range(5)}} for epoch in (2, 4)}
recipe = stitch_recipe.make_recipe(
    {"A": 2, "B": 4}, {"A": ["m0", "m1"], "B": ["m2", "m3", "m4"]}, hashes
)
def kib(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])
before = kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
stitching.write_stitched(f"{folder}/out.pt", recipe, paths)
print(kib("VmHWM") - before)
"""


def test_torch_reads_it_mapped_or_not(tmp_path):
    save_tensors(tmp_path / "a.pt", VALUES)
    for mapped in (True, False):
        loaded = torch.load(tmp_path / "a.pt", weights_only=True, mmap=mapped)
        assert torch.equal(loaded["large"], VALUES["large"])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts memory so")
def test_stitching_holds_some_tensors_and_never_the_model(tmp_path):
    """200 MB of five modules from two files of 400 MB, in tensors of 4 MB."""

    def run(*arguments):
        command = [sys.executable, "-c", MEMORY, str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run("save")
    tensor = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    (sha256,) = hash_modules({"m": {f"w{i}": tensor for i in range(10)}}).values()
    grown_kib = int(run("stitch", sha256))
    assert (tmp_path / "out.pt").stat().st_size > 200_000_000
    assert grown_kib < 100_000
