"""The shipped model as one file of ONNX, checked against the network before it is kept."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redheart.encoding.batch import Batch, make_batch
from redheart.errors import UserError
from redheart.evaluation.fusion import OFFSET
from redheart.export.real_valued import without_complex_numbers
from redheart.export.shipped import Shipped
from redheart.model.network import Network, activate
from redheart.tasks.scale import Scale

NOT_INSTALLED = (
    "the ONNX exporter is not installed; `pip install onnx onnxruntime onnxscript` does that "
    "(the extra `onnx` of Red Heart)"
)
OPSET = 20
# ONNX's own format ends at 2 GB; from here on the weights lie in a file beside the graph.
LARGEST_FILE = 1_500_000_000
# The largest difference to torch that a prediction may have: of a probability, or of a regression
# by its deviation.
TOLERANCE = 1e-4
# Texts of several lengths and scripts; the last is longer than any model reads.
TEXTS = [
    "She lied about the money, and I told him why nobody came.",
    "그는 돈을 빌려 갔다 😀",
    "?",
    "Größe, naïve, Ελλάδα, 東京 " * 5,
    "one two three four five " * 400,
]


class Predictor(nn.Module):
    """The network and all that follows it: the fusion, the activation, the unit of a regression."""

    def __init__(
        self,
        network: Network,
        fusion: Mapping[str, Mapping[str, float]],
        scales: Mapping[str, Scale],
    ):
        super().__init__()
        self.network = network
        self.fusion = fusion
        self.scales = scales

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        ngrams: Tensor | None = None,
        ngram_values: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return each task's predictions, (batch, width), in the order of the tasks.

        Probabilities are float32; values of a regression are float64, in the unit of the data.
        """
        contributed = self.network(Batch(ids, mask, ngrams, ngram_values))
        outputs = []
        for task in self.network.tasks:
            weights = self.fusion[task.name]
            offsets = [weights.get(OFFSET + name, 0.0) for name in task.output_names]
            fused = torch.tensor(offsets)
            for module, output in contributed[task.name].items():
                fused = fused + weights[module] * output
            predicted = activate(task, fused)
            if task.name in self.scales:
                scale = self.scales[task.name]
                deviation, mean = map(torch.from_numpy, (scale.deviation, scale.mean))
                predicted = predicted.double() * deviation + mean
            outputs.append(predicted)
        return tuple(outputs)


def write_onnx(path: Path, shipped: Shipped) -> float:
    """Write the model as ONNX and return its largest difference to torch on a few texts.

    The graph reads `ids` and `mask` and, where a lexical branch reads n-grams, `ngrams` and
    `ngram_values`; any number of texts, tokens and n-grams. It gives one output a task.

    Raises
    ------
    UserError
        A package is missing, the trunk cannot be written, or the file predicts something else.
    """
    if shipped.reads_sentences:
        raise UserError(
            f"{shipped.folder}: its trunk is the sentence encoder, which is no network that ONNX "
            "could hold; leave out --onnx"
        )
    with _exporter():
        network = shipped.network()
        predictor = Predictor(network, shipped.fusion, shipped.scales).eval()
        reads = ["ids", "mask"]
        if network.architecture.lexical:
            reads += ["ngrams", "ngram_values"]
        try:
            program = _traced(predictor, reads, shipped.config["train"]["max_tokens"])
        except Exception as error:  # A foreign trunk may stop the exporter in any way.
            reason = " ".join(f"{error}".split()[:30])
            raise UserError(
                f"{shipped.folder}: torch cannot write this network as ONNX ({reason}); leave out "
                "--onnx"
            ) from error
        _without_traces(program.model)
        size = sum(4 * parameter.numel() for parameter in predictor.parameters())
        program.save(path, external_data=size > LARGEST_FILE)
        difference = _largest_difference(path, predictor, shipped, reads)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{shipped.folder}: as ONNX its predictions differ by {difference:.2g}, more than "
            f"{TOLERANCE:g}; leave out --onnx, and please report this"
        )
    return difference


@contextmanager
def _exporter() -> Iterator[None]:
    """Refuse to go on without the packages; keep their talk to themselves."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError(NOT_INSTALLED) from None
    onnxruntime.set_default_logger_severity(3)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), without_complex_numbers(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _traced(predictor: Predictor, reads: list[str], max_tokens: int) -> Any:
    ids = torch.ones((2, min(7, max_tokens)), dtype=torch.int64)
    ngrams = torch.zeros((2, 5), dtype=torch.int64)
    examples = (ids, ids > 0, ngrams, ngrams.float())[: len(reads)]
    texts, grams = torch.export.Dim("texts"), torch.export.Dim("ngrams")
    tokens = torch.export.Dim("tokens", max=max_tokens)
    shapes = ({0: texts, 1: tokens},) * 2 + ({0: texts, 1: grams},) * 2
    program = torch.export.export(predictor, examples, dynamic_shapes=shapes[: len(reads)])
    return torch.onnx.export(
        program,
        input_names=reads,
        output_names=[task.name for task in predictor.network.tasks],
        opset_version=OPSET,
        verbose=False,
    )


def _without_traces(model: Any) -> None:
    """Remove what the exporter notes of this machine: the stack of calls behind each node."""
    model.doc_string = None
    for part in (model, model.graph):
        part.metadata_props.clear()
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in graph.all_nodes():
            node.doc_string = None
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
        for value in graph.inputs:
            value.metadata_props.clear()


def _largest_difference(
    path: Path, predictor: Predictor, shipped: Shipped, reads: list[str]
) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    part = shipped.encoded(TEXTS)
    batch = make_batch(part, range(len(TEXTS)))
    fed = [getattr(batch, name) for name in reads]
    predicted = session.run(None, {n: t.numpy() for n, t in zip(reads, fed, strict=True)})
    expected = predictor(*fed)
    largest = 0.0
    for task, ours, theirs in zip(predictor.network.tasks, expected, predicted, strict=True):
        unit = shipped.scales[task.name].deviation if task.name in shipped.scales else 1.0
        difference = float(np.abs((ours.numpy() - theirs) / unit).max())
        largest = max(largest, math.inf if math.isnan(difference) else difference)
    return largest
