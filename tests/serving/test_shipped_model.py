"""The model that shipped: what it predicts, and what it says of a folder that is damaged."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from redheart.encoding.lexicon import load_lexicon
from redheart.encoding.tokens import encode_part
from redheart.errors import UserError
from redheart.evaluation.fusion import fused_predictions
from redheart.evaluation.inference import contributions
from redheart.selection import checksums
from redheart.serving.model_files import NEEDED, WEIGHTS, ModelFiles
from redheart.serving.shipped_model import ShippedModel
from redheart.storage import files
from redheart.tasks.scale import Scale


def outputs(model, texts):
    """For each text: task -> output -> probability or value."""
    by_task, names = model.predict_probabilities(texts), model.classes
    return [
        {
            task: dict(zip(names[task], rows[i].tolist(), strict=True))
            for task, rows in by_task.items()
        }
        for i in range(len(texts))
    ]


TEXTS = ["she lied about the money", "그는 돈을 빌려 갔다", "why? 😀", "to dinner " * 30]


def test_a_prediction_names_every_task_and_output(model_folder):
    predictions = outputs(ShippedModel(model_folder), TEXTS)
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
    predictions = outputs(ShippedModel(model_folder), TEXTS)
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
    learned = [p["regret"]["regret"] for p in outputs(ShippedModel(model_folder), TEXTS)]
    scales = {"regret": {"mean": [2003.0], "deviation": [7.5]}}
    model = shipped_with(model_folder, tmp_path / "model", "scales.json", scales)
    years = outputs(model, TEXTS)
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
        alone.append(outputs(model, TEXTS))
    tasks = {"emotion": 0, "verdict": 1, "tags": 1, "regret": 0}
    source = {"fusion": member_weights, "tasks": tasks}
    both = shipped_with(model_folder, tmp_path / "both", "recipe.json", source)
    for row, prediction in enumerate(outputs(both, TEXTS)):
        assert prediction == {task: alone[member][row][task] for task, member in tasks.items()}
    assert alone[0] != alone[1]


def test_a_text_is_predicted_the_same_alone_and_among_others(model_folder):
    model = ShippedModel(model_folder)
    for text, among in zip(TEXTS, outputs(model, TEXTS), strict=True):
        (alone,) = outputs(model, [text])
        for task, by_output in alone.items():
            assert by_output == pytest.approx(among[task], rel=1e-4)


def test_the_order_of_the_tasks_in_the_config_changes_no_prediction(model_folder, tmp_path):
    config = files.read_json(model_folder / "config.json")
    backwards = {**config, "tasks": dict(reversed(config["tasks"].items()))}
    model = shipped_with(model_folder, tmp_path / "model", "config.json", backwards)
    assert outputs(model, TEXTS) == outputs(ShippedModel(model_folder), TEXTS)


def test_a_value_and_its_interval_have_the_unit_of_the_data(model_folder, decided_folder):
    learned = [p["regret"]["value"] for p in ShippedModel(model_folder).predict(TEXTS)]
    for value, answer in zip(learned, ShippedModel(decided_folder).predict(TEXTS), strict=True):
        years = answer["regret"]
        assert years["value"] == pytest.approx(50 + 10 * value, rel=1e-12)
        assert (years["value"] - years["low"], years["high"] - years["value"]) == (
            pytest.approx((0.25, 0.25))
        )
        assert years["coverage"] == 0.9
        assert answer["tags"]["labels"] == ["money"]  # its threshold is 0, that of `family` 1


def test_an_older_folder_without_decisions_takes_even_thresholds_and_has_no_intervals(model_folder):
    assert "decisions" not in files.read_json(model_folder / "recipe.json")
    for answer in ShippedModel(model_folder).predict(TEXTS):
        shares = answer["tags"]["probabilities"]
        assert answer["tags"]["labels"] == [name for name in shares if shares[name] >= 0.5]
        assert answer["regret"]["low"] is answer["regret"]["coverage"] is None


def test_texts_are_encoded_as_training_encodes_them(model_folder, tokenizer_path, lexicon_path):
    """So that what is measured on test holds for what is predicted."""
    records, lexicon = [{"text": text} for text in (*TEXTS, "", " ")], load_lexicon(lexicon_path)
    expected = encode_part(records, (), tokenizer_path, 24, lexicon)
    found = ShippedModel(model_folder)._encoded([record["text"] for record in records])
    assert (found.vocab_size, found.max_tokens) == (expected.vocab_size, expected.max_tokens)
    for one, other in zip(found.ids, expected.ids, strict=True):
        np.testing.assert_array_equal(one, other)
    for name, array in vars(expected.ngrams).items():
        np.testing.assert_array_equal(getattr(found.ngrams, name), array)


def test_files_are_read_once(model_folder, monkeypatch):
    model = ShippedModel(model_folder)
    expected = model.predict(TEXTS)
    for name in ("tokenizer", "lexicon", "config", "recipe", "members", "scales"):
        monkeypatch.delattr(ModelFiles, name)
    assert model.predict(TEXTS) == expected


def test_threads_that_share_a_model_get_the_answers_of_their_own_texts(model_folder):
    """An ensemble loads one member after the other into one network."""
    model = ShippedModel(model_folder)
    expected = [model.predict([text]) for text in TEXTS] * 5
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: model.predict([text]), TEXTS * 5)) == expected


def test_the_number_of_torchs_threads_is_left_as_it_was(model_folder):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        ShippedModel(model_folder).predict(TEXTS)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_texts_may_be_of_any_kind_of_collection(model_folder):
    model = ShippedModel(model_folder)
    expected = model.predict(TEXTS)
    assert model.predict(np.array(TEXTS)) == expected
    assert model.predict(text for text in TEXTS) == list(model.stream(iter(TEXTS))) == expected
    assert model.predict([]) == []
    empty, full = model.predict_probabilities([]), model.predict_probabilities(TEXTS * 200)
    for task, names in model.classes.items():
        assert empty[task].shape == (0, len(names))
        assert full[task].shape == (200 * len(TEXTS), len(names))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("she lied", "expected a list of texts, got a single one; write [text]"),
        (["a", None], "text 1, counted from 0: expected a str, got NoneType (None)"),
        ([float("nan")], "text 0, counted from 0: expected a str, got float (nan)"),
        (["a", "b", " "], "text 2, counted from 0: empty text; leave it out"),
        ({"text": "she lied"}, "expected a list of texts, got dict; of a table, give one column"),
        ({"she lied"}, "expected a list of texts, got set; of a table, give one column"),
        (np.array([["a"]]), "expected a list of texts, got ndarray; of a table, give one column"),
        (np.array("a"), "expected a list of texts, got ndarray; of a table, give one column"),
        (None, "expected a list of texts, got NoneType; of a table, give one column"),
        (["half \ud83d"], "text 0, counted from 0: holds half of a character"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(model_folder, texts, message):
    for ask in (
        ShippedModel(model_folder).predict,
        ShippedModel(model_folder).predict_probabilities,
    ):
        with pytest.raises(UserError) as error:
            ask(texts)
        assert str(error.value) == message


def test_a_prediction_that_is_not_finite_is_told(decided_folder):
    model = ShippedModel(decided_folder)
    model._scales["regret"] = Scale(np.zeros(1), np.full(1, np.inf))
    with pytest.raises(UserError, match=r"a prediction of 'regret' is not finite; where its run"):
        model.predict(TEXTS)


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
            outputs(ShippedModel(copied), TEXTS)
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
        outputs(ShippedModel(copied), TEXTS)


@pytest.mark.parametrize("content", ["rubbish\n", f"{'0' * 64}  ../x\n", "\n", "\udcff"])
def test_hashes_that_cannot_be_read_are_told(copied, content):
    (copied / "SHA256SUMS").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"SHA256SUMS: .+; copy (it|the folder) again"):
        outputs(ShippedModel(copied), TEXTS)


def test_a_changed_card_is_told_and_its_model_predicts(copied, model_folder, capsys):
    (copied / "README.md").write_text("# mine")
    assert outputs(ShippedModel(copied), TEXTS) == outputs(ShippedModel(model_folder), TEXTS)
    said = "README.md: changed since the model shipped; no prediction depends on it, but"
    assert f"warning: {copied}/{said} what it says may be wrong\n" == capsys.readouterr().err


def test_a_folder_of_an_older_version_is_told_to_have_no_hashes_and_predicts(
    copied, model_folder, capsys
):
    (copied / "SHA256SUMS").unlink()
    assert outputs(ShippedModel(copied), TEXTS) == outputs(ShippedModel(model_folder), TEXTS)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {copied}: has no SHA256SUMS, as in older versions, so ")
    assert line.endswith("; where its run was made, the command of that run adds it")


def test_an_error_of_ours_is_a_traceback_where_hashes_vouch_for_the_folder(copied, monkeypatch):
    """Without hashes the folder may be what is wrong, and one line says so."""
    model = ShippedModel(copied)
    monkeypatch.setattr(ShippedModel, "_encoded", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.predict(TEXTS)
    with pytest.raises(ZeroDivisionError):
        ShippedModel(copied)
    (copied / "SHA256SUMS").unlink()
    with pytest.raises(
        UserError, match=r"its files do not fit together \(ZeroDivisionError: .+; copy"
    ):
        ShippedModel(copied)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (
            "recipe.json",
            {"fusion": [], "decisions": {"tags": 3}},
            "the decision of the task 'tags'",
        ),
        ("recipe.json", {"fusion": []}, "2 members, and the fusion of 0"),
        ("scales.json", {"regret": {"mean": 1}}, "the scale of 'regret'"),
        (
            "config.json",
            {"tasks": {"a": 3}, "model": {}, "train": {"max_tokens": 9}},
            "the task 'a'",
        ),
        ("config.json", {"tasks": {}, "model": {}, "train": {}}, "its JSON lacks a value"),
    ],
)
def test_json_of_another_shape_is_told_even_with_the_hash_of_it(
    model_folder, tmp_path, name, content, what
):
    with pytest.raises(UserError) as error:
        shipped_with(model_folder, tmp_path / "model", name, content)
    assert f"{tmp_path}/model/{name}: cannot be used ({what}); copy the whole folder" in str(
        error.value
    )


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
            outputs(ShippedModel(copied), TEXTS)
        assert str(copied) in str(error.value)
        assert "\n" not in str(error.value)
