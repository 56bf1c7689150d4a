"""A run in one file and back: every byte is restored, or one line says why nothing is."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redheart.cli.main import main
from redheart.errors import UserError
from redheart.storage import archive, files
from redheart.storage.tensors import save_tensors


@pytest.fixture
def zstandard():
    return pytest.importorskip("zstandard")


@pytest.fixture
def folder(tmp_path):
    """The files of a run: tensors of two and of four bytes a number, text, an empty file."""
    run, generator = tmp_path / "results" / "mine", torch.Generator().manual_seed(0)
    weights = 0.02 * torch.randn(400_000, generator=generator)
    for name, dtype in (("a", torch.bfloat16), ("b", torch.float32)):
        path = run / "ckpt" / f"{name}.pt"
        files.write_hash(path, save_tensors(path, {"w": weights.to(dtype)}))
    files.write_json(run / "config.json", {"글": [1, 2]})
    (run / "empty").touch()
    return run


def content(folder):
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_byte_and_time_stamp_comes_back(zstandard, folder, tmp_path):
    before, after = archive.archive_run(folder, tmp_path / "mine.archive")
    assert before == sum(len(each) for each, _ in content(folder).values())
    assert after == (tmp_path / "mine.archive").stat().st_size
    assert archive.restore_run(tmp_path / "mine.archive", tmp_path / "new" / "mine") == 6
    assert content(tmp_path / "new" / "mine") == content(folder)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]


def test_equal_folders_give_equal_archives(zstandard, folder, tmp_path):
    for name in ("a", "b"):
        archive.archive_run(folder, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_take_less_than_zstd_alone_would_leave(zstandard, folder, tmp_path):
    compressor = zstandard.ZstdCompressor(level=archive.LEVEL)
    archive.archive_run(folder, tmp_path / "mine.archive")
    with zipfile.ZipFile(tmp_path / "mine.archive") as packed:
        for name, share in (("a", 0.70), ("b", 0.87)):
            whole = (folder / "ckpt" / f"{name}.pt").read_bytes()
            size = packed.getinfo(f"ckpt/{name}.pt").file_size
            assert size < share * len(whole)
            assert size < 0.95 * len(compressor.compress(whole))


@given(st.binary(max_size=50), st.sampled_from(archive.WIDTHS))
def test_what_is_split_is_joined_again(block, width):
    assert archive.joined(archive.split(block, width), width) == block
    assert sorted(archive.split(block, width)) == sorted(block)


def test_split_puts_bytes_of_one_place_together():
    assert archive.split(b"aAbBcCx", 2) == b"abcABCx"


DAMAGES = {
    "truncated": lambda whole, _: whole[: len(whole) // 2],
    "empty": lambda whole, _: b"",
    "foreign": lambda whole, _: b"no archive at all",
    **{f"flipped {n}": lambda whole, generator: flipped(whole, generator) for n in range(25)},
}


def flipped(whole, generator):
    damaged = bytearray(whole)
    damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_told_in_one_line_and_leaves_nothing(
    zstandard, folder, tmp_path, damage
):
    path, new = tmp_path / "mine.archive", tmp_path / "new" / "mine"
    archive.archive_run(folder, path)
    path.write_bytes(DAMAGES[damage](path.read_bytes(), random.Random(damage)))
    try:
        archive.restore_run(path, new)
    except UserError as error:
        assert str(error).startswith(f"{path}: damaged, or no archive of a run (")
        assert str(error).endswith("; copy it again")
        assert "\n" not in str(error)
        assert list(new.parent.iterdir()) == []
    else:  # a bit without meaning, as in a time stamp of the zip container
        assert damage.startswith("flipped")
        assert {n: c for n, (c, _) in content(new).items()} == {
            n: c for n, (c, _) in content(folder).items()
        }


def listed(path, change):
    """Rewrite an archive with another list of its files."""
    with zipfile.ZipFile(path) as packed:
        content = {name: packed.read(name) for name in packed.namelist()}
    entries = json.loads(content[archive.MANIFEST])
    content[archive.MANIFEST] = json.dumps(change(entries)).encode()
    with zipfile.ZipFile(path, "w") as packed:
        for name, member in content.items():
            packed.writestr(name, member)


LISTS = {
    "absurd time": lambda entries: [{**entry, "mtime_ns": 10**40} for entry in entries],
    "negative time": lambda entries: [{**entry, "mtime_ns": -(10**40)} for entry in entries],
    "time of text": lambda entries: [{**entry, "mtime_ns": "now"} for entry in entries],
    "empty": lambda entries: [],
    "object": lambda entries: {},
    "nothing": lambda entries: None,
    "numbers": lambda entries: [1, 2],
    "no path": lambda entries: [{"bytes": 0}],
    "absent member": lambda entries: [{**entries[0], "path": "absent"}],
    "twice": lambda entries: [entries[0], entries[0]],
    "too few bytes": lambda entries: [{**entry, "bytes": 1} for entry in entries],
    "negative bytes": lambda entries: [{**entry, "bytes": -1} for entry in entries],
    "other hash": lambda entries: [{**entry, "sha256": "0" * 64} for entry in entries],
}


@pytest.mark.parametrize("change", LISTS)
def test_a_damaged_list_of_files_is_told_in_one_line_and_leaves_nothing(
    zstandard, folder, tmp_path, change
):
    path, new = tmp_path / "mine.archive", tmp_path / "new" / "mine"
    archive.archive_run(folder, path)
    listed(path, LISTS[change])
    with pytest.raises(UserError) as error:
        archive.restore_run(path, new)
    assert str(error.value).startswith(f"{path}: damaged, or no archive of a run (")
    assert "\n" not in str(error.value)
    assert list(new.parent.iterdir()) == []


PLACES = ["../evil", "/tmp/evil", "a/../../evil", "", ".", "./a", "a//b", "a/", "..", "a\0b"]


@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_would_lie_outside_is_refused(zstandard, tmp_path, place):
    path = tmp_path / "mine.archive"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(place or "empty", b"")
        entry = {"path": place, "sha256": files.sha256_text(""), "bytes": 0, "mtime_ns": 0}
        packed.writestr(archive.MANIFEST, json.dumps([entry]))
    with pytest.raises(UserError, match=r"damaged, or no archive of a run \("):
        archive.restore_run(path, tmp_path / "new" / "mine")
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_file_cannot_be_a_folder_of_another_one(zstandard, tmp_path):
    path = tmp_path / "mine.archive"
    entry = {"sha256": files.sha256_text(""), "bytes": 0, "mtime_ns": 0}
    with zipfile.ZipFile(path, "w") as packed:
        for place in ("a", "a/b"):
            packed.writestr(place, b"")
        entries = [{"path": place, **entry} for place in ("a", "a/b")]
        packed.writestr(archive.MANIFEST, json.dumps(entries))
    with pytest.raises(UserError, match="two files have the same place"):
        archive.restore_run(path, tmp_path / "new" / "mine")


def test_bombs_are_refused_before_they_unpack(zstandard, folder, tmp_path, monkeypatch):
    """A list that the zip format packs a thousandfold, and more bytes than the disk has free."""
    path, new = tmp_path / "mine.archive", tmp_path / "new" / "mine"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(archive.MANIFEST, b" " * 50_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="its members are compressed in another way"):
        archive.restore_run(path, new)
    archive.archive_run(folder, path)
    listed(path, lambda entries: [{**entries[0], "bytes": 10**18}, *entries[1:]])
    with pytest.raises(UserError, match=r"unpacks to 1,000,000,000.0 GB, and .+ GB are free; make"):
        archive.restore_run(path, new)
    assert list(new.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: (run / "x").symlink_to("/usr"), "x: is a link or a device, which an archive"),
        (lambda run: (run / "x").symlink_to("nowhere"), "x: is a link or a device"),
        (lambda run: os.mkfifo(run / "x"), "x: is a link or a device"),
        (lambda run: (run / "manifest.json").touch(), "cannot hold the name manifest.json; rename"),
        (lambda run: (run / "a\udcff").touch(), r"cannot hold the name a.udcff; rename it"),
    ],
)
def test_what_an_archive_would_lose_is_told_before(zstandard, folder, tmp_path, make, message):
    make(folder)
    with pytest.raises(UserError, match=message):
        archive.archive_run(folder, tmp_path / "mine.archive")
    assert not (tmp_path / "mine.archive").exists()


def test_an_older_archive_is_replaced_and_no_other_file(zstandard, folder, tmp_path):
    target = tmp_path / "mine.archive"
    for _ in range(2):
        archive.archive_run(folder, target)
    target.write_text("precious")
    with pytest.raises(UserError, match="is there already and is no archive; name another file"):
        archive.archive_run(folder, target)
    assert target.read_text() == "precious"


def test_a_link_to_a_file_is_archived_as_the_file(zstandard, folder, tmp_path):
    (folder / "link").symlink_to(folder / "config.json")
    archive.archive_run(folder, tmp_path / "mine.archive")
    archive.restore_run(tmp_path / "mine.archive", tmp_path / "new")
    assert not (tmp_path / "new" / "link").is_symlink()
    assert (tmp_path / "new" / "link").read_bytes() == (folder / "config.json").read_bytes()


def test_a_damaged_checkpoint_is_not_archived(zstandard, folder, tmp_path):
    path = folder / "ckpt" / "a.pt"
    path.write_bytes(flipped(path.read_bytes(), random.Random(0)))
    with pytest.raises(UserError, match=r"a\.pt: damaged, or another file: .* differs; to rebuild"):
        archive.archive_run(folder, tmp_path / "mine.archive")
    assert not (tmp_path / "mine.archive").exists()


def test_a_folder_that_is_there_is_left_alone(zstandard, folder, tmp_path):
    archive.archive_run(folder, tmp_path / "mine.archive")
    before = content(folder)
    with pytest.raises(UserError, match="is there already; name a new folder"):
        archive.restore_run(tmp_path / "mine.archive", folder)
    assert content(folder) == before


@pytest.mark.parametrize(
    ("run", "target", "message"),
    [
        ("nothing", "mine.archive", "no files there; name a run's folder"),
        ("results/mine", "results/mine/mine.archive", "lies in the folder to archive"),
    ],
)
def test_what_cannot_be_archived_is_told(zstandard, folder, tmp_path, run, target, message):
    with pytest.raises(UserError, match=message):
        archive.archive_run(tmp_path / run, tmp_path / target)


def test_the_command_line_packs_and_unpacks(zstandard, folder, tmp_path, capsys):
    packed, new = str(tmp_path / "mine.archive"), tmp_path / "again"
    assert main(["archive", str(folder), packed]) == 0
    assert main(["restore", packed, str(new)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{packed}: 2.4 MB in ")
    assert second == f"{new}: 6 files, each as its hash says"
    assert main(["restore", str(tmp_path / "absent"), str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/absent: the file is missing\n"


def test_without_zstandard_it_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for call in (archive.archive_run, lambda f, t: archive.restore_run(t, f)):
        with pytest.raises(UserError, match=r"install it .`pip install zstandard`"):
            call(folder, tmp_path / "mine.archive")


MEMORY = """
import resource, sys
from pathlib import Path
from redheart.storage import archive
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder, packed = Path(sys.argv[1]), sys.argv[2]
archive.archive_run(folder / "small", packed)
before = peak()
archive.archive_run(folder / "large", packed)
archive.restore_run(packed, folder / "back")
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_files(zstandard, tmp_path):
    values = np.random.default_rng(0).standard_normal(30_000_000).astype(np.float32)
    for name, count in (("small", 2_000_000), ("large", len(values))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(values[:count].tobytes())
    command = [sys.executable, "-c", MEMORY, str(tmp_path), str(tmp_path / "packed")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # KiB, of 120 MB
    assert (tmp_path / "back" / "a").stat().st_size == 120_000_000
