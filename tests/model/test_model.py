"""The network: shapes, isolation of the modules, independence of padding, the signal chain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn
from torch.nn import functional as F

from redheart.encoding.batch import Batch
from redheart.encoding.tokens import PartSizes
from redheart.errors import UserError
from redheart.model.backbone import Backbone, Features, rotate, rotation_table
from redheart.model.network import Network, activate, build_network, fuse
from redheart.model.signal import band_envelopes, kalman_filter, segment_means, smooth
from redheart.recipe.model_options import ModelOptions, module_names, resolve
from redheart.tasks.task import Task

EMOTION = Task("emotion", "distribution", "emotions", tuple("abcdefg"))
BENTHAM = Task("bentham", "regression", "bentham_scores", tuple("abcd"))
REGRET = Task("regret", "regression", "regret_factor")
SURD = Task("surd", "regression", "surd_metrics", tuple("abcd"))
VERDICT = Task("verdict", "multiclass", "label", tuple("abcde"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y", "z"))
TASKS = (EMOTION, BENTHAM, REGRET, SURD, VERDICT)

VOCABULARY, LONGEST, LEXICON = 50, 24, 40


def tiny(tasks=TASKS, seed=0, **options) -> Network:
    """A network whose lexical branches are past their start, where all of them say 0."""
    network = build_network(
        ModelOptions(**options), tasks, PartSizes(VOCABULARY, LONGEST, LEXICON), seed
    )
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if name.startswith("lexical_"):
            nn.init.normal_(weight, generator=generator)
    return network


def texts(*lengths: int, padded_to: int | None = None) -> Batch:
    """Random ids and n-grams, the same for the same lengths, and a mask."""
    width = padded_to or max(lengths)
    generator = torch.Generator().manual_seed(1)
    ids = torch.zeros(len(lengths), width, dtype=torch.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(1, VOCABULARY, (length,), generator=generator)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    ngrams = torch.randint(LEXICON, ids.shape, generator=generator)
    return Batch(ids, mask, ngrams, torch.rand(ids.shape, generator=generator) * mask)


def flat(contributions) -> dict[str, torch.Tensor]:
    return {name: value for part in contributions.values() for name, value in part.items()}


# --- which modules there are ----------------------------------------------------------------


def test_modules_follow_from_tasks_and_preset():
    assert module_names(ModelOptions(), TASKS) == (
        "backbone",
        *(f"heads.{task.name}" for task in TASKS),
        *(f"neural_{task.name}" for task in TASKS),
        "dsp",
        "kalman",
        "advanced_emotion",
        "advanced_regret",
        "advanced_bentham",
        *(f"lexical_{task.name}" for task in TASKS),
    )


def test_a_lexical_branch_takes_a_lexicon_and_the_will():
    def branches(lexicon_size=9, **options):
        return resolve(ModelOptions(**options), TASKS, VOCABULARY, LONGEST, lexicon_size).lexical

    everywhere = tuple(task.name for task in TASKS)
    assert branches() == branches(preset="small") == everywhere
    assert branches(lexical=False) == branches(lexicon_size=0) == ()
    assert branches(preset="730m") == ()
    assert branches(preset="730m", lexical=True) == everywhere


def test_the_signal_chain_serves_the_first_distribution():
    mood = Task("mood", "distribution", "mood", ("x", "y"))
    assert resolve(ModelOptions(), (REGRET, mood, EMOTION), 9, 9).signal_task == "mood"


def test_overrides_replace_what_the_preset_says():
    options = ModelOptions(
        preset="small", dimension=32, layers=1, dropout=0.0, advanced=("surd",), signal=False
    )
    architecture = resolve(options, TASKS, VOCABULARY, LONGEST)
    assert architecture.backbone.dimension == 32
    assert architecture.backbone.layers == 1
    assert architecture.backbone.feedforward == 1024
    assert architecture.dropout == 0.0
    assert list(architecture.advanced) == ["surd"]
    assert architecture.signal_task is None


@pytest.mark.parametrize(
    ("options", "tasks", "message"),
    [
        ({"preset": "tinny"}, TASKS, r"model.preset: .*'tinny'; did you mean 'tiny'"),
        ({"advanced": ("emotoin",)}, TASKS, r"model.advanced: .*'emotoin'.* 'emotion'"),
        ({"signal": True}, (TAGS,), "model.signal: .*distribution"),
        ({"dimension": 30, "attention_heads": 4}, TASKS, "model.dimension: 30 .*multiple of 8"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, tasks, message):
    with pytest.raises(UserError, match=message):
        resolve(ModelOptions(**options), tasks, VOCABULARY, LONGEST)


MILLIONS_OF_THE_730M_PRESET = {
    "backbone": 90,
    "heads": 153,
    "dsp": 14,
    "kalman": 2.3,
    "advanced": 112,
    "neural_emotion": 122,
    "neural_bentham": 78,
    "neural_regret": 154,
    "neural_surd": 13.5,
}


def test_the_730m_preset_has_the_sizes_of_the_plan():
    tasks = (EMOTION, BENTHAM, REGRET, SURD)
    with torch.device("meta"):
        network = Network(resolve(ModelOptions(preset="730m"), tasks, 32_000, 512), tasks)
    counts = dict.fromkeys(MILLIONS_OF_THE_730M_PRESET, 0.0)
    for name, module in network.modules_by_name().items():
        row = name.split(".")[0] if name.startswith("heads") else name
        row = "advanced" if row.startswith("advanced") else row
        counts[row] += sum(parameter.numel() for parameter in module.parameters()) / 1e6
    assert counts == pytest.approx(MILLIONS_OF_THE_730M_PRESET, rel=0.03)


# --- what the network returns ---------------------------------------------------------------


def test_contributions_have_the_width_of_their_task():
    network = tiny()
    contributions = network(texts(5, 9, 2))
    assert list(contributions) == [task.name for task in TASKS]
    for task in TASKS:
        assert {value.shape for value in contributions[task.name].values()} == {(3, task.width)}
    assert set(flat(contributions)) == set(network.architecture.module_names) - {"backbone"}
    assert list(contributions["emotion"]) == [
        "heads.emotion",
        "neural_emotion",
        "dsp",
        "kalman",
        "advanced_emotion",
        "lexical_emotion",
    ]


def test_one_multilabel_task_needs_no_other_module():
    contributions = tiny((TAGS,))(texts(4, 4))
    assert list(contributions["tags"]) == ["heads.tags", "neural_tags", "lexical_tags"]


def test_a_text_may_be_one_token_or_the_longest():
    for length in (1, LONGEST):
        values = flat(tiny()(texts(length)))
        assert all(value.isfinite().all() for value in values.values())


def test_a_batch_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match=f"{LONGEST + 1} tokens"):
        tiny()(texts(LONGEST + 1))


def test_padding_changes_nothing():
    network = tiny().eval()
    batch = texts(7, 3)
    views = {name: view for name, view in vars(batch).items() if torch.is_tensor(view)}
    wider = {name: F.pad(view, (0, LONGEST - 7)) for name, view in views.items()}
    short, long = flat(network(batch)), flat(network(Batch(**wider)))
    for name, value in short.items():
        torch.testing.assert_close(long[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_padding_ids_are_never_read():
    network = tiny().eval()
    batch = texts(7, 3, padded_to=12)
    ids, ngrams = (torch.where(batch.mask, view, 17) for view in (batch.ids, batch.ngrams))
    changed = replace(batch, ids=ids, ngrams=ngrams)
    before, after = flat(network(batch)), flat(network(changed))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_order_of_the_tokens_matters():
    network = tiny().eval()
    batch = texts(8)
    before = flat(network(batch))
    after = flat(network(replace(batch, ids=batch.ids.flip(1))))
    unchanged = {name for name in before if torch.allclose(before[name], after[name], atol=1e-7)}
    assert unchanged == {f"lexical_{task.name}" for task in TASKS}


def test_a_doubled_batch_gives_two_draws_in_training_and_copies_in_evaluation():
    network = tiny()
    batch = texts(6, 4, 8)
    doubled = batch.doubled()
    torch.manual_seed(3)
    for name, value in flat(network.train()(doubled)).items():
        # A lexical branch has no dropout.
        assert torch.allclose(value[:3], value[3:]) == name.startswith("lexical_"), name
    single = flat(network.eval()(batch))
    for name, value in flat(network(doubled)).items():
        torch.testing.assert_close(value, single[name].repeat(2, 1), rtol=1e-4, atol=1e-6)


def test_without_dropout_training_computes_what_evaluation_does():
    network = tiny(dropout=0.0)
    batch = texts(6, 4)
    trained, clean = flat(network.train()(batch)), flat(network.eval()(batch))
    assert all(torch.equal(trained[name], clean[name]) for name in clean)


def test_mixed_precision_stays_finite():
    network = tiny().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = flat(network(texts(6, 4)))
    sum(value.float().square().sum() for value in values.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


# --- initial weights ------------------------------------------------------------------------


def test_initial_weights_follow_from_the_seed_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = tiny(seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    again, reseeded = tiny(seed=5).state_dict(), tiny(seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = "backbone.embedding.weight"
    assert not torch.equal(first[drawn], reseeded[drawn])


# --- gradients ------------------------------------------------------------------------------


def test_each_module_learns_from_its_own_loss_alone():
    network = tiny().train()
    contributions = flat(network(texts(6, 9, 4)))
    for name, contribution in contributions.items():
        network.zero_grad()
        contribution.square().sum().backward(retain_graph=True)
        learning = {
            module
            for module, part in network.modules_by_name().items()
            if any(p.grad is not None and p.grad.any() for p in part.parameters())
        }
        assert learning == ({"backbone", name} if name.startswith("heads.") else {name})


def test_a_lexical_branch_is_the_linear_model_of_its_ngrams():
    batch = texts(6, 9, 4)
    network = tiny()
    rows = torch.zeros(3, LEXICON).scatter_add_(1, batch.ngrams, batch.ngram_values)
    for name, value in flat(network(batch)).items():
        if name.startswith("lexical_"):
            branch = network.modules_by_name()[name]
            expected = rows @ branch.weight + branch.bias
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


def test_a_lexical_branch_learns_from_both_passes_of_a_doubled_batch():
    """Its n-grams come once; outputs and gradients are those of reading them twice."""
    batch, passes = texts(6, 9, 4), []
    read_twice = replace(
        batch.doubled(),
        ngrams=torch.cat([batch.ngrams] * 2),
        ngram_values=torch.cat([batch.ngram_values] * 2),
    )
    for doubled in (batch.doubled(), read_twice):
        network = tiny().train()
        value = network(doubled)["verdict"]["lexical_verdict"]
        # The passes pull differently, as R-Drop's divergence of other modules would make them.
        (value * torch.arange(value.numel()).view_as(value)).sum().backward()
        passes.append((value, network.modules_by_name()["lexical_verdict"].weight.grad))
    (once, gradient), (twice, expected) = passes
    assert torch.equal(once, twice)
    assert gradient.any()
    torch.testing.assert_close(gradient, expected)


def test_every_parameter_learns():
    network = tiny().train()
    sum(value.square().sum() for value in flat(network(texts(6, 9, 4))).values()).backward()
    idle = [name for name, p in network.named_parameters() if not p.grad.any()]
    assert idle == []


@pytest.mark.slow
def test_every_module_can_overfit():
    tasks = (EMOTION,)
    # The lexical branch has an optimizer of its own, with tests of its own.
    network = tiny(tasks, lexical=False).train()
    batch = texts(*range(5, 17))
    target = torch.arange(len(batch.ids)) % EMOTION.width
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(50):
        losses = {n: F.cross_entropy(v, target) for n, v in flat(network(batch)).items()}
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    values = flat(network.eval()(batch))
    accuracy = {n: (v.argmax(-1) == target).float().mean().item() for n, v in values.items()}
    assert min(accuracy.values()) > 0.8, accuracy


# --- the backbone's interface ---------------------------------------------------------------


def test_depth_counts_the_embedding_as_the_first_layer_and_the_norm_as_the_last():
    backbone = tiny(layers=3).backbone
    depths = {name: backbone.depth_of(name) for name, _ in backbone.named_parameters()}
    assert backbone.depth == 3
    assert depths["embedding.weight"] == depths["layers.0.output.bias"] == 0
    assert depths["layers.1.feedforward.widen.weight"] == 1
    assert depths["norm.weight"] == depths["layers.2.norm.bias"] == 2
    with pytest.raises(ValueError, match="pooler"):
        backbone.depth_of("pooler.weight")


class Table(Backbone):
    """A trunk that looks features up."""

    def __init__(self, features: torch.Tensor):
        super().__init__()
        self.dimension, self.depth = features.shape[1], 1
        self.table = nn.Embedding.from_pretrained(features)

    def forward(self, batch):
        tokens = self.table(batch.ids) * batch.mask[..., None]
        return Features(tokens, tokens.sum(dim=1))

    def depth_of(self, parameter_name):
        return 0


def test_another_backbone_can_take_the_place():
    architecture = resolve(ModelOptions(), TASKS, VOCABULARY, LONGEST, LEXICON)
    network = Network(architecture, TASKS, backbone=Table(torch.randn(VOCABULARY, 12)))
    contributions = network(texts(5, 3))
    assert contributions["verdict"]["heads.verdict"].shape == (2, 5)


def test_rotary_products_depend_on_the_distance_alone():
    query, key = torch.randn(2, 1, 1, 8, dtype=torch.float32).expand(2, 16, 1, 8).unbind(0)
    rotation = rotation_table(16, 8)
    turned = [rotate(x[None], rotation)[0, :, 0] for x in (query, key)]
    products = turned[0] @ turned[1].T
    for distance in (0, 1, 5):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert products[0, 0] != pytest.approx(products[0, 5].item())


# --- fusion ---------------------------------------------------------------------------------


def test_fusion_is_the_weighted_mean_of_what_is_there():
    parts = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0, 6.0]])}
    assert torch.equal(fuse(parts), torch.tensor([[2.0, 4.0]]))
    weights = {"a": 3.0, "b": 1.0, "absent": 5.0}
    assert torch.equal(fuse(parts, weights), torch.tensor([[1.5, 3.0]]))
    assert torch.equal(fuse(parts, {"a": 0.0}), parts["b"])
    with pytest.raises(ValueError, match="no weight above 0"):
        fuse(parts, {"a": 0.0, "b": 0.0})


def test_predictions_follow_the_kind_of_the_task():
    logits = torch.tensor([[0.0, 1.0, -2.0]])
    assert torch.equal(activate(VERDICT, logits), logits.softmax(-1))
    assert torch.equal(activate(EMOTION, logits), logits.softmax(-1))
    assert torch.equal(activate(TAGS, logits), logits.sigmoid())
    assert torch.equal(activate(REGRET, logits), logits)


# --- the signal chain -----------------------------------------------------------------------


def matrix_kalman(z, a, q, r, prior=1.0):
    """The textbook filter in matrices, one step at a time."""
    transition, process, noise = np.diag(a), np.diag(q), np.diag(r)
    state, covariance = np.zeros(len(a)), prior * np.eye(len(a))
    means = []
    for observation in z:
        state = transition @ state
        covariance = transition @ covariance @ transition.T + process
        gain = covariance @ np.linalg.inv(covariance + noise)
        state = state + gain @ (observation - state)
        covariance = (np.eye(len(a)) - gain) @ covariance
        means.append(state)
    return np.array(means)


def test_kalman_filter_equals_the_textbook():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 9, 4))
    a, q, r = rng.uniform(-1, 1, 4), rng.uniform(0.1, 2, 4), rng.uniform(0.1, 2, 4)
    states = kalman_filter(*map(torch.from_numpy, (z, a, q, r))).numpy()
    expected = np.stack([matrix_kalman(series, a, q, r) for series in z])
    np.testing.assert_allclose(states, expected, rtol=1e-12, atol=1e-12)


def test_kalman_filter_beats_the_raw_observations():
    rng = np.random.default_rng(0)
    truth = scipy.signal.lfilter([1.0], [1.0, -0.95], rng.normal(size=400))
    noisy = truth + 3 * rng.normal(size=400)
    parameters = (torch.tensor([x], dtype=torch.float64) for x in (0.95, 1.0, 9.0))
    track = kalman_filter(torch.from_numpy(noisy)[None, :, None], *parameters)[0, :, 0].numpy()
    assert np.mean((track - truth) ** 2) < 0.5 * np.mean((noisy - truth) ** 2)


def test_envelopes_equal_the_analytic_signal_of_scipy():
    signal = np.random.default_rng(0).normal(size=(2, 8, 3))
    all_pass = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(9, 3, 1, 2).contiguous()
    envelopes = band_envelopes(torch.from_numpy(signal), all_pass)[..., 0].numpy()
    expected = np.abs(scipy.signal.hilbert(signal, N=16, axis=1))[:, :8]
    np.testing.assert_allclose(envelopes, expected, rtol=1e-12)


def test_a_filter_keeps_its_band_alone():
    wave = torch.cos(torch.pi * torch.arange(32) / 2)[None, :, None]
    low, high = torch.zeros(2, 33, 1, 1, 2).unbind(0)
    low[:12, ..., 0], high[12:, ..., 0] = 1.0, 1.0
    passed, removed = (band_envelopes(wave, response).mean().item() for response in (high, low))
    assert passed > 0.8
    assert removed < 0.15


def test_smoothing_equals_scipys_one_pole_filter():
    series = np.random.default_rng(0).random((2, 7, 3))
    decay = 0.3
    curve = smooth(torch.from_numpy(series), torch.full((3,), decay, dtype=torch.float64)).numpy()
    expected, _ = scipy.signal.lfilter(
        [1 - decay], [1, -decay], series, axis=1, zi=decay * series[:, :1]
    )
    np.testing.assert_allclose(curve, expected, rtol=1e-12)


@pytest.mark.parametrize("length", [1, 3, 4, 10])
def test_segments_share_out_a_text_evenly(length):
    tokens = torch.rand(1, 12, 2)
    mask = torch.arange(12)[None] < length
    means = segment_means(tokens, mask, 4)[0]
    # Each token repeated four times divides evenly into four segments.
    fine = tokens[0, :length].repeat_interleave(4, dim=0).unflatten(0, (4, length))
    torch.testing.assert_close(means, fine.mean(dim=1))
