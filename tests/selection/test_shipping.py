"""What ships: a folder that predicts, and a card that says how well."""

from __future__ import annotations

import html
import shutil
import subprocess

import numpy as np
import pytest

from redheart.encoding.lexicon import load_lexicon
from redheart.encoding.tokens import encode_part
from redheart.errors import UserError
from redheart.evaluation.fusion import fused_predictions
from redheart.evaluation.inference import contributions
from redheart.selection import checksums, shipping
from redheart.selection.shipped_model import NEEDED, WEIGHTS, ShippedModel
from redheart.storage import files

TEXTS = ["she lied about the money", "그는 돈을 빌려 갔다", "why? 😀", "to dinner " * 30]


def test_a_prediction_names_every_task_and_output(model_folder):
    predictions = ShippedModel(model_folder).predict(TEXTS)
    assert len(predictions) == len(TEXTS)
    for prediction in predictions:
        assert {task: list(outputs) for task, outputs in prediction.items()} == {
            "emotion": ["joy", "anger", "fear"],
            "verdict": ["AUTHOR", "OTHER", "NOBODY"],
            "tags": ["money", "family"],
            "regret": ["regret"],
        }
        assert sum(prediction["emotion"].values()) == pytest.approx(1, abs=1e-5)
        assert sum(prediction["verdict"].values()) == pytest.approx(1, abs=1e-5)
        assert all(0 < value < 1 for value in prediction["tags"].values())


def test_several_members_predict_their_mean(
    model_folder, members, member_weights, tasks, recipe, part, tokenizer_path, lexicon_path
):
    records = [{"text": text} for text in TEXTS]
    lexicon = load_lexicon(lexicon_path)
    encoded = encode_part(records, tasks, tokenizer_path, part.max_tokens, lexicon)
    by_member = [
        fused_predictions(tasks, contributions(network, encoded, recipe.train), weights)
        for network, weights in zip(members, member_weights, strict=True)
    ]
    predictions = ShippedModel(model_folder).predict(TEXTS)
    for task in tasks:
        expected = np.mean([member[task.name] for member in by_member], axis=0)
        rows = [list(prediction[task.name].values()) for prediction in predictions]
        np.testing.assert_allclose(rows, expected, rtol=1e-5)


def shipped_with(model_folder, folder, name, content):
    """Return a copy of a model's folder that shipped with another content of one JSON file."""
    shutil.copytree(model_folder, folder)
    files.write_json(folder / name, content)
    listed = {*checksums.read_checksums(folder), name}
    checksums.write_checksums(folder / checksums.CHECKSUMS, [folder / name for name in listed])
    return ShippedModel(folder)


def test_a_regression_is_predicted_in_its_unit_or_as_the_network_says_without_scales(
    model_folder, tmp_path
):
    assert not (model_folder / "scales.json").exists()  # as one that shipped before there were any
    learned = [p["regret"]["regret"] for p in ShippedModel(model_folder).predict(TEXTS)]
    scales = {"regret": {"mean": [2003.0], "deviation": [7.5]}}
    years = shipped_with(model_folder, tmp_path / "model", "scales.json", scales).predict(TEXTS)
    np.testing.assert_allclose(
        [p["regret"]["regret"] for p in years], 2003 + 7.5 * np.array(learned), rtol=1e-12
    )


def test_models_that_ship_together_may_each_have_tasks_of_their_own(
    model_folder, member_weights, tmp_path
):
    alone = []
    for tasks in (dict.fromkeys(member_weights[0], 0), dict.fromkeys(member_weights[0], 1)):
        source = {"fusion": member_weights, "tasks": tasks}
        model = shipped_with(model_folder, tmp_path / str(len(alone)), "recipe.json", source)
        alone.append(model.predict(TEXTS))
    tasks = {"emotion": 0, "verdict": 1, "tags": 1, "regret": 0}
    source = {"fusion": member_weights, "tasks": tasks}
    both = shipped_with(model_folder, tmp_path / "both", "recipe.json", source)
    for row, prediction in enumerate(both.predict(TEXTS)):
        assert prediction == {task: alone[member][row][task] for task, member in tasks.items()}
    assert alone[0] != alone[1]


