"""The linear baseline of every report: TF-IDF with logistic or ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redheart.crossover.candidates import BASELINE
from redheart.tasks.class_balance import balancing_offsets
from redheart.tasks.metrics import main_metric
from redheart.tasks.task import Kind, Task

# Words of one letter (Korean has many) and runs of punctuation are tokens too.
WORDS = r"\w+|[^\w\s]+"

# Number of columns from each of the two vocabularies: the most frequent n-grams.
MAX_FEATURES = 30_000

# Candidates for C (logistic regression), each six times the one before; the strongest
# regularisation first.
INVERSE_STRENGTHS = (0.3, 2.0, 12.0, 72.0)

# Candidates for alpha (ridge regression), the strongest regularisation first.
RIDGE_PENALTIES = (64.0, 16.0, 4.0, 1.0, 0.25)

# A logistic regression has converged when no component of its mean loss's gradient exceeds this.
TOLERANCE = 2e-5
MAX_ITERATIONS = 500

# With at most this many training texts, models are fitted in the span of the texts, which is small.
MAX_ROTATED_ROWS = 1000

Features = Mapping[str, Any]  # by part: a sparse matrix or an array of shape (n, columns)
Predictor = Callable[[Any], np.ndarray]  # features -> predictions of shape (n, width)


@dataclass(frozen=True)
class LinearBaseline:
    """Predictions of the fitted baseline, and its chosen hyperparameters."""

    predictions: dict[str, dict[str, np.ndarray]]
    """By part and task: float32 of shape (n, width), as a network predicts them."""
    hyperparameters: dict[str, dict[str, float]]
    """By task: `C` (inverse strength) or `alpha` (ridge penalty), chosen on val_select."""

    def as_candidate(self) -> dict[str, dict[str, dict[str, np.ndarray]]]:
        """Return the predictions under the baseline's name in the table of candidates."""
        return {BASELINE: self.predictions}


def fit_tfidf_linear(
    tasks: Sequence[Task],
    texts_by_part: Mapping[str, Sequence[str]],
    targets: Mapping[str, Mapping[str, np.ndarray]],
    balance: bool = True,
) -> LinearBaseline:
    """Fit one linear model per task on TF-IDF features and predict every part.

    Vocabulary, weights and models are fitted on `train` alone. Each task takes the regularisation
    with the best main metric on `val_select`, and the strongest on ties. Nothing is random, and
    one BLAS thread is used, so the same texts give the same bytes.

    Parameters
    ----------
    texts_by_part
        Texts by part; `train` and `val_select` are required.
    targets
        By part (`train` and `val_select`) and task: shape (n, width), NaN where unlabelled.
    balance
        Whether rare classes of a multiclass task are raised, as the network's are.

    Notes
    -----
    A class that `train` lacks gets probability 0. A task without any label in `train` gets equal
    probabilities (0.5 for a multilabel task) or 0 for a regression.
    """
    import scipy.linalg  # noqa: F401  (loads scipy's own BLAS: the limit reaches loaded ones only)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        features = _rotated(_tfidf(texts_by_part))
        predictors, hyperparameters = {}, {}
        for task in tasks:
            of_task = {part: targets[part][task.name] for part in ("train", "val_select")}
            predictors[task.name], strength = _tuned(task, features, of_task)
            hyperparameters[task.name] = {"alpha" if task.kind == "regression" else "C": strength}
        predictions = {
            part: {name: predict(matrix) for name, predict in predictors.items()}
            for part, matrix in features.items()
        }
    for task in tasks if balance else ():
        if task.kind == "multiclass":
            _raise_rare_classes(task, predictions, targets["val_select"][task.name])
    return LinearBaseline(predictions, hyperparameters)


def _raise_rare_classes(
    task: Task, predictions: Mapping[str, dict[str, np.ndarray]], target: np.ndarray
) -> None:
    """Multiply the classes' probabilities in every part by factors fitted on val_select."""
    probabilities = predictions["val_select"][task.name]
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    factors = np.exp(balancing_offsets(task, logits, target)).astype(np.float32)
    for part in predictions.values():
        raised = part[task.name] * factors
        part[task.name] = raised / raised.sum(axis=1, keepdims=True)


def _tfidf(texts_by_part: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return sparse features by part: word 1-2-grams beside character 3-5-grams within words."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    shared: dict[str, Any] = {"max_features": MAX_FEATURES, "sublinear_tf": True}
    blocks = [
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORDS, dtype=np.float32, **shared),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), dtype=np.float32, **shared),
    ]
    train = hstack([block.fit_transform(texts_by_part["train"]) for block in blocks], "csr")

    def transform(texts: Sequence[str]) -> Any:
        # scikit-learn refuses an empty part.
        return hstack([block.transform(texts) for block in blocks], "csr") if texts else train[:0]

    other_parts = {part: texts for part, texts in texts_by_part.items() if part != "train"}
    return {"train": train} | {part: transform(texts) for part, texts in other_parts.items()}


