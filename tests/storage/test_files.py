"""Files: complete or absent, and the same bytes for the same content."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import resource
import subprocess
from contextlib import contextmanager

import pytest

from redheart.errors import UserError
from redheart.storage import diary, files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.atomic(path) as stream:
        stream.write(b"half of the ne")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_does_not_show_before_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    with files.atomic(path) as stream:
        stream.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read_a_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_a_device_is_no_file_to_write(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe: is no regular file, such as a device; name a file"):
        files.write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


def test_a_read_only_target_is_replaced(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o444)
    files.write_text(path, "new")
    assert path.read_text() == "new"


@contextmanager
def small_files():
    """Limit files to 4 KB: a write beyond the limit fails as on a full disk.

    This is no fixture, since pytest writes its own log, which may be a file, before fixtures end.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_half_way_is_told_and_leaves_nothing(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with small_files(), pytest.raises(UserError) as error, files.atomic(path) as stream:
        for _ in range(1000):
            stream.write(b"x" * 100)
    assert str(error.value) == (
        f"{path}: cannot be written (File too large); make room and run it again"
    )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, code):
    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a: cannot be written \(.+\); make room and run it again"):
        files.write_text(tmp_path / "a", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r": is a directory; name a file$"):
        files.write_text(tmp_path, "a")
    (tmp_path / "a").write_text("no folder")
    with pytest.raises(UserError, match=r"a/b: cannot be written \(.+\); choose another folder"):
        files.write_text(tmp_path / "a" / "b", "a")


def test_what_cannot_be_opened_is_told_with_a_remedy(tmp_path, monkeypatch):
    def refuse(error):
        def raising(*given):
            raise error

        return raising

    for error, said in [
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to read; allow it"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read (Input/output error); copy it"),
    ]:
        monkeypatch.setattr("builtins.open", refuse(error))
        with pytest.raises(UserError) as caught, files.opened(tmp_path / "a"):
            pytest.fail("it was opened")
        monkeypatch.undo()
        assert said in str(caught.value)


def test_json_comes_back_as_it_was(tmp_path):
    value = {
        "": [None, True, 0.1, -1e-300, 10**20],
        "글 😀": "a\u2028b\n\t\0",
        "z": {"y": [], "x": {}},
    }
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value


def test_json_is_readable_by_people(tmp_path):
    files.write_json(tmp_path / "a.json", {"글": [1]})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n "글": [\n  1\n ]\n}\n'


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_json_holds_no_number_that_other_readers_refuse(tmp_path, value):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: the file is missing"):
        files.read_json(tmp_path / "absent.json")


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe", b""])
def test_a_damaged_file_says_what_to_do(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: no valid JSON .*delete it to rebuild it"):
        files.read_json(path)


def test_canonical_text_depends_on_the_content_alone():
    value = {"b": {"d": 1, "c": 2.5}, "a": [1, "é"]}
    reordered = {"a": [1, "é"], "b": {"c": 2.5, "d": 1}}
    expected = '{"a":[1,"é"],"b":{"c":2.5,"d":1}}'
    assert files.canonical(value) == files.canonical(reordered) == expected


def test_canonical_text_tells_values_apart():
    assert files.canonical(1) != files.canonical("1")
    assert files.canonical([1, 2]) != files.canonical([2, 1])


def test_hashes_are_those_of_the_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes("글".encode())
    expected = hashlib.sha256("글".encode()).hexdigest()
    assert files.sha256_file(path) == files.sha256_text("글") == expected


def test_values_are_written_a_line_each(tmp_path):
    path = tmp_path / "steps.jsonl"
    files.write_lines(path, [{"a": 1}, {"b": "é\u2028"}])
    assert path.read_text("utf-8") == '{"a": 1}\n{"b": "é\u2028"}\n'
    assert diary.read_lines(path) == [{"a": 1}, {"b": "é\u2028"}]
    with pytest.raises(ValueError, match="JSON"):
        files.write_lines(path, [{"a": math.inf}])
    assert diary.read_lines(path)[0] == {"a": 1}


def test_an_archive_that_torch_cannot_finish_is_told_as_a_full_disk(tmp_path):
    import torch

    from redheart.storage.tensors import save_tensors

    path = tmp_path / "a.pt"
    save_tensors(path, {"a": torch.zeros(3)})
    before = path.read_bytes()
    # Many small tensors, and a large one that is written at once, fail in different places.
    for value in ({str(i): torch.zeros(100) for i in range(500)}, {"a": torch.zeros(100_000)}):
        with small_files(), pytest.raises(UserError, match="make room and run it again"):
            save_tensors(path, value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_diary_that_takes_no_line_is_told(tmp_path):
    (tmp_path / "a").write_text("no folder")
    with pytest.raises(UserError, match=r"a/ledger\.jsonl: cannot be written \(.+\); make room"):
        diary.append_line(tmp_path / "a" / "ledger.jsonl", {})


# --- the hash of a file ---------------------------------------------------------------------


@pytest.fixture
def hashed(tmp_path):
    path = tmp_path / "epoch 1.pt"
    path.write_bytes(b"weights")
    files.write_hash(path, files.sha256_file(path))
    return path


def test_a_file_with_its_hash_passes_here_and_with_the_systems_own_tool(hashed):
    files.check_hash(hashed)
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "epoch 1.pt.sha256"], cwd=hashed.parent, check=True
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"weightS"), "damaged, or another file: epoch 1.pt.sha256 "),
        (lambda path: path.write_bytes(b"weigh"), "damaged, or another file"),
        (lambda path: files.hash_file(path).write_text("not a hash"), "damaged, or another file"),
        (lambda path: files.hash_file(path).write_text(""), "damaged, or another file"),
        (lambda path: files.hash_file(path).unlink(), "not made by a run"),
    ],
)
def test_any_other_file_is_refused_with_the_command_that_rebuilds_it(hashed, damage, message):
    damage(hashed)
    with pytest.raises(UserError) as error:
        files.check_hash(hashed)
    assert str(error.value).startswith(f"{hashed}: {message}")
    assert str(error.value).endswith(
        f"to rebuild it, `rm '{hashed}'` and run the same command again"
    )
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"a\.pt: the file is missing$"):
        files.check_hash(tmp_path / "a.pt")


def test_a_pipe_is_no_file_to_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", "/dev/null"):
        with pytest.raises(UserError, match="is a pipe or a device"), files.opened(path):
            pass
