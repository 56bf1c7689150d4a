"""Tiny real things that several test files share: forty records, four tasks, a two-layer model."""

from __future__ import annotations

import os
import shutil

# As the workflow sets it, and before anything imports torch.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # Each worker has cores of its own: threads that share one with others' wait for each other.
    # Before anything imports numpy, which starts as many threads as there are cores.
    worker, workers = os.environ["PYTEST_XDIST_WORKER"], os.environ["PYTEST_XDIST_WORKER_COUNT"]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) % len(cores) :: int(workers)])

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from project import finished_project

from redheart.encoding import tokens
from redheart.encoding.lexicon import LexiconOptions, fit_lexicon, load_lexicon, save_lexicon
from redheart.recipe.model_options import ModelOptions
from redheart.recipe.training_options import Recipe, TrainOptions
from redheart.selection import checksums
from redheart.storage import files
from redheart.tasks.task import Task

# An example that takes long on a busy machine is no failure, and neither is one that is slowly made.
settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")

LONGEST = ("workflow", "demo", "rebuild", "halving_workflow")


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, then those that hold slow tests.

    The quick ones fill the last minute of whichever worker comes first to its end.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (order.get(item.path.name, len(order)), item.path not in slow))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project whose run is finished, the same one for all workers: to be read or copied."""
    folder = tmp_path_factory.getbasetemp()
    return finished_project(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


TEXT = "she lied about the money and I told him why nobody came 그는 돈을 빌려 갔다 😀 to dinner"


@pytest.fixture(scope="session")
def tasks():
    """One task of each kind; `emotion` has the signal chain, and `regret` an advanced analyzer."""
    return (
        Task("emotion", "distribution", "emotions", ("joy", "anger", "fear")),
        Task("verdict", "multiclass", "label", ("AUTHOR", "OTHER", "NOBODY"), weight=2.0),
        Task("tags", "multilabel", "tags", ("money", "family")),
        Task("regret", "regression", "regret_factor"),
    )


@pytest.fixture(scope="session")
def records(tasks):
    """Forty records of 3 to 30 words; every task lacks its label in some of them."""
    rng, words, found = np.random.default_rng(7), TEXT.split(), []
    for i in range(40):
        record = {
            "id": f"r{i}",
            "text": " ".join(rng.choice(words, rng.integers(3, 31))),
            "emotions": rng.dirichlet(np.ones(3)).tolist(),
            "label": str(rng.choice(tasks[1].classes)),
            "tags": [tag for tag in tasks[2].classes if rng.random() < 0.5],
            "regret_factor": float(rng.random()),
        }
        missing = tasks[i % 5].field if i % 5 < len(tasks) and i % 2 else None
        found.append({key: value for key, value in record.items() if key != missing})
    return found


@pytest.fixture(scope="session")
def tokenizer_path(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(tokens.train_tokenizer([r["text"] for r in records], 300), "utf-8")
    return path


@pytest.fixture(scope="session")
def lexicon_path(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.npz"
    options = LexiconOptions(features=100)
    save_lexicon(path, fit_lexicon([r["text"] for r in records], options))
    return path


@pytest.fixture(scope="session")
def part(records, tasks, tokenizer_path, lexicon_path):
    """The forty records, encoded."""
    return tokens.encode_part(records, tasks, tokenizer_path, 24, load_lexicon(lexicon_path))


@pytest.fixture(scope="session")
def recipe(tasks):
    """Three optimizer steps an epoch, of two micro-batches of eight texts, on one thread."""
    return Recipe(
        tasks,
        ModelOptions(dimension=16, layers=2, attention_heads=2, feedforward=32),
        TrainOptions(
            schedule_epochs=4,
            batch_size=8,
            grad_accumulation=2,
            precision="fp32",
            device="cpu",
            cpu_threads=1,
        ),
    )


@pytest.fixture(scope="session")
def members(recipe, part):
    """Two networks that ship together, with lexical branches that say something."""
    import torch

    from redheart.training.state import prepare

    networks = [prepare(recipe, part, 1e-3, seed).network for seed in (0, 1)]
    generator = torch.Generator().manual_seed(0)
    for name, weight in (pair for network in networks for pair in network.named_parameters()):
        if name.startswith("lexical_"):
            torch.nn.init.normal_(weight, generator=generator)
    return networks


@pytest.fixture(scope="session")
def shipped_config(tasks, recipe):
    """What of the config it takes to predict."""
    own = {"kind", "field", "classes"}
    return {
        "tasks": {t.name: {k: v for k, v in vars(t).items() if k in own and v} for t in tasks},
        "model": {key: value for key, value in vars(recipe.model).items() if value is not None},
        "train": {"max_tokens": 24, "device": "cpu", "cpu_threads": 1, "epochs": 60},
    }


@pytest.fixture(scope="session")
def member_weights(members, recipe, part):
    """The fusion's weights in each of the two networks."""
    from redheart.evaluation.fusion import fit_weights
    from redheart.evaluation.inference import contributions

    each = [contributions(network, part, recipe.train) for network in members]
    return [fit_weights(recipe.tasks, given, part.targets) for given in each]


