"""A stitched file: each module of its epoch, and from no file that the run did not make."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from redheart.crossover import candidate_predictions, stitching
from redheart.crossover.stitch_recipe import make_recipe
from redheart.errors import UserError
from redheart.storage import files
from redheart.storage.tensors import hash_modules, load_tensors, save_tensors


def stitch_recipe(saved):
    manifests = {
        epoch: {"weights": hash_modules(load_tensors(path)["weights"])}
        for epoch, path in zip((2, 4), saved, strict=True)
    }
    modules = list(manifests[2]["weights"])
    groups = {"A": [m for m in modules if m == "backbone" or m.startswith("heads.")]}
    groups["rest"] = [m for m in modules if m not in groups["A"]]
    return make_recipe({"A": 2, "rest": 4}, groups, manifests)


def test_a_stitched_file_holds_each_module_of_its_epoch(saved, tmp_path):
    recipe = stitch_recipe(saved)
    stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    hashes = hash_modules(load_tensors(tmp_path / "optimal.pt")["weights"])
    assert hashes == {name: source["sha256"] for name, source in recipe["modules"].items()}


def test_the_hash_of_the_file_is_returned_and_averages_are_stitched_as_weights(saved, tmp_path):
    recipe = {**stitch_recipe(saved), "source": "ema"}
    done = stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    assert done == files.sha256_file(tmp_path / "optimal.pt")
    assert done == stitching.write_stitched(tmp_path / "again.pt", recipe, saved[::-1])


def test_what_is_not_taken_may_be_damaged(saved, tmp_path):
    recipe = stitch_recipe(saved)
    assert recipe["modules"]["backbone"]["epoch"] == 2
    flip(Path(saved[1]))
    stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    hashes = hash_modules(load_tensors(tmp_path / "optimal.pt")["weights"])
    assert hashes["backbone"] == recipe["modules"]["backbone"]["sha256"]


def test_a_checkpoint_that_lacks_a_module_is_none(saved, tmp_path):
    recipe = stitch_recipe(saved)
    lacking = load_tensors(saved[0])
    del lacking["weights"]["backbone"]
    save_tensors(saved[0], lacking)
    with pytest.raises(UserError, match=r"epoch_002\.pt: no checkpoint; .*rm"):
        stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)


def test_a_damaged_module_is_not_stitched(saved, tmp_path):
    recipe = stitch_recipe(saved)
    damaged = load_tensors(saved[0])
    damaged["weights"]["backbone"] = {
        name: value + 1 for name, value in damaged["weights"]["backbone"].items()
    }
    save_tensors(saved[0], damaged)
    with pytest.raises(UserError, match=r"epoch_002\.pt: module backbone is damaged"):
        stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    assert not (tmp_path / "optimal.pt").exists()


class Intruder:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def flip(path):
    content = bytearray(path.read_bytes())
    weight = load_tensors(path)["weights"]["backbone"]["layers.0.feedforward.widen.weight"]
    content[content.index(weight.numpy().tobytes()) + 7] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "foreign": lambda path: torch.save({"weights": {}}, path),
    "another": lambda path: shutil.copy(path.with_name("epoch_004.pt"), path),
    "malicious": lambda path: torch.save(Intruder(path.with_name("made")), path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Intruder(path.with_name("made")))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_no_reader_takes_another_file_for_a_checkpoint(saved, tmp_path, damage):
    recipe, path = stitch_recipe(saved), Path(saved[0])
    damage(path)
    readers = (
        lambda: candidate_predictions.loader(saved)(2),
        lambda: candidate_predictions.load_members([(saved[1], "ema"), (saved[0], "weights")]),
        lambda: stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved),
    )
    for read in readers:
        with pytest.raises(UserError) as error:
            read()
        assert str(error.value).startswith(f"{path}: ")
        assert f"`rm {path}` and run the same command again" in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "optimal.pt").exists()


def test_a_pickle_with_the_right_hash_is_not_executed_either(saved, tmp_path):
    torch.save({"weights": Intruder(tmp_path / "made")}, saved[0])
    files.write_hash(saved[0], files.sha256_file(saved[0]))
    with pytest.raises(UserError, match="Red Heart never unpickles such a file"):
        candidate_predictions.loader(saved)(2)
    assert not (tmp_path / "made").exists()
