"""A folder of one network as `ship_model` writes it, and what of its results a card tells."""

from __future__ import annotations

import shutil

from redheart.model.states import module_states
from redheart.selection import checksums
from redheart.storage import files
from redheart.storage.tensors import save_tensors

DECISIONS = {
    "candidate": "greedy_soup",
    "seed": 0,
    "tasks": {
        "emotion": {"kind": "distribution"},
        "verdict": {"kind": "multiclass"},
        "tags": {"kind": "multilabel", "thresholds": {"money": 0.31}, "positives": {"money": 12}},
        "regret": {"kind": "regression", "coverage": 0.9, "half_width": {"regret": 0.25}},
    },
}
SCALES = {"regret": {"mean": [1.7e12], "deviation": [0.5]}}


def ship(folder, network, weights, config, tokenizer, lexicon):
    """Write a folder as `ship_model` does."""
    folder.mkdir(parents=True)
    save_tensors(folder / "weights.pt", {"members": [module_states(network)]})
    files.write_hash(folder / "weights.pt", files.sha256_file(folder / "weights.pt"))
    shutil.copy(tokenizer, folder / "tokenizer.json")
    shutil.copy(lexicon, folder / "lexicon.npz")
    files.write_json(folder / "config.json", config)
    recipe = {"candidate": "greedy_soup", "seed": 0, "fusion": [weights], "decisions": DECISIONS}
    files.write_json(folder / "recipe.json", recipe)
    files.write_json(folder / "scales.json", SCALES)
    (folder / "README.md").write_text("# demo\n")
    seal(folder)
    return folder


def seal(folder):
    """Write the hashes of a folder anew."""
    (folder / checksums.CHECKSUMS).unlink(missing_ok=True)
    checksums.write_checksums(
        folder / checksums.CHECKSUMS, [path for path in folder.rglob("*") if path.is_file()]
    )


def results():
    """What of final_results.json a card tells."""
    scores = {
        "verdict": {"macro_f1": 0.61234, "accuracy": 0.7},
        "regret": {"r2": None, "mean_absolute_error": 0.2},
    }
    return {
        "run": "demo",
        "data": {"parts": {"test": 1234}},
        "baseline_sentence": "The model beats TF-IDF + linear.",
        "shipped": {"candidate": "greedy_soup", "seed": 0},
        "candidates": {"greedy_soup": {"test": {"macro": 0.5, "tasks": scores}}},
    }