@pytest.fixture(scope="session")
def model_folder(
    members, member_weights, shipped_config, tokenizer_path, lexicon_path, tmp_path_factory
):
    """A folder as a run ships it: an ensemble of the two members."""
    from redheart.model.states import module_states
    from redheart.storage.tensors import save_tensors

    folder = tmp_path_factory.mktemp("model")
    states = [module_states(network) for network in members]
    save_tensors(folder / "weights.pt", {"members": states})
    files.write_hash(folder / "weights.pt", files.sha256_file(folder / "weights.pt"))
    shutil.copy(tokenizer_path, folder / "tokenizer.json")
    shutil.copy(lexicon_path, folder / "lexicon.npz")
    files.write_json(folder / "config.json", shipped_config)
    files.write_json(folder / "recipe.json", {"fusion": member_weights})
    (folder / "README.md").write_text("# demo\n")
    checksums.write_checksums(folder / checksums.CHECKSUMS, folder.iterdir())
    return folder


DECISIONS = {
    "emotion": {"kind": "distribution"},
    "verdict": {"kind": "multiclass"},
    "tags": {"kind": "multilabel", "thresholds": {"money": 0.0, "family": 1.0}},
    "regret": {"kind": "regression", "coverage": 0.9, "half_width": {"regret": 0.25}},
}


@pytest.fixture(scope="session")
def decided_folder(model_folder, tmp_path_factory):
    """A model's folder whose recipe holds decisions, and whose regression has a unit."""
    folder = shutil.copytree(model_folder, tmp_path_factory.mktemp("decided") / "model")
    recipe = files.read_json(folder / "recipe.json")
    files.write_json(folder / "recipe.json", {**recipe, "decisions": DECISIONS})
    files.write_json(folder / "scales.json", {"regret": {"mean": [50.0], "deviation": [10.0]}})
    listed = {*checksums.read_checksums(folder), "scales.json"}
    checksums.write_checksums(folder / checksums.CHECKSUMS, [folder / name for name in listed])
    return folder


BERT_TOKENS = 64
WORDS = ["she", "lied", "about", "the", "money", "and", "i", "told", "him", "why", "nobody", "came"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


@pytest.fixture(scope="session")
def transformers():
    return pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")


@pytest.fixture(scope="session")
def bert(transformers, tmp_path_factory):
    """The folder of a random BERT of two layers with its tokenizer, as `save_pretrained` writes it."""
    import torch
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
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", model_max_length=BERT_TOKENS
    ).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = transformers.BertConfig(
        vocab_size=len(vocabulary),
        intermediate_size=32,
        max_position_embeddings=BERT_TOKENS,
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def imported_bert(bert, tmp_path_factory):
    """The trunk of this folder, imported into a run."""
    from redheart.encoding import trunk

    folder = tmp_path_factory.mktemp("trunk")
    trunk.import_trunk(str(bert), BERT_TOKENS, folder)
    files.write_hash(folder / "weights", files.sha256_file(folder / "weights"))
    return folder


@pytest.fixture(scope="session")
def trunk_part(imported_bert, records, tasks):
    """The forty records as a trunk that learns reads them."""
    settings = files.read_json(imported_bert / "config")
    return tokens.encode_part(records, tasks, imported_bert / "tokenizer", 24, trunk=settings)
