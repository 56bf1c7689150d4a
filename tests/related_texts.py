"""Texts that are near-duplicates of each other, and all their pairs by brute force."""

from __future__ import annotations

from hypothesis import strategies as st
from rapidfuzz import fuzz


def brute_force(texts, threshold):
    """Return (i, j, similarity) of all pairs at or above a threshold."""
    return [
        (i, j, fuzz.ratio(texts[i], texts[j]) / 100)
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if fuzz.ratio(texts[i], texts[j]) >= 100 * threshold
    ]


ALPHABETS = (
    "ab",
    "the quick brown fox, and so on. AITA?",
    "가나다라마바사아자차카타파하 힣",
    "e\u0301o\u0308\u200d👩👍🏽🇰🇷",
    "".join(map(chr, range(0x4E00, 0x4E00 + 300))),
)


@st.composite
def corpora(draw):
    """Related texts: each text is new, or an edited copy of an earlier text."""
    letters = st.sampled_from(draw(st.sampled_from(ALPHABETS)))
    any_character = st.characters(exclude_categories=("Cs",))
    new = st.text(draw(st.sampled_from((letters, any_character))), min_size=1, max_size=40)
    texts: list[str] = []
    for _ in range(draw(st.integers(0, 8))):
        text = draw(st.sampled_from(texts)) if texts and draw(st.booleans()) else draw(new) * 3
        for place in draw(st.lists(st.integers(0, len(text)), max_size=4)):
            text = text[:place] + draw(st.sampled_from(("", "e", "힣"))) + text[place + 1 :]
        texts.append(text or "e")
    return texts


thresholds = st.sampled_from((0.5, 0.57, 0.7, 0.8, 0.9, 0.92, 0.95, 1.0)) | st.floats(0.5, 1)


# Of length 25, each differs from the next in one letter: 96 % alike, and 92 % two steps on.
CHAIN = ["a" * (25 - k) + "b" * k for k in range(5)]


def as_records(texts, labels=()):
    labels = [*labels, *[None] * len(texts)]
    return [{"id": f"r{k}", "text": t, "label": labels[k]} for k, t in enumerate(texts)]


def label_of(record):
    return record["label"]