def test_a_text_is_predicted_the_same_alone_and_among_others(model_folder):
    model = ShippedModel(model_folder)
    for text, among in zip(TEXTS, model.predict(TEXTS), strict=True):
        (alone,) = model.predict([text])
        for task, outputs in alone.items():
            assert outputs == pytest.approx(among[task], rel=1e-4)


def test_the_order_of_the_tasks_in_the_config_changes_no_prediction(model_folder, tmp_path):
    config = files.read_json(model_folder / "config.json")
    backwards = {**config, "tasks": dict(reversed(config["tasks"].items()))}
    model = shipped_with(model_folder, tmp_path / "model", "config.json", backwards)
    assert model.predict(TEXTS) == ShippedModel(model_folder).predict(TEXTS)


# --- a folder that is not as it shipped -------------------------------------------------------


@pytest.fixture
def copied(model_folder, tmp_path):
    """A copy of a model's folder, to be damaged."""
    return shutil.copytree(model_folder, tmp_path / "model")


def test_the_systems_own_tool_checks_the_folder_too(model_folder):
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=model_folder, check=True)


@pytest.mark.parametrize("name", NEEDED)
def test_a_changed_or_missing_file_is_named_with_what_its_receiver_can_do(copied, name):
    path = copied / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for what in ("changed", "missing"):
        with pytest.raises(UserError) as error:
            ShippedModel(copied).predict(TEXTS)
        assert str(error.value) == (
            f"{copied}: not as it shipped, by its SHA256SUMS: {name} ({what}); copy the whole "
            "folder again from where it came from; where its run was made, to rebuild it, "
            f"`rm -r {copied}` and run the same command again"
        )
        path.unlink(missing_ok=True)


def test_a_file_whose_hash_was_taken_out_is_not_believed(copied):
    listed = copied / "SHA256SUMS"
    lines = listed.read_text().splitlines(keepends=True)
    listed.write_text("".join(line for line in lines if "recipe.json" not in line))
    with pytest.raises(UserError, match=r"SHA256SUMS: recipe\.json \(not listed\); copy"):
        ShippedModel(copied).predict(TEXTS)


@pytest.mark.parametrize("content", ["rubbish\n", f"{'0' * 64}  ../x\n", "\n", "\udcff"])
def test_hashes_that_cannot_be_read_are_told(copied, content):
    (copied / "SHA256SUMS").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"SHA256SUMS: .+; copy (it|the folder) again"):
        ShippedModel(copied).predict(TEXTS)


def test_a_changed_card_is_told_and_its_model_predicts(copied, model_folder, capsys):
    (copied / "README.md").write_text("# mine")
    assert ShippedModel(copied).predict(TEXTS) == ShippedModel(model_folder).predict(TEXTS)
    said = "README.md: changed since the model shipped; no prediction depends on it, but"
    assert f"warning: {copied}/{said} what it says may be wrong\n" == capsys.readouterr().err


def test_a_folder_of_an_older_version_is_told_to_have_no_hashes_and_predicts(
    copied, model_folder, capsys
):
    (copied / "SHA256SUMS").unlink()
    assert ShippedModel(copied).predict(TEXTS) == ShippedModel(model_folder).predict(TEXTS)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {copied}: has no SHA256SUMS, as in older versions, so ")
    assert line.endswith("; where its run was made, the command of that run adds it")


RUBBISH = [
    b"",
    b"rubbish",
    b"[]",
    b"{}",
    b"null",
    b'{"tasks": 3}',
    b"[" * 10_000,
    b"\xff\xfe",
    b"PK",
]


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("content", RUBBISH, ids=lambda content: repr(content)[:12])
def test_rubbish_in_any_file_is_told_even_with_the_hash_of_rubbish(copied, name, content):
    (copied / name).write_bytes(content)
    files.write_hash(copied / WEIGHTS, files.sha256_file(copied / WEIGHTS))
    listed = [path for path in copied.iterdir() if path.name in NEEDED]
    for hashed in (True, False):
        checksums.write_checksums(copied / checksums.CHECKSUMS, listed)
        if not hashed:
            (copied / checksums.CHECKSUMS).unlink()
        with pytest.raises(UserError) as error:
            ShippedModel(copied).predict(TEXTS)
        assert str(copied) in str(error.value)
        assert "\n" not in str(error.value)


