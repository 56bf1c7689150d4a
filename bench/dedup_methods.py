"""The search for near-duplicates, and other tools for it; each returns pairs (i, j), i < j."""

from __future__ import annotations

import numpy as np
from rapidfuzz import fuzz, process

from redheart.duplicates.search import near_duplicate_pairs

CDIST_ROWS = 256

Found = set[tuple[int, int]]


def exact(texts: list[str], threshold: float) -> Found:
    i, j, _ = near_duplicate_pairs(texts, threshold)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def exact_numpy(texts: list[str], threshold: float) -> Found:
    i, j, _ = near_duplicate_pairs(texts, threshold, compiled=False)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def cdist(texts: list[str], threshold: float) -> Found:
    found: Found = set()
    for row in range(0, len(texts), CDIST_ROWS):
        ratios = process.cdist(
            texts[row : row + CDIST_ROWS],
            texts[row:],
            scorer=fuzz.ratio,
            score_cutoff=100 * threshold,
            dtype=np.float64,
            workers=-1,
        )
        i, j = np.nonzero(np.triu(ratios >= 100 * threshold, 1))
        found.update(zip((row + i).tolist(), (row + j).tolist(), strict=True))
    return found


def double_loop(texts: list[str], threshold: float) -> Found:
    return {
        (i, j)
        for j, text in enumerate(texts)
        for i in range(j)
        if fuzz.ratio(texts[i], text) >= 100 * threshold
    }


def shingles(text: str) -> list[str]:
    return [text[k : k + 5] for k in range(max(1, len(text) - 4))]


def checked(texts: list[str], pairs: Found, threshold: float) -> Found:
    return {(i, j) for i, j in pairs if fuzz.ratio(texts[i], texts[j]) >= 100 * threshold}


def datasketch_lsh(texts: list[str], threshold: float) -> Found:
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(num_perm=128, params=(32, 4))
    candidates: Found = set()
    for j, text in enumerate(texts):
        minhash = MinHash(num_perm=128)
        minhash.update_batch([shingle.encode() for shingle in set(shingles(text))])
        candidates.update((i, j) for i in lsh.query(minhash))
        lsh.insert(j, minhash)
    return checked(texts, candidates, threshold)


def rensa_lsh(texts: list[str], threshold: float) -> Found:
    from rensa import RMinHash, RMinHashLSH

    lsh = RMinHashLSH(threshold=0.5, num_perm=128, num_bands=32)
    candidates: Found = set()
    for j, text in enumerate(texts):
        minhash = RMinHash(num_perm=128, seed=0)
        minhash.update(shingles(text))
        candidates.update((i, j) for i in lsh.query(minhash))
        lsh.insert(j, minhash)
    return checked(texts, candidates, threshold)


def gaoya_lsh(texts: list[str], threshold: float) -> Found:
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        hash_size=32, jaccard_threshold=0.5, num_bands=32, band_size=4, analyzer="char",
        ngram_range=(5, 5),
    )  # fmt: skip
    index.par_bulk_insert_docs(list(range(len(texts))), texts)
    candidates = {
        (min(i, j), max(i, j))
        for j, others in enumerate(index.par_bulk_query(texts))
        for i in others
        if i != j
    }
    return checked(texts, candidates, threshold)


RIVALS = {"datasketch": datasketch_lsh, "rensa": rensa_lsh, "gaoya": gaoya_lsh}
