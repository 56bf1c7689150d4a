"""A trunk as it is imported: what is written of it, and what cannot serve as one."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec

import pytest
import torch

from redheart.encoding import tokens, trunk
from redheart.errors import UserError
from redheart.storage import files
from redheart.storage.tensors import load_tensors

needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="the extra `pretrained` is not installed"
)


def test_texts_are_cut_to_the_tokens_asked_for_special_ones_included(imported_bert):
    (ids,) = tokens.encode(imported_bert / "tokenizer", ["money " * 50], 12)
    assert ids.tolist() == [2, *[8] * 10, 3]


def test_importing_again_gives_the_same_bytes_and_tells_no_place(bert, imported_bert, tmp_path):
    shutil.copytree(bert, tmp_path / "elsewhere")
    trunk.import_trunk(str(tmp_path / "elsewhere"), 32, tmp_path)
    for name in ("config", "weights", "tokenizer"):
        assert (tmp_path / name).read_bytes() == (imported_bert / name).read_bytes()
    assert str(bert) not in (imported_bert / "config").read_text()


def test_what_is_written_is_the_model_without_its_pooler_and_no_version(
    transformers, bert, imported_bert
):
    model = transformers.AutoModel.from_pretrained(bert)
    parameters = {n: w for n, w in model.named_parameters() if not n.startswith("pooler.")}
    assert len(parameters) < len(list(model.parameters()))
    saved = load_tensors(imported_bert / "weights")
    assert set(saved) == set(parameters)
    assert all(torch.equal(saved[name], weight) for name, weight in parameters.items())
    written = files.read_json(imported_bert / "config")
    assert "transformers_version" not in written
    assert written["hidden_size"] == model.config.hidden_size


def test_the_files_of_a_folder_are_its_own_and_an_id_has_none(bert):
    read = {path.rpartition("/")[2] for path in trunk.source_files(str(bert))}
    assert read == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert trunk.source_files("bert-base-uncased") == []
    assert trunk.source_files("google/bert") == []


def edited(**changes):
    def edit(folder):
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, **changes}))

    return edit


def cut(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])


def as_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


REFUSED = {
    "no config": (lambda f: (f / "config.json").unlink(), "no model, it has no config.json"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "it has no tokenizer.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "it has no weights"),
    "pickle": (as_pickle, "its weights are a pickle, which may execute anything; save them"),
    "cut weights": (cut, r"cannot be loaded as a trunk \(Error while deserializing header"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "is not a valid JSON file"),
    "cut tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "cannot be loaded as"),
    "unknown type": (edited(model_type="nonsense"), "model type `nonsense`"),
    "nonsense": (edited(hidden_dropout_prob="much"), "cannot be loaded as a trunk"),
    "another width": (edited(hidden_size=32), "its weights and its config.json differ"),
    "more layers": (edited(num_hidden_layers=3), "its file lacks 16 of the trunk's weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_trunk_is_refused_in_one_line(bert, tmp_path, name):
    folder = tmp_path / "mine"
    shutil.copytree(bert, folder)
    change, message = REFUSED[name]
    change(folder)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message) as error:
        trunk.source_files(str(folder))
        trunk.import_trunk(str(folder), 32, tmp_path / "out")
    assert str(error.value).startswith(str(folder))
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_wants_a_second_text_is_refused(transformers, bert, tmp_path):
    shutil.copytree(bert, tmp_path / "t5")
    sizes = {"vocab_size": 16, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_heads": 2}
    transformers.T5Model(transformers.T5Config(num_layers=1, **sizes)).save_pretrained(
        tmp_path / "t5"
    )
    with pytest.raises(UserError, match="a t5 is no encoder of texts"):
        trunk.import_trunk(str(tmp_path / "t5"), 32, tmp_path)


def test_texts_longer_than_the_trunk_reads_are_refused(bert, tmp_path):
    with pytest.raises(UserError, match=r"train\.max_tokens: 65 is more than the 64 tokens"):
        trunk.import_trunk(str(bert), 65, tmp_path)


@needs_transformers
@pytest.mark.parametrize(
    "name", ["./absent", "/absent", "a/b/c", "models/absent", "a\\b", __file__]
)
def test_a_missing_folder_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(UserError, match="there is no such folder"):
        trunk.source_files(name)


def test_an_id_that_cannot_be_had_is_named(transformers, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"^nobody/nothing: cannot be loaded as a trunk \("):
        trunk.import_trunk("nobody/nothing", 32, tmp_path)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(trunk, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="takes the package transformers; install it"):
        trunk.source_files("anything")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="takes the package transformers; install it"):
        trunk.library()


def test_a_part_remembers_the_trunk_that_learns_on_it(trunk_part, tmp_path):
    tokens.save_encoded(tmp_path / "part.npz", trunk_part)
    encoded = tokens.load_encoded(tmp_path / "part.npz")
    assert encoded.trunk == trunk_part.trunk
    assert encoded.head(3).trunk == trunk_part.trunk
