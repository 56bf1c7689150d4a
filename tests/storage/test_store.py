"""The store computes once, restores for ever and trusts no damaged byte; the ledger says why."""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from redheart.errors import UserError
from redheart.storage import files
from redheart.storage.store import Action, Store

ACTION = Action(
    "train_leg", {"train": {"rate": 0.1}, "seed": 0}, "c0de", {"data": "ab", "parent": None}
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", link_from_bytes=100)


class Writer:
    """Computes one file and counts how often."""

    def __init__(self, content: bytes = b"result"):
        self.content, self.calls = content, 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "weights").write_bytes(self.content)


def entries(store):
    """All files below the store, except locks and bookkeeping."""
    return sorted(p for p in store.root.rglob("*") if p.is_file() and "locks" not in p.parts)


# --- compute once ---------------------------------------------------------------------------


def test_the_second_time_it_is_restored(store, tmp_path):
    compute, target = Writer(), tmp_path / "results" / "epoch_002.pt"
    assert store.run(ACTION, {"weights": target}, compute).outcome == "computed"
    assert target.read_bytes() == b"result"
    target.unlink()
    assert store.run(ACTION, {"weights": target}, compute).outcome == "restored"
    assert target.read_bytes() == b"result"
    assert compute.calls == 1


def test_what_is_asked_for_anew_is_computed_and_replaces_what_was_stored(store, tmp_path):
    target = tmp_path / "a"
    store.run(ACTION, {"weights": target}, Writer(b"wrong"))
    assert store.run(ACTION, {"weights": target}, Writer(b"right"), anew=True).outcome == "computed"
    assert store.run(ACTION, {"weights": target}, Writer()).outcome == "restored"
    assert target.read_bytes() == b"right"


def test_a_changed_result_file_is_put_right(store, tmp_path):
    target = tmp_path / "a"
    store.run(ACTION, {"weights": target}, Writer())
    target.write_bytes(b"edited by hand")
    assert store.run(ACTION, {"weights": target}, Writer()).outcome == "restored"
    assert target.read_bytes() == b"result"


def test_runs_with_other_places_share_a_result(store, tmp_path):
    compute = Writer()
    for name in ("one", "other"):
        Store(store.root).run(ACTION, {"weights": tmp_path / name / "a"}, compute)
    assert compute.calls == 1
    assert (tmp_path / "other" / "a").read_bytes() == b"result"


def test_a_failed_computation_leaves_nothing(store, tmp_path):
    def fail(folder):
        (folder / "weights").write_bytes(b"half")
        raise ZeroDivisionError

    target = tmp_path / "a"
    with pytest.raises(ZeroDivisionError):
        store.run(ACTION, {"weights": target}, fail)
    assert not target.exists()
    assert entries(store) == []
    assert store.run(ACTION, {"weights": target}, Writer()).outcome == "computed"


def test_a_computation_that_forgets_an_output_leaves_nothing(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest"):
        store.run(ACTION, {"weights": tmp_path / "a", "manifest": tmp_path / "b"}, Writer())
    assert entries(store) == []
    assert not (tmp_path / "a").exists()


def test_what_a_killed_process_left_behind_is_swept_away(store, tmp_path):
    left = store.root / "work" / ACTION.key
    left.mkdir(parents=True)
    (left / "weights").write_bytes(b"half")
    store.run(ACTION, {"weights": tmp_path / "a"}, Writer())
    assert (tmp_path / "a").read_bytes() == b"result"
    assert not left.exists()


@pytest.mark.parametrize("call", ["fsync", "replace", "rename", "chmod"])
def test_a_death_at_any_call_leaves_nothing_once_it_is_run_again(store, tmp_path, call):
    """The process dies at its first such call, then at its second, and so on, until it ends well."""
    for number in itertools.count(1):
        action = replace(ACTION, params={"number": number})
        outputs = {"weights": tmp_path / "results" / f"{number}.pt"}
        survived = survives(number, call, lambda a=action, o=outputs: store.run(a, o, Writer()))
        store.run(action, outputs, Writer())
        left = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
        assert not left
        assert not list((store.root / "work").iterdir())
        assert store.latest_code(action.step) == action.code
        if survived:
            assert number > 1, f"os.{call} is never called"
            return


def survives(number, call, work):
    """Run `work` in a process that dies at a call of a function of `os`; tell if it did not die."""
    process = os.fork()
    if process:
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, 9), "it failed by itself"
        return code == 0
    calls, real = itertools.count(1), getattr(os, call)

    def deadly(*given, **named):
        return os._exit(9) if next(calls) == number else real(*given, **named)

    setattr(os, call, deadly)
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def flip_a_byte(file):
    file.chmod(0o644)
    file.write_bytes(b"resulT")


