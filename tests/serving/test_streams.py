"""Lines as they come: whatever a read brings, the lines are those of the whole."""

from __future__ import annotations

import io
import json
import os

from hypothesis import given
from hypothesis import strategies as st

from redheart.serving import streams
from redheart.serving.streams import WAITING


class Trickle(io.BytesIO):
    """A stream of which each read brings a few bytes."""

    def __init__(self, content, at_once):
        super().__init__(content)
        self.at_once = at_once

    def read1(self, size=-1):
        return self.read(self.at_once)


CONTENT = st.lists(st.sampled_from([b"a", b"\n", b"\r", b" ", "한".encode(), b"{}"])).map(b"".join)


@given(CONTENT, st.integers(1, 5))
def test_lines_are_those_of_the_whole(content, at_once):
    stream = Trickle(content, at_once)
    beginning = streams.first_of(stream)
    found = [*streams._lines(stream, beginning)]
    whole = content.split(b"\n")
    expected = [*enumerate(whole, 1)] if whole[-1] else [*enumerate(whole, 1)][:-1]
    assert found == expected


@given(CONTENT, st.integers(1, 5))
def test_the_beginning_goes_up_to_what_is_more_than_white_space(content, at_once):
    beginning = streams.first_of(Trickle(content, at_once))
    assert content.startswith(beginning)
    assert bool(streams.bare(beginning)) == bool(streams.bare(content))


@given(st.lists(st.text().filter(lambda text: "\n" not in text)))
def test_plain_lines_are_texts_with_their_numbers(texts):
    content = "\n".join(texts).encode("utf-8", "surrogatepass")
    if b"\0" in content or content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    stream = io.BytesIO(content)
    items = [item for _, item in streams.plain_lines(stream, streams.first_of(stream), "x")]
    found = {item["line"]: item["text"] for item in items if isinstance(item, dict)}
    for number, text in enumerate(texts, 1):
        plain = text.removesuffix("\r").removeprefix("\ufeff")
        if streams.bare(plain.encode("utf-8", "surrogatepass")):
            assert found[number] == plain
        else:
            assert number not in found


def test_a_pipe_that_has_no_more_for_now_says_so():
    reader, writer = os.pipe()
    with open(reader, "rb") as stream, open(writer, "wb", buffering=0) as sender:
        sender.write(b'{"text": "a"}\n{"text"')
        items = streams.json_lines(stream, streams.first_of(stream))
        assert next(items) == ("line 1", {"text": "a"})
        assert next(items)[1] is WAITING
        sender.write(b': "b"}\nbroken\n')
        assert next(items) == ("line 2", {"text": "b"})
        assert isinstance(next(items)[1], ValueError)
        assert next(items)[1] is WAITING
        sender.write(json.dumps({"text": "c"}).encode())
        sender.close()
        assert next(items) == ("line 4", {"text": "c"})
        assert next(items, None) is None
