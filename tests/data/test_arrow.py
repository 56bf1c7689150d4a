"""Parquet and the folders of datasets: the rows that pyarrow reads, as JSON can hold them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from source_items import error

from redheart.data import arrow
from redheart.data.sources import input_files, read_items
from redheart.errors import UserError

ROWS = [
    {"text": "a", "label": 1, "emotions": [0.25, 0.75], "meta": {"when": datetime(2024, 1, 2)}, "price": Decimal("0.5"), "raw": b"\xff"},
    {"text": "b", "label": -1, "emotions": None, "meta": None, "price": None, "raw": b"ok"},
    {"text": None, "label": None, "emotions": [], "meta": {"when": None}, "price": None, "raw": None},
]  # fmt: skip

EXPECTED = [
    {"text": "a", "label": "OTHER", "emotions": [0.25, 0.75], "meta": {"when": "2024-01-02T00:00:00"}, "price": 0.5, "raw": None},
    {"text": "b", "label": None, "emotions": None, "meta": None, "price": None, "raw": "ok"},
    {"text": None, "label": None, "emotions": [], "meta": {"when": None}, "price": None, "raw": None},
]  # fmt: skip

FEATURES = {
    "label": {"names": ["AUTHOR", "OTHER"], "_type": "ClassLabel"},
    "text": {"dtype": "string"},
}


def table(pyarrow, rows):
    """A table as `datasets` writes it: classes are numbers, and their names in the metadata."""
    described = json.dumps({"info": {"features": FEATURES}})
    return pyarrow.Table.from_pylist(rows).replace_schema_metadata({"huggingface": described})


def save(pyarrow, folder: Path, *shards) -> None:
    """Write a folder as `datasets.save_to_disk` does."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(shards):05d}.arrow" for i in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        content = table(pyarrow, rows)
        with pyarrow.ipc.new_stream(str(folder / name), content.schema) as writer:
            writer.write_table(content)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": n} for n in names]})
    )
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table(pyarrow, ROWS), tmp_path / "in.bin")
    places_and_items = [("row 1", EXPECTED[0]), ("row 2", EXPECTED[1]), ("row 3", EXPECTED[2])]
    assert list(read_items(tmp_path / "in.bin")) == places_and_items
    (tmp_path / "in.cut").write_bytes((tmp_path / "in.bin").read_bytes()[:-20])
    message = error(lambda: list(read_items(tmp_path / "in.cut")))
    assert message.startswith(".cut: is cut off or damaged (")
    assert message.endswith("); copy it again")


def test_more_rows_than_a_batch(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"text": str(i)} for i in range(1000)]
    save(pyarrow, tmp_path / "in", rows)
    assert [item for _, item in read_items(tmp_path / "in")] == rows


def test_a_folder_of_datasets(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    save(pyarrow, tmp_path / "in", ROWS[:1], ROWS[1:])
    places_and_items = [("row 1", EXPECTED[0]), ("row 2", EXPECTED[1]), ("row 3", EXPECTED[2])]
    # The column of a shard of its own may have no type.
    assert [(p, {**r, "meta": None}) for p, r in read_items(tmp_path / "in")] == [
        (place, {**row, "meta": None}) for place, row in places_and_items
    ]
    assert [Path(name).name for name in input_files(tmp_path / "in")] == [
        "state.json",
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]


def test_all_splits_of_a_folder_are_read_in_their_order(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    for split, row in (("train", ROWS[0]), ("test", ROWS[1])):
        save(pyarrow, tmp_path / "in" / split, [row])
    (tmp_path / "in" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    places = [(place, item["text"]) for place, item in read_items(tmp_path / "in")]
    assert places == [("train row 1", "a"), ("test row 1", "b")]
    assert len(input_files(tmp_path / "in")) == 5
    assert next(read_items(tmp_path / "in" / "test"))[0] == "row 1"


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    save(pyarrow, tmp_path / "in", ROWS)
    shard = tmp_path / "in" / "data-00000-of-00001.arrow"
    shard.write_bytes(shard.read_bytes()[:300])
    message = error(lambda: list(read_items(tmp_path / "in")))
    assert message.startswith("/data-00000-of-00001.arrow: is cut off or damaged (")


@pytest.mark.parametrize("content", ["[]", '{"_data_files": 3}', "{}"])
def test_a_folder_that_is_not_described_is_refused(tmp_path: Path, content) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(
        UserError, match=r"state\.json: has no list '_data_files'; save the data set"
    ):
        list(read_items(tmp_path))


def test_without_pyarrow_a_line_says_what_to_install(items, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    expected = ".parquet: to read it takes pyarrow; install it (`pip install pyarrow`)"
    assert error(items, b"PAR1....", "in.parquet") == expected


@pytest.mark.parametrize(
    "count", [arrow.BATCH_ROWS - 1, arrow.BATCH_ROWS, arrow.BATCH_ROWS + 1, 700]
)
def test_places_count_on_from_batch_to_batch(tmp_path: Path, count) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"text": str(i)} for i in range(count)]
    parquet.write_table(table(pyarrow, rows), tmp_path / "in.parquet", row_group_size=100)
    save(pyarrow, tmp_path / "in", rows[:1], rows[1:])
    expected = [(f"row {i + 1}", row) for i, row in enumerate(rows)]
    assert list(read_items(tmp_path / "in.parquet")) == expected
    assert list(read_items(tmp_path / "in")) == expected


VALUES = {
    "int64": ("int64", 7, 7),
    "float64": ("float64", 0.1, 0.1),
    "bool": ("bool_", True, True),
    "string": ("string", "안녕\0", "안녕\0"),
    "date": ("date32", date(2024, 2, 29), "2024-02-29"),
    "time": ("time64:us", time(1, 2, 3, 4), "01:02:03.000004"),
    "instant": ("timestamp:us:UTC", datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
    "duration": ("duration:s", timedelta(days=1), "1 day, 0:00:00"),
    "binary": ("binary", "é".encode(), "é"),
    "no UTF-8": ("binary", b"\xe9", None),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_any_type_is_one_of_json_alone_in_lists_and_in_objects(tmp_path, name) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    kind, value, expected = VALUES[name]
    make, *arguments = kind.split(":")
    of = getattr(pyarrow, make)(*arguments)
    columns = {
        "alone": pyarrow.array([value, None], of),
        "listed": pyarrow.array([[value, None], []], pyarrow.list_(of)),
        "inside": pyarrow.array([{"x": value}, None], pyarrow.struct([("x", of)])),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "in.parquet")
    items = [item for _, item in read_items(tmp_path / "in.parquet")]
    assert items == [
        {"alone": expected, "listed": [expected, None], "inside": {"x": expected}},
        {"alone": None, "listed": [], "inside": None},
    ]
    assert json.loads(json.dumps(items)) == items


def test_classes_in_a_list_get_their_names_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = {"names": ["urgent", "funny"], "_type": "ClassLabel"}
    features = {"tags": {"feature": names, "_type": "Sequence"}, "plain": {"_type": "ClassLabel"}}
    described = json.dumps({"info": {"features": features}})
    rows = [{"tags": [1, 0], "plain": 1}, {"tags": [2, None, -1], "plain": 0}, {"tags": None}]
    content = pyarrow.Table.from_pylist(rows).replace_schema_metadata({"huggingface": described})
    parquet.write_table(content, tmp_path / "in.parquet")
    assert [item for _, item in read_items(tmp_path / "in.parquet")] == [
        {"tags": ["funny", "urgent"], "plain": 1},
        {"tags": [None, None, None], "plain": 0},
        {"tags": None, "plain": None},
    ]