@pytest.mark.parametrize("file", ["weights", "entry.json"])
@pytest.mark.parametrize("harm", [flip_a_byte, os.unlink])
def test_a_damaged_entry_is_computed_again(store, tmp_path, harm, file):
    compute, target = Writer(), tmp_path / "a"
    store.run(ACTION, {"weights": target}, compute)
    harm(store.folder(ACTION.key) / file)
    assert store.run(ACTION, {"weights": target}, compute).outcome == "computed"
    assert target.read_bytes() == b"result"
    assert store.run(ACTION, {"weights": target}, compute).outcome == "restored"
    assert compute.calls == 2


@pytest.mark.parametrize(
    "content",
    ["", "[]", "[1]", "3", "null", "{}", '{"outputs": {}}', "[" * 10_000, "\udcff", "folder"]
    + [json.dumps({"ingredients": {}, "outputs": o}) for o in ({}, [], None, {"weights": 3})],
)
def test_an_entry_with_a_rubbish_description_is_made_again(store, tmp_path, content, capsys):
    compute = Writer()
    store.run(ACTION, {"weights": tmp_path / "a"}, compute)
    described = store.folder(ACTION.key) / "entry.json"
    described.unlink()
    if content == "folder":
        described.mkdir()
    else:
        described.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert store.ingredients(ACTION.key) in (None, {})
    for outcome in ("computed", "restored"):
        assert store.run(ACTION, {"weights": tmp_path / "a"}, compute).outcome == outcome
    assert store.ingredients(ACTION.key) == ACTION.ingredients
    assert "damaged" in capsys.readouterr().err or '"ingredients"' in content


@pytest.mark.parametrize("damage", [b"rubbish", b"[]", b'{"step": "a"}', b"\xff", b"[" * 10_000])
def test_a_damaged_line_about_accepted_code_is_named_and_the_others_count(
    store, tmp_path, capsys, damage
):
    store.accept("a", "new", "old", "")
    path = store.root / "accepted.jsonl"
    path.write_bytes(damage + b"\n" + path.read_bytes() + damage)
    store.accept("b", "new", "old", "")
    assert store.accepted() == {("a", "new"): "old", ("b", "new"): "old"}
    told = f"warning: {path}: damaged at lines 1, 3; what stands there is passed over and kept;"
    assert capsys.readouterr().err.startswith(told)


def test_an_entry_that_lacks_a_new_output_is_computed_again(store, tmp_path):
    store.run(ACTION, {"weights": tmp_path / "a"}, Writer())

    def both(folder):
        Writer()(folder)
        (folder / "manifest").write_text("{}")

    outputs = {"weights": tmp_path / "a", "manifest": tmp_path / "b"}
    assert store.run(ACTION, outputs, both).outcome == "computed"
    assert (tmp_path / "b").read_text() == "{}"


# --- links and copies -----------------------------------------------------------------------


def test_large_results_are_hard_links_and_small_ones_copies(store, tmp_path):
    for size, is_linked in ((99, False), (100, True)):
        action, target = replace(ACTION, params={"size": size}), tmp_path / f"{size}"
        store.run(action, {"weights": target}, Writer(b"x" * size))
        kept = (store.folder(action.key) / "weights").stat()
        assert (target.stat().st_ino == kept.st_ino) == is_linked
        assert kept.st_nlink == 1 + is_linked
        assert kept.st_mode & 0o222 == 0


def test_editing_a_copy_leaves_the_store_alone(store, tmp_path):
    target = tmp_path / "a"
    store.run(ACTION, {"weights": target}, Writer())
    target.write_bytes(b"edited")
    assert (store.folder(ACTION.key) / "weights").read_bytes() == b"result"


