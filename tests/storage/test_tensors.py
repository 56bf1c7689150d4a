"""Checkpoints: nothing in a file is executed, nothing foreign is loaded, every bit is hashed."""

from __future__ import annotations

import pickle
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from redheart.encoding.tokens import PartSizes
from redheart.errors import UserError
from redheart.model.network import build_network
from redheart.model.states import module_states
from redheart.recipe.model_options import ModelOptions
from redheart.selection import checksums
from redheart.serving.shipped_model import ShippedModel
from redheart.storage import files
from redheart.storage.tensors import hash_modules, load_tensors, parameter_statistics, save_tensors

SIZES = ModelOptions(dimension=8, layers=1, attention_heads=2, feedforward=8)


def build(tasks, seed=0, **sizes):
    options = ModelOptions(**{**vars(SIZES), **sizes})
    return build_network(options, tasks, PartSizes(vocab_size=20, max_tokens=8), seed)


@pytest.fixture
def states():
    return {
        "backbone": {"w": torch.tensor([[1.0, -2.0], [0.0, 4.0]]), "b": torch.zeros(3)},
        "dsp": {"scale": torch.tensor(0.5), "half": torch.ones(2, dtype=torch.bfloat16)},
    }


# --- files ----------------------------------------------------------------------------------


def test_tensors_and_plain_values_come_back(tmp_path, states):
    path = tmp_path / "a.pt"
    value = {"weights": states, "epoch": 4, "list": [1, 2.5, None, "글", torch.arange(3)]}
    save_tensors(path, value)
    loaded = load_tensors(path)
    assert loaded["epoch"] == 4
    assert loaded["list"][:4] == [1, 2.5, None, "글"]
    assert hash_modules(loaded["weights"]) == hash_modules(states)
    assert loaded["weights"]["dsp"]["half"].dtype == torch.bfloat16


def test_the_bytes_depend_on_the_content_and_not_on_the_name(tmp_path, states):
    save_tensors(tmp_path / "a.pt", states)
    save_tensors(tmp_path / "folder" / "other_name.pt", states)
    assert files.sha256_file(tmp_path / "a.pt") == files.sha256_file(
        tmp_path / "folder" / "other_name.pt"
    )


def test_equal_content_has_equal_bytes_wherever_it_came_from(tmp_path):
    for name, key in (("a.pt", "step"), ("b.pt", "".join(["st", "ep"]))):
        value = {"step": 3, "groups": [{key: torch.tensor(3.0)}, {key: torch.tensor(4.0)}]}
        save_tensors(tmp_path / name, value)
    save_tensors(tmp_path / "c.pt", load_tensors(tmp_path / "b.pt"))
    assert len({files.sha256_file(path) for path in tmp_path.iterdir()}) == 1


def test_saving_detaches_from_the_graph(tmp_path, tasks):
    network = build(tasks)
    save_tensors(tmp_path / "a.pt", {"p": next(network.parameters())})
    assert not load_tensors(tmp_path / "a.pt")["p"].requires_grad


class Intruder:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_a_file_that_would_execute_something_is_refused_unexecuted(tmp_path, write):
    path, made = tmp_path / "evil.pt", tmp_path / "made"
    write({"weights": Intruder(made)}, path)
    with pytest.raises(UserError, match=r"evil\.pt: .+; Red Heart never unpickles such a") as error:
        load_tensors(path)
    assert not made.exists()
    # Torch's message would advise to read the file unsafely.
    assert "weights_only" not in str(error.value) and "torch.load" not in str(error.value)
    # The trap works where a file is unpickled.
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert made.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pt: the file is missing"):
        load_tensors(tmp_path / "absent.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"a\.pt: .*to rebuild it, `rm .*` and run the same command again"
    ):
        load_tensors(path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, states, share):
    path = tmp_path / "a.pt"
    save_tensors(path, states)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"is cut off or damaged|is no file of tensors"):
        load_tensors(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_flipped_bit_never_ends_in_a_traceback(tmp_path, states):
    path = tmp_path / "a.pt"
    save_tensors(path, states)
    whole, generator = path.read_bytes(), random.Random(0)
    structure = whole.index(b"data/0")  # the tensors' bytes follow; a hash covers those
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[generator.randrange(structure)] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            load_tensors(path)
        except UserError:
            refused += 1
    assert refused > 50


# --- hashes and statistics ------------------------------------------------------------------


def test_a_hash_covers_every_bit_name_type_and_shape(states):
    before = hash_modules(states)["backbone"]
    weight, bias = states["backbone"]["w"], states["backbone"]["b"]
    flipped = weight.clone()
    flipped.view(torch.int32)[1, 0] ^= -(2**31)  # 0.0 becomes -0.0, which is equal to it
    assert torch.equal(flipped, weight)
    for changed in (
        {"w": flipped, "b": bias},
        {"w": weight.T.contiguous(), "b": bias},
        {"w": weight.reshape(4), "b": bias},
        {"w": weight.double(), "b": bias},
        {"v": weight, "b": bias},
        {"w": weight},
    ):
        assert hash_modules({"backbone": changed})["backbone"] != before


def test_a_hash_does_not_depend_on_memory_layout_or_order(states):
    weight, bias = states["backbone"]["w"], states["backbone"]["b"]
    same = {"backbone": {"b": bias.clone(), "w": weight.T.contiguous().T}}
    assert hash_modules(same)["backbone"] == hash_modules(states)["backbone"]


def test_one_modules_hash_does_not_depend_on_another(states):
    before = hash_modules(states)
    states["dsp"]["scale"] = torch.tensor(0.25)
    after = hash_modules(states)
    assert after["backbone"] == before["backbone"]
    assert after["dsp"] != before["dsp"]


def test_statistics_equal_those_of_numpy(tasks):
    network = build(tasks)
    states = module_states(network)
    statistics = parameter_statistics(states)
    assert set(statistics) == set(states)
    for module, state in states.items():
        flat = np.concatenate([value.double().numpy().ravel() for value in state.values()])
        expected = {
            "mean": flat.mean(),
            "std": flat.std(),
            "norm": np.linalg.norm(flat),
            "sparsity": (flat == 0).mean(),
            "count": flat.size,
        }
        assert statistics[module] == pytest.approx(expected, rel=1e-9, abs=1e-12), module


def test_nothing_in_the_project_unpickles():
    root = Path(__file__).parents[2]
    sources = [
        path for name in ("redheart", "scripts", "rules") for path in (root / name).rglob("*")
    ]
    for path in sorted(p for p in sources if p.suffix in (".py", ".smk")):
        text = path.read_text("utf-8")
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, path
        for call in re.findall(r"np\.load\([^)]*\)", text):
            assert "allow_pickle=False" in call, path
        assert not re.search(r"pickle\.loads?\(|allow_pickle=True|joblib|\bdill\b", text), path


def test_a_model_folder_with_a_malicious_file_is_refused_unexecuted(model_folder, tmp_path):
    folder, made = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "made"
    torch.save({"members": Intruder(made)}, folder / "weights.pt")
    with pytest.raises(UserError, match=r"SHA256SUMS: weights\.pt \(changed\)"):
        ShippedModel(folder).predict(["a text"])
    files.write_hash(folder / "weights.pt", files.sha256_file(folder / "weights.pt"))
    names = checksums.read_checksums(folder)
    checksums.write_checksums(folder / checksums.CHECKSUMS, [folder / name for name in names])
    with pytest.raises(UserError, match=r"weights\.pt: .+; Red Heart never unpickles such a file"):
        ShippedModel(folder).predict(["a text"])
    assert not made.exists()
