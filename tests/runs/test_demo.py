"""The demo, end to end, once: the results of a newcomer's first command."""

import json
from itertools import combinations

import jsonschema
import numpy as np
import pytest
from project import ROOT, Project
from rapidfuzz import fuzz, process

from redheart.report.contents import report_files
from redheart.selection import checksums
from redheart.serving.model_files import CARD, NEEDED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("demo"))
    project.default_config()
    project.snakemake()
    return project


@pytest.fixture(scope="module")
def results(demo):
    return json.loads(demo.result("final_results.json").read_text())


def read(demo, path):
    return json.loads(demo.result(path).read_text())


def test_every_artefact_is_there(demo):
    for epoch in range(2, 61, 2):
        for name in (
            "epoch_{:03d}.pt",
            "epoch_{:03d}.json",
            "metrics_{:03d}.json",
            "steps_{:03d}.jsonl",
        ):
            assert demo.result(f"seed_0/ckpt/{name.format(epoch)}").is_file()
    for offset in (-4, -2, 0, 2, 4):
        assert demo.result(f"seed_0/variants/offset_{offset}.pt").is_file()
    for path in report_files(read(demo, "config.json")["tasks"], ["svg", "pdf", "png"]).values():
        assert demo.result(path).stat().st_size > 0
    assert checksums.differences(demo.result("model"), (*NEEDED, CARD)) == {}


def test_nothing_is_left_to_do(demo):
    done = demo.snakemake("--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_results_fit_their_schema(results):
    schema = json.loads((ROOT / "config/schemas/results.schema.json").read_text())
    jsonschema.validate(results, schema)
    assert list(results["candidates"]) == [
        "last",
        "best_single",
        "single_by_loss",
        "single_by_units",
        "ema_last",
        "ema",
        "uniform_soup",
        "greedy_soup",
        "uniform_soup_ema",
        "greedy_soup_ema",
        "per_task_best",
        "crossover",
        "crossover_units",
        "crossover_units_ema",
        "ascent",
        *(f"variant_{offset}" for offset in (0, -2, 2, -4, 4)),
        "variants_ensemble",
        "tfidf_linear",
    ]
    assert results["shipped"]["candidate"] != "tfidf_linear"
    assert all(0 <= c["test"]["macro"] <= 1 for c in results["candidates"].values())


def test_planted_duplicates_are_found(demo, results):
    truth = read(demo, "data/corpus_truth.json")
    removed = {pair["removed"] for pair in read(demo, "data/dedup_report.json")["removed_pairs"]}
    planted = [{entry["id"], entry["of"]} for entry in truth["duplicates"]]
    assert all(pair & removed for pair in planted)
    assert results["data"]["removed"] == len(planted)
    assert sum(results["data"]["parts"].values()) == results["data"]["kept"]


def test_the_model_learns_and_stays_below_the_ceiling(demo, results):
    truth = read(demo, "data/corpus_truth.json")
    shipped = results["candidates"][results["shipped"]["candidate"]]["test"]
    first, *later = (
        read(demo, path)["fused"]["raw"]["macro"]
        for path in sorted(demo.result("seed_0/ckpt").glob("metrics_*.json"))
    )
    assert max(later) > first + 0.05
    assert shipped["macro"] > first
    ceiling = sum(truth["ceilings"].values()) / len(truth["ceilings"])
    assert shipped["macro"] < ceiling + 0.05


def test_a_noisy_task_overfits_earlier_than_clean_ones(demo):
    """By the losses: the document's score, which wants stability too, may choose later."""
    groups = read(demo, "seed_0/sweet_spots.json")["groups"]

    def best_epoch(group):
        curve = groups[group]["curve"]
        return min(zip(curve["smoothed_val_loss"], curve["epochs"], strict=True))[1]

    assert best_epoch("advanced_regret") <= best_epoch("advanced_emotion") - 10
    assert best_epoch("advanced_regret") <= best_epoch("advanced_bentham") - 10


def test_the_split_leaks_nothing(demo):
    report = read(demo, "data/split_report.json")
    parts = ("train", "val_select", "val_confirm", "test")
    texts = {name: [r["text"] for r in read(demo, f"data/split/{name}.json")] for name in parts}
    highest = max(
        process.cdist(texts[first], texts[second], scorer=fuzz.ratio, dtype=np.float64).max() / 100
        for first, second in combinations(parts, 2)
    )
    leakage = report["leakage"]
    assert highest < leakage["audit_threshold"]
    expected = highest if highest >= leakage["searched_from"] else None
    assert leakage["highest_similarity_across_parts"] == expected


def test_the_manifest_names_its_weights(demo):
    from redheart.storage.tensors import hash_modules, load_tensors

    manifest = read(demo, "seed_0/ckpt/epoch_060.json")
    saved = load_tensors(demo.result("seed_0/ckpt/epoch_060.pt"))
    assert hash_modules(saved["weights"]) == manifest["weights"]
    assert hash_modules(saved["ema"]) == manifest["ema"]
    assert manifest["epoch"] == 60


def test_what_shipped_predicts(demo):
    from redheart.serving.shipped_model import ShippedModel

    (prediction,) = ShippedModel(demo.result("model")).predict(["My sister took my last umbrella."])
    assert sum(prediction["verdict"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert set(prediction) == {"emotion", "bentham", "regret", "surd", "verdict"}
