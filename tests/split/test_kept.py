"""Given parts: listed records stay, records linked to them follow, and a corpus can grow."""

from __future__ import annotations

import io
import json
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from project import Project
from split_corpus import RATING, TAGS, corpus

from redheart.cli.main import main
from redheart.errors import UserError
from redheart.split.dealing import split_records
from redheart.split.kept import kept_indices, read_kept, refuse_torn, write_parts
from redheart.split.parts import PARTS, SplitOptions
from redheart.split.report import split_report
from redheart.storage import files


def numbers_of(records, parts):
    part_of = np.empty(len(records), dtype=int)
    for number, part in enumerate(PARTS):
        part_of[parts[part]] = number
    return part_of


def split(records, listed_parts=None, links=(), tasks=(TAGS, RATING)):
    """Return the parts, as numbers, and their report."""
    strata = [record["label"] for record in records]
    options = SplitOptions()
    parts = split_records(records, links, strata, options, tasks, listed_parts)
    pairs = [(i, j, 0.9) for i, j in links]
    report = split_report(records, parts, strata, pairs, options, tasks, listed_parts)
    return numbers_of(records, parts), report


@pytest.mark.parametrize("added", [1, 60, 600])
def test_a_growing_corpus_moves_no_record_and_stays_certified(added) -> None:
    records = corpus(600, 1)
    before, _ = split(records)
    grown = corpus(added, 2, prefix="new") + records
    listed_parts = {added + i: int(part) for i, part in enumerate(before)}
    after, report = split(grown, listed_parts)
    assert (after[added:] == before).all()
    assert all(claim["holds"] for claim in report["certificate"])
    assert report["kept"] == 600
    sizes = np.bincount(after, minlength=4) / len(grown)
    assert sizes == pytest.approx(SplitOptions().fractions, abs=2 / len(grown))


def test_a_published_test_part_stays_and_the_others_make_up_for_it() -> None:
    records = corpus(600, 0)
    long = sorted(range(600), key=lambda i: -len(records[i]["text"]))[:90]
    part_of, report = split(records, dict.fromkeys(long, PARTS.index("test")))
    assert set(np.flatnonzero(part_of == 3)) == set(long)  # it is larger than its share of 60
    assert np.bincount(part_of)[1:3] == pytest.approx([60, 30], abs=3)
    unmet = [claim["part"] for claim in report["certificate"] if not claim["holds"]]
    assert "test" in unmet and None not in unmet


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(60, 200), st.integers(0, 99), st.data())
def test_the_kept_stay_and_what_is_linked_to_them_follows(count, seed, data) -> None:
    records = corpus(count, seed)
    index = st.integers(0, count - 1)
    listed_parts = data.draw(st.dictionaries(index, st.integers(0, 3), max_size=count // 2))
    free = st.sampled_from([i for i in range(count) if i not in listed_parts])
    links = data.draw(st.lists(st.tuples(index, free), max_size=10))
    torn = {i for i, j in links} & set(listed_parts)
    links = [(i, j) for i, j in links if len({listed_parts[k] for k in torn}) <= 1]
    part_of, _ = split(records, listed_parts, links)
    assert all(part_of[i] == part for i, part in listed_parts.items())
    assert all(part_of[i] == part_of[j] for i, j in links)


def test_near_duplicates_kept_apart_are_refused() -> None:
    records = corpus(10, 0)
    refuse_torn(records, [(2, 7), (3, 4)], {2: 0, 7: 0, 3: 1})
    with pytest.raises(UserError, match=r"kept in train and test: records 'r2' and 'r7'; take"):
        refuse_torn(records, [(2, 7)], {2: 0, 7: 3})


def test_what_is_written_is_read_again(tmp_path, capsys) -> None:
    part_by_id = {"007": "train", "1.50": "train", 'a "b", c': "test", "가": "val_select"}
    for part in PARTS:
        members = [{"id": name} for name, of in part_by_id.items() if of == part]
        files.write_json(tmp_path / f"run/data/split/{part}.json", members)
    assert main(["parts", str(tmp_path / "run")]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[:2] == ["id,part", "007,train"]
    (tmp_path / "parts.csv").write_text(table, "utf-8")
    assert read_kept(tmp_path / "parts.csv") == part_by_id
    records = [{"id": "new"}, {"id": "가"}, {"id": "007"}]
    assert kept_indices(records, part_by_id) == {1: 1, 2: 0}


def test_a_folder_without_a_split_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"train\.json: is not there; name a run's folder"):
        write_parts(tmp_path, io.StringIO())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,part\na,train\nb,dev\n", r"line 3: expected an id and a part \(train, val_select, "),
        ("id,part\na\n", "line 2: "),
        ("name,part\na,train\n", "line 2: expected an id"),
        ("id,part\na,train\na,test\n", "line 3: record 'a' is in test here and in train above"),
        ("", "the file is empty"),
    ],
)
def test_a_bad_list_is_refused_with_its_line(tmp_path, content, message) -> None:
    (tmp_path / "parts.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        read_kept(tmp_path / "parts.csv")


@pytest.mark.slow
def test_a_corpus_grows_in_a_run(tmp_path) -> None:
    project = Project(tmp_path)
    source = tmp_path / "mine.jsonl"

    def write(count):
        lines = [
            {**record, "text": sha256(record["id"].encode()).hexdigest()}
            for record in corpus(count, 0)
        ]
        source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    write(200)
    tasks = {"rating": {"kind": "regression", "field": "rating"}}
    project.config.write_text(
        json.dumps({"run": "smoke", "data": {"source": "mine.jsonl"}, "tasks": tasks})
    )
    project.snakemake("split")
    with (tmp_path / "parts.csv").open("w") as stream:
        write_parts(project.result(""), stream)
    before = read_kept(tmp_path / "parts.csv")
    write(230)
    project.set(split={"keep": "parts.csv"})
    assert project.computed("split")["split_records"] == 1
    with (tmp_path / "grown.csv").open("w") as stream:
        write_parts(project.result(""), stream)
    grown = read_kept(tmp_path / "grown.csv")
    assert len(before) == 200 and len(grown) == 230 and before.items() <= grown.items()
    assert min(Counter(grown[name] for name in set(grown) - set(before)).values()) >= 1
    (tmp_path / "parts.csv").unlink()
    refused = project.snakemake("split", check=False)
    assert "error: split.keep: parts.csv: " in refused.stdout + refused.stderr
