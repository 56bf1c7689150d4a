"""Hashes that are remembered: a file is read again if and only if something happened to it."""

from __future__ import annotations

import os
import shutil

import pytest

from redheart.storage import files, hashes
from redheart.storage.hashes import Hashes


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "source.csv"
    path.write_text("first")
    return path


@pytest.fixture
def cache(file, tmp_path):
    """A saved cache that knows the file."""
    remembered = Hashes(tmp_path / "store" / "hashes.json")
    remembered.of(file)
    remembered.save()
    return Hashes(remembered.path)


@pytest.fixture
def read(monkeypatch):
    """The files that are read, in order."""
    paths = []

    def sha256_file(path):
        paths.append(path)
        return original(path)

    original = files.sha256_file
    monkeypatch.setattr(hashes.files, "sha256_file", sha256_file)
    return paths


def test_what_is_as_it_was_is_not_read_again(file, cache, read):
    assert cache.of(file) == files.sha256_text("first")
    assert cache.of(str(file)) == files.sha256_text("first")
    assert read == []


def keep_time(file):
    status = os.stat(file)
    file.write_text("other")  # of the same size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_older(file):
    other = file.with_name("other")
    other.write_text("other")
    os.utime(other, (0, 0))
    other.replace(file)


def write_later(file):
    file.write_text("other")
    os.utime(file, (2e9, 2e9))


@pytest.mark.parametrize("edit", [keep_time, replace_by_older, write_later])
def test_an_edit_is_seen_whatever_the_time_stamp_says(file, cache, edit):
    edit(file)
    assert cache.of(file) == files.sha256_text("other")


def test_a_copy_in_its_place_is_read_and_has_the_same_hash(file, cache, read):
    shutil.copy2(file, file.with_name("copy"))
    file.with_name("copy").replace(file)
    assert cache.of(file) == files.sha256_text("first")
    assert read == [file]


def test_a_time_belongs_to_a_content(file, cache):
    mtime_ns = file.stat().st_mtime_ns
    keep_time(file)
    assert cache.time_of(file, files.sha256_text("first")) == mtime_ns
    cache.of(file)
    assert cache.time_of(file, files.sha256_text("first")) is None
    assert cache.time_of(file.with_name("unknown"), files.sha256_text("first")) is None


def test_a_time_that_is_set_is_remembered(file, cache, read):
    cache.set_time(file, 10**9)
    cache.save()
    assert file.stat().st_mtime_ns == 10**9
    assert Hashes(cache.path).of(file) == files.sha256_text("first")
    assert read == []


def test_two_processes_keep_what_both_have_found(file, cache, read):
    first, second = file.with_name("1"), file.with_name("2")
    for path, one in ((first, Hashes(cache.path)), (second, Hashes(cache.path))):
        path.write_text(path.name)
        one.of(path)
        one.save()
    read.clear()
    both = Hashes(cache.path)
    assert [both.of(path) for path in (file, first, second)] and read == []
    first.unlink()
    second.write_text("more")
    both.of(second)
    both.save()
    assert str(first) not in cache.path.read_text()


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"a": 1}', '{"a": []}', '{"a": ["h", "x", 1, 2, 3]}']
)
def test_a_damaged_cache_costs_only_time(file, cache, content):
    cache.path.write_text(content)
    again = Hashes(cache.path)
    assert again.of(file) == files.sha256_text("first")
    again.save()
    assert Hashes(cache.path).time_of(file, files.sha256_text("first"))


def test_without_a_path_nothing_is_remembered(file, read):
    for _ in range(2):
        nothing = Hashes()
        nothing.of(file)
        nothing.save()
    assert len(read) == 2