# --- the model card -------------------------------------------------------------------------


def candidate(macro, difference, passes=1):
    versus = dict(zip(("difference", "low", "high"), difference, strict=True))
    return {
        "val_select": 0.6,
        "val_confirm": None,
        "test": {
            "macro": macro,
            "tasks": {},
            "versus_best_single": versus,
            "versus_greedy_soup": dict.fromkeys(versus, 0.0),
        },
        "forward_passes": passes,
    }


COMPARISON = {
    "shipped": {"candidate": "greedy_soup", "seed": 3, "reason": "No gain: it ships."},
    "baseline_sentence": "The linear baseline is better.",
    "candidates": {
        "greedy_soup": candidate(0.5714, (0.0123, -0.004, 0.03)),
        "variants_ensemble": candidate(0.5, (None, None, None), passes=5),
    },
}


def test_the_card_says_first_how_the_model_compares_with_the_baseline(shipped_config):
    card = shipping.model_card("demo", shipped_config, COMPARISON).splitlines()
    assert card[:5] == [
        "# demo",
        "",
        "The linear baseline is better.",
        "",
        "Ships: `greedy_soup`, seed 3. No gain: it ships.",
    ]


@pytest.mark.parametrize(
    ("freeze_after", "what"),
    [(0, "frozen"), (3, "fine-tuned for 3 epochs"), (None, "fine-tuned")],
)
def test_the_card_names_a_pretrained_trunk(shipped_config, freeze_after, what):
    model = {"pretrained": "./data/minilm", "freeze_after": freeze_after}
    card = shipping.model_card("demo", {**shipped_config, "model": model}, COMPARISON)
    assert f"\nIts trunk is `./data/minilm`, {what}; the licence of that trunk holds" in card
    assert "trunk" not in shipping.model_card("demo", shipped_config, COMPARISON)


def test_the_card_lists_tasks_and_every_candidates_evidence(shipped_config):
    card = shipping.model_card("demo", shipped_config, COMPARISON)
    assert "- **emotion**: distribution from field `emotions` (joy, anger, fear)" in card
    assert "- **regret**: regression from field `regret_factor`\n" in card
    assert (
        "| greedy_soup | 0.600 | - | 0.571 | +0.012 [-0.004, +0.030] | +0.000 [+0.000, +0.000] | 1 |"
        in card
    )
    assert (
        "| variants_ensemble | 0.600 | - | 0.500 | - [-, -] | +0.000 [+0.000, +0.000] | 5 |" in card
    )


HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[free](javascript:alert(1))",
    "![](http://example.org/seen.png)",
    "*bold* _thin_ ~~gone~~",
    "`</code><svg/onload=alert(1)>``",
    "one\n\n# a heading\r\n| a | b |\n|---|---|",
    "&lt;b&gt;",
    "`",
    "\\",
)


def test_no_name_in_the_card_acts_as_html_or_markup(shipped_config):
    """As a renderer of Markdown shows them, every name is the text that it is."""
    markdown_it = pytest.importorskip("markdown_it")
    renderer = markdown_it.MarkdownIt("gfm-like", {"linkify": False, "html": True})
    for name in HOSTILE:
        tasks = {"a": {"kind": "multiclass", "field": name, "classes": [name, "other"]}}
        model = {"pretrained": name, "freeze_after": 0}
        card = shipping.model_card("demo", {"tasks": tasks, "model": model}, COMPARISON)
        page = renderer.render(card)
        shown = html.escape(" ".join(name.split()))
        assert page.count(f"<code>{shown}</code>") == 2, card
        assert f" ({shown}, other)</li>" in page, card
        for mark in ("<script", "<img", "<svg", "<a ", "<em>", "<s>"):
            assert mark not in page
        assert page.count("<h") == 5
