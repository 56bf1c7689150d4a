"""The ledger: what became of a target and why, in lines that a crash may cut short."""

from __future__ import annotations

from dataclasses import replace

import pytest

from redheart.selection import results
from redheart.storage.ledger import Ledger, differences
from redheart.storage.store import Action, Store

ACTION = Action(
    "train_leg", {"train": {"rate": 0.1}, "seed": 0}, "c0de", {"data": "ab", "parent": None}
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "results" / "ledger.jsonl")


def build(store, ledger, tmp_path, action=ACTION, target="ckpt/epoch_002.pt", **facts):
    outcome = store.run(
        action,
        {"weights": tmp_path / target},
        lambda folder: (folder / "weights").write_bytes(b"result") and None,
    )
    ledger.add(outcome, target, store, **facts)
    return ledger.lines()[-1]


def test_a_line_tells_what_became_of_a_target(store, ledger, tmp_path):
    line = build(store, ledger, tmp_path, peak_memory_bytes=7)
    assert line.pop("seconds") >= 0
    assert line == {
        "step": "train_leg",
        "target": "ckpt/epoch_002.pt",
        "outcome": "computed",
        "why": "first time in this run",
        "key": ACTION.key,
        "peak_memory_bytes": 7,
    }


def test_the_ledger_says_why(store, ledger, tmp_path):
    assert build(store, ledger, tmp_path)["why"] == "first time in this run"
    assert build(store, ledger, tmp_path)["why"] == "nothing changed"
    assert build(store, ledger, tmp_path, target="b")["why"] == "first time in this run"
    changed = replace(ACTION, params={"train": {"rate": 0.2}, "seed": 0}, code="f00d")
    line = build(store, ledger, tmp_path, changed)
    assert (line["outcome"], line["why"]) == ("computed", "changed: code, params.train.rate")
    line = build(store, ledger, tmp_path)
    assert (line["outcome"], line["why"]) == ("restored", "changed: code, params.train.rate")
    (store.folder(ACTION.key) / "weights").unlink()
    line = build(store, ledger, tmp_path)
    assert (line["outcome"], line["why"]) == ("computed", "its result had left the store")


def test_a_change_from_an_entry_that_is_gone_is_called_unknown(store, ledger, tmp_path):
    build(store, ledger, tmp_path)
    (store.folder(ACTION.key) / "entry.json").unlink()
    assert build(store, ledger, tmp_path, replace(ACTION, code="f00d"))["why"] == "changed: unknown"


def test_a_line_that_a_crash_cut_short_is_passed_over(store, ledger, tmp_path):
    build(store, ledger, tmp_path)
    with open(ledger.path, "a") as stream:
        stream.write('{"step": "train_l\n')
    assert build(store, ledger, tmp_path)["why"] == "nothing changed"
    assert len(ledger.lines()) == 2


DAMAGED = [
    b"rubbish",
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    b"3",
    b"{}",
    b'{"step": "train_leg"}',
    b"[" * 10_000,
    b'{"step": "a", "target": "b", "outcome": "computed", "why": "c", "seconds": "long"}',
    b'{"step": "a", "target": "b", "outcome": "computed", "why": "c", "seconds": 1, "epochs": [2]}',
]


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: repr(damage)[:20])
def test_a_damaged_line_is_named_and_kept_and_blocks_nothing(
    store, ledger, tmp_path, capsys, damage
):
    build(store, ledger, tmp_path)
    with open(ledger.path, "ab") as stream:
        stream.write(damage)  # without an end of the line, as a crash leaves it
    assert build(store, ledger, tmp_path)["why"] == "nothing changed"
    assert len(ledger.lines()) == 2
    assert damage in ledger.path.read_bytes().split(b"\n")
    assert results.cost(ledger.lines(), tmp_path, {"train": ["train_leg"]})["seconds"]["train"] >= 0
    told = set(capsys.readouterr().err.splitlines())
    assert told == {
        f"warning: {ledger.path}: damaged at line 2; what stands there is passed over and kept; "
        "mend it, or take it out to be told no more"
    }


def test_a_diary_that_is_no_file_blocks_nothing_either(store, ledger, tmp_path, capsys):
    ledger.path.mkdir(parents=True)
    outcome = store.run(ACTION, {"a": tmp_path / "a"}, lambda f: (f / "a").touch())
    ledger.add(outcome, "a", store)
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"warning: {ledger.path}: is a directory; name a file; it counts as empty"
    assert second.endswith("; the build goes on without a line there")


def test_a_line_may_hold_any_character(store, ledger, tmp_path):
    line = build(store, ledger, tmp_path, remark="one\u2028two\nthree\x85")
    assert line["remark"] == "one\u2028two\nthree\x85"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c"]),
        ({"a": {"b": 1}}, {"a": {}}, ["a.b"]),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {}}, ["a.b"]),
        ({"b": 1}, {"a": 1}, ["a", "b"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a"]),
        ({"a": None}, {"a": {"b": 1}}, ["a"]),
        ({}, {"a": None}, ["a"]),
    ],
)
def test_differences_are_named_by_their_paths(before, after, expected):
    assert differences(before, after) == expected
    assert differences(after, before) == expected
