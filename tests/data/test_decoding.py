"""Bytes as text: which bytes are not UTF-8, as Python's own decoder tells."""

from __future__ import annotations

import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from redheart.data.decoding import decoded, refuse_undecoded, tried


@given(st.binary(max_size=40) | st.text().map(str.encode))
def test_the_first_byte_that_is_not_utf8_is_named(content) -> None:
    mark = b"\xef\xbb\xbf"
    # The beginning of a byte order mark and nothing else is an empty file, which is refused as such.
    assume(not content.startswith(mark) and not (content and mark.startswith(content)))
    text = decoded(io.BytesIO(content)).read()
    try:
        expected = content.decode("utf-8")
    except UnicodeDecodeError as error:
        with pytest.raises(ValueError, match=rf"^not UTF-8 \(byte 0x{content[error.start]:02x}\)$"):
            refuse_undecoded(text)
    else:
        refuse_undecoded(text)
        assert text == expected


def test_a_byte_order_mark_is_no_text_and_line_ends_stay() -> None:
    assert decoded(io.BytesIO(b"\xef\xbb\xbfa\r\nb\rc\n")).read() == "a\r\nb\rc\n"


def test_a_reason_is_returned_in_place_of_a_result_and_a_bug_is_not() -> None:
    assert tried(int, "7") == 7
    assert str(tried(int, "x")) == "invalid literal for int() with base 10: 'x'"
    with pytest.raises(TypeError):
        tried(int, [])
