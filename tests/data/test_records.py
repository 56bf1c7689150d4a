"""Records: files of them, their fields of older names, and what is written of them as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.data.records import (
    check_text,
    identity_of,
    is_rounded,
    modernised,
    read_jsonl,
    text_statistics,
    write_jsonl,
    written,
)
from redheart.errors import UserError
from redheart.tasks.task import Task


def good(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"a{number}", "text": f"text number {number}", "label": "OTHER", **fields}


def test_jsonl_round_trip(tmp_path: Path) -> None:
    records = [good(1, text="줄\u2028바꿈\n🙂"), good(2, value=0.1)]
    write_jsonl(tmp_path / "deep" / "r.jsonl", records)
    assert read_jsonl(tmp_path / "deep" / "r.jsonl") == records
    with pytest.raises(ValueError):
        write_jsonl(tmp_path / "deep" / "r.jsonl", [good(1, value=float("nan"))])
    assert read_jsonl(tmp_path / "deep" / "r.jsonl") == records
    (tmp_path / "broken").write_bytes(b'{"id": "a1"}\n{\n')
    with pytest.raises(UserError, match=r"broken: line 2: broken JSON at column 2 .*delete"):
        read_jsonl(tmp_path / "broken")


def test_text_statistics() -> None:
    assert text_statistics([{"text": "ab"}, {"text": "안녕하세"}]) == {
        "count": 2, "mean": 3.0, "std": 1.0, "min": 2, "max": 4,
    }  # fmt: skip
    assert text_statistics([])["mean"] is None


@given(st.lists(st.text(), min_size=1, max_size=8))
def test_text_statistics_are_those_of_numpy(texts) -> None:
    lengths = np.array([len(text) for text in texts])
    assert text_statistics([{"text": text} for text in texts]) == {
        "count": lengths.size,
        **{name: getattr(np, name)(lengths) for name in ("mean", "std", "min", "max")},
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def nulled(value: Any) -> Any:
    """Return a value with null wherever JSON has no sign."""
    if isinstance(value, dict):
        return {name: nulled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [nulled(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_a_written_record_is_one_line_of_json_with_null_for_nan(record) -> None:
    line, is_changed = written(record)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert json.loads(line) == nulled(record)
    assert is_changed == (nulled(record) != record)


def test_what_no_line_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lone surrogate '\\ud800' in a string"):
        written({"text": "a\ud800"})
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="nested too deeply"):
        written(deep)


def test_older_names_are_added_where_todays_have_no_value() -> None:
    old = {"emotion_vector": [1, 0], "metadata": {"title": "t", "label": "OTHER", "other": 1}}
    assert modernised(old) == {**old, "emotions": [1, 0], "title": "t", "label": "OTHER"}
    own = {**old, "emotions": [0, 1], "label": None, "title": ""}
    assert modernised(own) == {**own, "label": "OTHER"}
    assert modernised({"metadata": "text"}) == {"metadata": "text"}


@pytest.mark.parametrize(("value", "identity"), [(None, "d"), (" ", "d"), (7, "7"), ("a b", "a b")])
def test_an_id_is_text_or_the_default(value, identity) -> None:
    assert identity_of(value, "d") == identity


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {}])
def test_an_id_of_another_type_is_refused(value) -> None:
    expected = f"field 'id': expected a string or an integer, got {type(value).__name__}"
    with pytest.raises(ValueError, match=expected):
        identity_of(value, "d")


@pytest.mark.parametrize("text", ["", " \t\n", "\u200b\u2028\u00a0", "\0\x1f", "\u00ad"])
def test_a_text_of_nothing_visible_is_empty(text) -> None:
    with pytest.raises(ValueError, match="empty text"):
        check_text({"text": text}, 10)
    check_text({"text": f"{text}."}, 10)


def test_a_text_may_be_as_long_as_the_config_says_and_no_longer() -> None:
    check_text({"text": "x" * 1000}, 1000)
    with pytest.raises(ValueError, match=r"1,001 characters, more than .* \(1,000\)"):
        check_text({"text": "x" * 1001}, 1000)


def test_an_object_that_holds_the_records_is_told_from_one_without_a_text() -> None:
    with pytest.raises(ValueError, match=r"^no text in the field 'text'$"):
        check_text({"id": 1, "tags": ["a"]}, 10)
    with pytest.raises(
        ValueError, match=r"the list 'rows' holds the records, `jq -c '\.rows\[\]'`"
    ):
        check_text({"rows": [{"text": "a"}]}, 10)


@pytest.mark.parametrize(
    ("value", "normalize", "is_told"),
    [
        ([0.5, 0.5], False, False), ([0.5, 0.5 + 1e-7], False, False), ([0.5, 0.51], False, True),
        ({"a": 0.5, "b": 0.49}, False, True), ({"a": 1.0}, False, False), ([2, 2], True, False),
        (None, False, False),
    ],
)  # fmt: skip
def test_a_sum_that_is_not_quite_1_is_told(value, normalize, is_told) -> None:
    task = Task("mood", "distribution", "mood", ("a", "b"), normalize=normalize)
    assert is_rounded(task, {"mood": value}) == is_told
