"""What the files of a run show: predictions in pictures, and the data column by column."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from runtime.profile import profile as describe
from tools import charts

PROBABILITY = "probability "
# What a page shows of what may be very long.
MOST_LABELS = 20
MOST_CURVES = 6
MOST_COLUMNS = 200
WORST = 5


class NothingToShowError(Exception):
    """A part of the page that there is nothing to say about, and why."""


@dataclass(frozen=True)
class Judgement:
    """What the predictions on held-out examples show."""

    rows: int
    charts: dict[str, Markup]
    worst: list[dict[str, Any]]
    """The rows that the model is most wrong about."""
    labels: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    """A row per true label, a column per answer; empty for a regression."""


@dataclass(frozen=True)
class Column:
    """A column of the data: what the profile says, and a small picture."""

    name: str
    facts: dict[str, Any]
    picture: Markup | str


@dataclass(frozen=True)
class Profile:
    """The data, column by column."""

    rows: int
    columns: list[Column]
    left_out: int
    """Columns that are not shown."""
    partly: bool
    """Whether these are the first rows only."""


def judge(predictions: pd.DataFrame, labels: list[str]) -> Judgement:
    """Draw what the predictions show, by what is in them.

    Raises:
        NothingToShowError: they hold no truth and answer.
    """
    if not {"truth", "answer"} <= set(predictions.columns) or predictions.empty:
        raise NothingToShowError("The predictions have no rows with truth and answer.")
    given = [str(name) for name in predictions.columns if str(name).startswith(PROBABILITY)]
    if given or labels:
        return _judge_labels(predictions, labels, given)
    return _judge_numbers(predictions)


def _judge_labels(predictions: pd.DataFrame, labels: list[str], given: list[str]) -> Judgement:
    truth, answer = predictions["truth"].astype(str), predictions["answer"].astype(str)
    seen = sorted({*truth, *answer} - set(labels))
    labels = [*labels, *seen] if labels else seen
    of = {name.removeprefix(PROBABILITY): predictions[name].to_numpy(float) for name in given}
    binary = len(labels) == 2
    curves: dict[str, Any] = {}
    for label in labels[-1:] if binary else labels:
        positive = truth.to_numpy() == label
        if label in of and positive.any() and not positive.all() and len(curves) < MOST_CURVES:
            curves[label] = roc(positive, of[label])
    drawn = {"ROC curve": charts.roc(curves)} if curves else {}
    if binary and labels[-1] in of:
        name = labels[-1]
        drawn["How sure it is"] = charts.separation(
            of[name], truth.to_numpy() == name, name, labels[0]
        )
    counts: list[list[int]] = []
    if len(labels) <= MOST_LABELS:
        place = {label: index for index, label in enumerate(labels)}
        matrix = np.zeros((len(labels), len(labels)), int)
        np.add.at(matrix, (truth.map(place).to_numpy(), answer.map(place).to_numpy()), 1)
        counts = matrix.tolist()
    names = predictions.index.tolist()
    wrong = np.flatnonzero(truth.to_numpy() != answer.to_numpy())
    sure = [float(of[answer.iloc[row]][row]) if answer.iloc[row] in of else 0.0 for row in wrong]
    order = sorted(zip(sure, wrong, strict=True), key=lambda pair: -pair[0])[:WORST]
    worst = [
        {
            "row": names[row],
            "truth": truth.iloc[row],
            "answer": answer.iloc[row],
            "probability": f"{probability:.4f}" if of else "-",
        }
        for probability, row in order
    ]
    return Judgement(len(predictions), drawn, worst, labels, counts)


def _judge_numbers(predictions: pd.DataFrame) -> Judgement:
    try:
        truth = predictions["truth"].to_numpy(float)
        answer = predictions["answer"].to_numpy(float)
    except (TypeError, ValueError):
        raise NothingToShowError(
            "The predictions hold neither numbers nor probabilities."
        ) from None
    known = np.isfinite(truth) & np.isfinite(answer)
    if not known.any():
        raise NothingToShowError("The predictions hold no numbers.")
    names = predictions.index[known].tolist()
    truth, answer = truth[known], answer[known]
    order = np.argsort(-np.abs(truth - answer))[:WORST]
    worst = [
        {
            "row": names[row],
            "truth": f"{truth[row]:.4g}",
            "answer": f"{answer[row]:.4g}",
            "truth minus answer": f"{truth[row] - answer[row]:+.4g}",
        }
        for row in order
    ]
    drawn = {
        "Answer and truth": charts.answers(truth, answer),
        "Residuals": charts.residuals(truth, answer),
        "How often it is wrong by how much": charts.errors(truth, answer),
    }
    return Judgement(len(predictions), drawn, worst)


def roc(positive: Any, score: Any) -> tuple[Any, Any, float]:
    """False positive rates, true positive rates and the area below, from flags and scores."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(positive[order])[ends]
    false = np.append(0.0, (1 + ends - hits) / (~positive).sum())
    true = np.append(0.0, hits / positive.sum())
    return false, true, float(np.trapezoid(true, false))


def profile(frame: pd.DataFrame, rows: int) -> Profile:
    """Describe a frame column by column; `rows` is how many there are in all."""
    shown = frame.iloc[:, :MOST_COLUMNS]
    columns = []
    with warnings.catch_warnings():
        # An infinite value has no place in a mean, and the table shows as much.
        warnings.simplefilter("ignore", RuntimeWarning)
        described = describe(shown)
    for place, name in enumerate(shown.columns):
        facts, values = described.iloc[place], shown.iloc[:, place].dropna()
        picture: Markup | str
        if is_numeric_dtype(values) and not is_bool_dtype(values):
            numbers = values.to_numpy(float)
            picture = charts.spark(numbers[np.isfinite(numbers)])
        else:
            picture = commonest(values)
        columns.append(Column(str(name), {str(key): facts[key] for key in facts.index}, picture))
    left_out = frame.shape[1] - shown.shape[1]
    return Profile(max(rows, len(frame)), columns, left_out, len(frame) < rows)


def commonest(values: "pd.Series[Any]", most: int = 3) -> str:
    """The values that stand most often in a column, and how often."""
    counts = values.value_counts()
    shown = ", ".join(f"{str(value)[:24]} {count:,}" for value, count in counts.head(most).items())
    return f"{shown} …" if len(counts) > most else shown