def test_restoring_over_a_link_leaves_one_file(store, tmp_path):
    folder, compute = tmp_path / "results", Writer(b"x" * 200)
    for _ in range(2):
        store.run(ACTION, {"weights": folder / "a"}, compute)
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_where_links_are_impossible_it_copies(store, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    store.run(ACTION, {"weights": tmp_path / "a"}, Writer(b"x" * 200))
    assert (tmp_path / "a").read_bytes() == b"x" * 200


# --- keys -----------------------------------------------------------------------------------


def test_every_ingredient_changes_the_key():
    others = [
        replace(ACTION, step="evaluate_checkpoint"),
        replace(ACTION, params={"train": {"rate": 0.2}, "seed": 0}),
        replace(ACTION, params={"train": {"rate": 0.1}, "seed": 1}),
        replace(ACTION, params={"train": {"rate": 0.1}}),
        replace(ACTION, code="c0df"),
        replace(ACTION, uses={"data": "ac", "parent": None}),
        replace(ACTION, uses={"data": "ab", "parent": "ab"}),
    ]
    keys = {ACTION.key, *(action.key for action in others)}
    assert len(keys) == 1 + len(others)


def test_the_order_of_settings_does_not_change_the_key():
    reordered = replace(
        ACTION,
        params=dict(reversed(ACTION.params.items())),
        uses=dict(reversed(ACTION.uses.items())),
    )
    assert reordered.key == ACTION.key


def test_a_key_is_the_same_in_every_process():
    program = "from test_store import ACTION; print(ACTION.key)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ACTION.key


# --- two processes --------------------------------------------------------------------------

SECOND_PROCESS = """
import json
import sys
from pathlib import Path

from redheart.errors import UserError
from redheart.storage import files
from redheart.storage.store import Action, Store

folder = Path(sys.argv[1])

def refuse(folder):
    raise SystemExit("it was computed twice")

action = Action(**json.loads(sys.argv[2]))
print(Store(folder / "store").run(action, {"weights": folder / "b"}, refuse).outcome)
"""


def test_a_second_process_waits_for_the_first_and_takes_its_result(store, tmp_path):
    others = []

    def compute_while_another_waits(folder):
        other = subprocess.Popen(
            [sys.executable, "-c", SECOND_PROCESS, str(tmp_path), json.dumps(ACTION.ingredients)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        others.append(other)
        assert f"waiting for process {os.getpid()} on " in other.stderr.readline()
        Writer()(folder)

    store.run(ACTION, {"weights": tmp_path / "a"}, compute_while_another_waits)
    output, errors = others[0].communicate(timeout=300)
    assert (output.strip(), errors) == ("restored", "")
    assert (tmp_path / "b").read_bytes() == b"result"


# --- no room, no permission, no memory ------------------------------------------------------


def test_a_leg_that_finds_no_room_leaves_what_was_there_before(store, tmp_path):
    import torch

    from redheart.storage.tensors import save_tensors

    def save(size):
        def compute(folder):
            save_tensors(store.state_path(key), {"moments": torch.zeros(10)})
            save_tensors(folder / "weights", {"weights": torch.zeros(size)})

        return compute

    first, key = tmp_path / "epoch_002.pt", ACTION.key
    store.run(ACTION, {"weights": first}, save(10))
    before = {path: path.read_bytes() for path in entries(store)}
    second = replace(ACTION, uses={"data": "ab", "parent": key})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limit[1]))
    try:
        with pytest.raises(UserError, match="make room and run it again"):
            store.run(second, {"weights": tmp_path / "epoch_004.pt"}, save(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {path: path.read_bytes() for path in entries(store)} == before
    assert not (tmp_path / "epoch_004.pt").exists()
    assert not any((store.root / "work").iterdir())
    # Once there is room, the same action works.
    store.run(second, {"weights": tmp_path / "epoch_004.pt"}, save(100_000))


def test_a_store_that_takes_nothing_is_named(tmp_path):
    (tmp_path / "store").write_text("no folder")
    with pytest.raises(UserError, match=r"/store: cannot be written \(.+\); make room, allow it"):
        Store(tmp_path / "store").run(ACTION, {"weights": tmp_path / "a"}, Writer())
    assert not (tmp_path / "a").exists()


def test_a_computation_without_memory_is_told_and_keeps_nothing(store, tmp_path):
    def compute(folder):
        (folder / "weights").write_bytes(b"half")
        raise MemoryError

    with pytest.raises(UserError, match=r"out of memory \(MemoryError\); lower train\.batch_size"):
        store.run(ACTION, {"weights": tmp_path / "a"}, compute)
    assert entries(store) == []


def test_weights_get_their_hash_beside_them_and_nothing_else_does(store, tmp_path):
    weights, table = tmp_path / "a.pt", tmp_path / "a.json"
    store.run(ACTION, {"weights": weights}, Writer(b"x" * 200))
    store.run(replace(ACTION, code="2"), {"weights": table}, Writer())
    files.check_hash(weights)
    assert {path.name for path in tmp_path.iterdir()} == {"a.pt", "a.pt.sha256", "a.json", "store"}
    weights.unlink()
    files.hash_file(weights).unlink()
    store.run(ACTION, {"weights": weights}, Writer())
    files.check_hash(weights)


def test_a_hash_that_was_taken_while_writing_is_not_taken_again(store, tmp_path, monkeypatch):
    """The hash is in the entry and beside the output; only files without a hash are read."""
    read = []
    take = files.sha256_file

    def counted(path):
        read.append(Path(path).name)
        return take(path)

    def compute(folder):
        files.write_text(folder / "plain", "plain")
        files.write_text(folder / "weights", "weights")
        return {"weights": files.sha256_text("weights")}

    monkeypatch.setattr(files, "sha256_file", counted)
    outputs = {"plain": tmp_path / "plain", "weights": tmp_path / "a.pt"}
    store.run(Action("step", {}, "code", {}), outputs, compute)
    assert read == ["plain"]
    files.check_hash(tmp_path / "a.pt")
    assert store.is_intact(Action("step", {}, "code", {}).key, outputs)
