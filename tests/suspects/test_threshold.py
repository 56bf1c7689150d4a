"""How many labels are named: planted exchanges whose number is known."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.suspects.mapping import make_map
from redheart.suspects.naming import COLUMNS, as_csv, find_suspects
from redheart.suspects.suspicion import checkpoint_weights, suspicions
from redheart.suspects.threshold import judge, wrong_share
from redheart.tasks.task import Task

PARTS = {"train": 900, "val_select": 200, "val_confirm": 100, "test": 200}
VERDICT = Task("verdict", "multiclass", "label", ("a", "b", "c", "d"))
MOOD = Task("mood", "distribution", "mood", ("a", "b", "c"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y", "z"))
RATING = Task("rating", "regression", "rating")


def believed(rng, truth, sharpness, given=None, memory=0.0):
    """What five checkpoints predict: the truth with noise, and a memory of the given label."""
    logits = sharpness * np.eye(4)[truth] + rng.normal(0, 1, (5, len(truth), 4))
    if given is not None:
        logits += memory * np.linspace(0, 1, 5)[:, None, None] * np.eye(4)[given]
    exponential = np.exp(logits)
    return exponential / exponential.sum(axis=2, keepdims=True)


def corpus(noise, seed=0, sharpness=4.0):
    """The parts of a corpus with exchanged labels: ids, given labels, opinions, wrong ids."""
    rng = np.random.default_rng(seed)
    ids, targets, opinions, wrong, records = {}, {}, [{} for _ in range(5)], set(), {}
    for part, count in PARTS.items():
        truth = rng.integers(0, 4, count)
        is_wrong = rng.random(count) < noise
        given = np.where(is_wrong, (truth + rng.integers(1, 4, count)) % 4, truth)
        ids[part] = [f"{part}-{i}" for i in range(count)]
        wrong |= {ids[part][i] for i in np.flatnonzero(is_wrong)}
        targets[part] = {"verdict": np.eye(4)[given]}
        memory = 1.5 if part == "train" else 0.0
        for checkpoint, said in zip(
            opinions, believed(rng, truth, sharpness, given, memory), strict=True
        ):
            checkpoint[part] = {"verdict": said}
        records[part] = [
            {"id": i, "text": f"text {i}", "label": VERDICT.classes[k]}
            for i, k in zip(ids[part], given, strict=True)
        ]
    return ids, targets, opinions, wrong, records


def named(noise, rate=0.1, seed=0, sharpness=4.0):
    ids, targets, opinions, wrong, records = corpus(noise, seed, sharpness)
    made = make_map([VERDICT], ids, targets, opinions)
    content, rows = find_suspects([VERDICT], [made], [0], records, {}, rate)
    return content["tasks"]["verdict"], rows, wrong


@pytest.mark.parametrize("seed", range(3))
def test_hardly_a_label_of_a_clean_corpus_is_named(seed):
    _, rows, _ = named(0.0, seed=seed)
    assert len(rows) <= 5


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_share_of_false_discoveries_stays_near_the_stated_rate(noise, rate):
    content, rows, wrong = named(noise, rate)
    false = [row["id"] for row in rows if row["id"] not in wrong]
    assert len(rows) > 20
    assert len(false) <= rate * len(rows) + 2 * len(rows) ** 0.5
    assert content["expected_false"] <= rate * len(rows) + 1e-9
    assert content["suspected"] == len(rows)


def test_a_lower_rate_names_no_more():
    counts = [len(named(0.1, rate)[1]) for rate in (0.01, 0.1, 0.4)]
    assert counts == sorted(counts) and counts[-1] > counts[0]


def test_a_model_that_knows_nothing_names_hardly_anything():
    assert len(named(0.1, sharpness=0.0)[1]) <= 5


def test_the_share_of_wrong_labels_is_found_on_held_out_records():
    rng = np.random.default_rng(0)
    planted = np.sort(rng.normal(3, 1, 400))
    held_out = np.concatenate([rng.normal(-3, 1, 900), rng.normal(3, 1, 100)])
    assert 0.05 < wrong_share(held_out, planted) <= 0.13
    assert wrong_share(held_out[:900], planted) == 0
    assert wrong_share(held_out[:5], planted) == 0  # too few to say
    assert wrong_share(held_out, np.zeros(0)) == 0


def test_without_wrong_labels_or_without_labels_nothing_is_named():
    for suspicion, share in ((np.arange(5.0), 0.0), (np.full(5, np.nan), 0.5), (np.zeros(0), 0.5)):
        verdict = judge(suspicion, np.arange(10.0), share, 0.0, 0.5)
        assert not verdict.named.any() and verdict.expected_false == 0


def test_the_records_are_told_with_the_most_suspicious_first():
    content, rows, _ = named(0.1)
    assert content["records"][: len(rows)] == rows[:100]
    assert [row["suspected"] for row in content["records"]] == [True] * min(100, len(rows))
    assert {row["part"] for row in rows} > {"train"}
    row = rows[0]
    assert row["label"] != row["model_says"] and row["text"] == f"text {row['id']}"
    assert sum(c["records"] for c in content["classes"].values()) == sum(PARTS.values())
    assert sum(c["suspected"] for c in content["classes"].values()) == len(rows)
    assert sum(content["map"]["suspected"]) == sum(row["part"] == "train" for row in rows)
    assert len(as_csv(rows).splitlines()) == len(rows) + 1


def test_the_most_suspicious_records_come_from_all_parts_alike():
    # Labels of train were learned, so a wrong one looks less wrong than one of the other parts.
    content, rows, wrong = named(0.1, rate=1e-9)
    others = content["records"][len(rows) :]
    assert len(others) >= 20
    assert np.mean([row["part"] == "train" for row in others]) == pytest.approx(0.64, abs=0.2)
    assert np.mean([row["id"] in wrong for row in others]) > 0.9


def test_no_text_of_the_table_of_suspects_acts_as_a_formula():
    cells = dict.fromkeys(COLUMNS, "x") | {"text": "=1+1", "label": "@b", "margin": -0.5}
    line = as_csv([cells]).splitlines()[1]
    assert line == "x,x,x,'=1+1,'@b,x,x,x,-0.5"


def test_where_few_are_named_the_thirty_most_suspicious_are_told_all_the_same():
    content, rows, _ = named(0.0)
    assert len(content["records"]) == 30
    assert sum(row["suspected"] for row in content["records"]) == len(rows)


def test_several_seeds_are_averaged():
    ids, targets, opinions, _, records = corpus(0.1)
    made = make_map([VERDICT], ids, targets, opinions)
    one = find_suspects([VERDICT], [made], [0], records, {}, 0.1)
    two = find_suspects([VERDICT], [made, made], [0, 1], records, {}, 0.1)
    assert [row["id"] for row in one[1]] == [row["id"] for row in two[1]]
    assert (two[0]["checkpoints"], two[0]["seeds"]) == (10, [0, 1])


# --- suspicions -----------------------------------------------------------------------------------


def test_the_suspicion_of_a_class_is_relative_to_its_class():
    rng = np.random.default_rng(1)
    said, labels = believed(rng, rng.integers(0, 4, 60), 2.0), rng.integers(0, 4, 60)
    target, weights = np.eye(4)[labels], np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    own, planted = suspicions(VERDICT, target, said, weights)

    def margin(i, k):
        others = [max(said[c, i, j] for j in range(4) if j != k) for c in range(5)]
        return sum(
            w * (0.25 * np.log(o) - np.log(said[c, i, k]))
            for c, (w, o) in enumerate(zip(weights, others, strict=True))
        )

    centre = [np.mean([margin(i, k) for i in range(60) if labels[i] == k]) for k in range(4)]
    expected = [margin(i, k) - centre[k] for i, k in enumerate(labels)]
    np.testing.assert_allclose(own, expected)
    others = [margin(i, k) - centre[k] for i in range(60) for k in range(4) if k != labels[i]]
    assert min(others) <= planted[0] <= planted[-1] <= max(others)


@pytest.mark.parametrize("task", [MOOD, TAGS, RATING], ids=lambda task: task.kind)
def test_an_exchanged_label_of_any_kind_stands_out(task):
    rng = np.random.default_rng(0)
    if task is MOOD:
        truth = rng.dirichlet(np.full(3, 0.3), 200)
    elif task is TAGS:
        truth = (rng.random((200, 3)) < 0.3).astype(float)
    else:
        truth = rng.normal(0, 1, (200, 1))
    noise = rng.normal(0, 0.05, (4, *truth.shape))
    said = truth + noise if task is RATING else np.clip(0.9 * truth + 0.05 + noise, 0.01, 0.99)
    given = truth.copy()
    given[5] = 3 if task is RATING else 1 - truth[5] if task is TAGS else np.roll(truth[5], 1)
    given[9] = np.nan
    own, planted = suspicions(task, given, said, checkpoint_weights(task, given, said))
    assert np.nanargmax(own) == 5
    assert np.isnan(own[9]) and np.isnan(own).sum() == 1
    assert np.median(planted) > np.nanmedian(own)


def test_checkpoints_that_know_the_labels_by_heart_weigh_less():
    target = np.eye(4)[[0, 1, 2, 3]]
    by_heart, learning = 0.97 * target + 0.01, 0.4 * target + 0.15
    first, last = checkpoint_weights(VERDICT, target, np.stack([learning, by_heart]))
    assert first > last and first + last == pytest.approx(1)
    assert checkpoint_weights(RATING, np.zeros((2, 1)), np.zeros((3, 2, 1))) == pytest.approx(1 / 3)