def _rotated(features: Features) -> Features:
    """Return the features of a small corpus in coordinates of the training texts' span.

    With an L2 penalty the fitted weights lie in this span (the representer theorem, Schölkopf et
    al. 2001). So n columns, for n training texts, give the same predictions as tens of thousands.
    """
    train = features["train"].astype(np.float64)
    if train.shape[0] > MAX_ROTATED_ROWS:
        return features
    values, vectors = np.linalg.eigh((train @ train.T).toarray())
    spanned = values > values.max() * 1e-9
    basis = vectors[:, spanned] / np.sqrt(values[spanned])
    return {part: (matrix @ train.T).toarray() @ basis for part, matrix in features.items()}


def _tuned(
    task: Task, features: Features, targets: Mapping[str, np.ndarray]
) -> tuple[Predictor, float]:
    """Fit a task with every strength; return the predictor best on val_select, and its strength."""
    fit, strengths = _FITS[task.kind]
    predictors = [fit(features["train"], targets["train"], strength) for strength in strengths]
    scores = [
        main_metric(task, predict(features["val_select"]), targets["val_select"])
        for predict in predictors
    ]
    best = int(np.argmax(np.nan_to_num(scores, nan=0.0)))
    return predictors[best], strengths[best]


def _fit_classes(features: Any, target: np.ndarray, strength: float) -> Predictor:
    """Fit a multinomial logistic regression to classes, or to distributions over them."""
    labelled = ~np.isnan(target).any(axis=1)
    shares = target[labelled]
    width = target.shape[1]
    present = np.flatnonzero(shares.sum(axis=0))
    if len(present) < 2:
        return _constant(np.eye(width)[present[0]] if len(present) else np.full(width, 1 / width))
    # scikit-learn takes one class per record. A record with a distribution becomes one copy per
    # class, weighted by the class's share.
    rows, classes = np.nonzero(shares[:, present])
    model = _logistic(strength).fit(
        features[np.flatnonzero(labelled)[rows]],
        classes,
        sample_weight=shares[rows, present[classes]],
    )

    def predict(matrix: Any) -> np.ndarray:
        probabilities = np.zeros((matrix.shape[0], width), dtype=np.float32)
        probabilities[:, present] = _probabilities(model, matrix)
        return probabilities

    return predict


def _fit_labels(features: Any, target: np.ndarray, strength: float) -> Predictor:
    """Fit one logistic regression per label, on the records where the label is known."""

    def fit(rows: np.ndarray, values: np.ndarray) -> Predictor:
        model = _logistic(strength).fit(features[rows], values)
        return lambda matrix: _probabilities(model, matrix)[:, 1]

    return _by_column(target, 0.5, fit)


def _fit_values(features: Any, target: np.ndarray, strength: float) -> Predictor:
    """Fit one ridge regression per output, on the records where the output is known."""
    from sklearn.linear_model import Ridge

    def fit(rows: np.ndarray, values: np.ndarray) -> Predictor:
        model = Ridge(alpha=strength).fit(features[rows], values)
        return lambda matrix: matrix @ model.coef_ + model.intercept_

    return _by_column(target, 0.0, fit)


_FITS: dict[Kind, tuple[Callable[[Any, np.ndarray, float], Predictor], tuple[float, ...]]] = {
    "multiclass": (_fit_classes, INVERSE_STRENGTHS),
    "distribution": (_fit_classes, INVERSE_STRENGTHS),
    "multilabel": (_fit_labels, INVERSE_STRENGTHS),
    "regression": (_fit_values, RIDGE_PENALTIES),
}


def _by_column(
    target: np.ndarray, unknown: float, fit: Callable[[np.ndarray, np.ndarray], Predictor]
) -> Predictor:
    """Fit each output on the rows where it is known; with no such row it predicts `unknown`."""
    predictors = []
    for column in target.T:
        rows = np.flatnonzero(~np.isnan(column))
        constant = len(np.unique(column[rows])) < 2
        value = np.array(column[rows[0]] if len(rows) else unknown)
        predictors.append(_constant(value) if constant else fit(rows, column[rows]))

    def predict(matrix: Any) -> np.ndarray:
        return np.stack([p(matrix) for p in predictors], axis=1).astype(np.float32)

    return predict


def _constant(value: np.ndarray) -> Predictor:
    """Predict the same row (or number) for every text."""
    row = np.asarray(value, dtype=np.float32)
    return lambda matrix: np.tile(row, (matrix.shape[0], *[1] * row.ndim))


def _logistic(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, tol=TOLERANCE, max_iter=MAX_ITERATIONS)


def _probabilities(model: Any, matrix: Any) -> np.ndarray:
    # scikit-learn refuses an empty part.
    return model.predict_proba(matrix) if matrix.shape[0] else np.zeros((0, len(model.classes_)))
