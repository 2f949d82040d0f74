"""The pictures of a run's report, as inline SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from runtime.pictures import MUTED, SERIES, STYLE, svg

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# More points than this make a page large, not clear.
MOST_POINTS = 1500
MOST_STEPS = 300
MARKED_RUNS = 60


def roc(curves: Mapping[str, tuple[Values, Values, float]]) -> Markup:
    """ROC curves: for each label false positive rates, true positive rates and the area below."""
    with rc_context(STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, dashes=(4, 4))
        for (label, (false, true, area)), colour in zip(curves.items(), SERIES, strict=False):
            kept = _spread(len(false), MOST_STEPS)
            name = f"{label}, {area:.4f}"
            axes.plot(false[kept], true[kept], color=colour, linewidth=2, label=name)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(loc="lower right", title="area below", alignment="left")
        areas = ", ".join(f"{label} {area:.4f}" for label, (_, _, area) in curves.items())
        return svg(figure, f"ROC curves; the area below: {areas}")


def separation(scores: Values, positive: Flags, label: str, other: str) -> Markup:
    """How the probability of a label is spread, among those that have it and those that do not."""
    with rc_context(STYLE):
        figure, axes = _square()
        bins = np.linspace(0, 1, 21)
        for flags, name, colour in ((positive, label, SERIES[0]), (~positive, other, SERIES[1])):
            counts, _ = np.histogram(scores[flags], bins)
            share = counts / max(flags.sum(), 1)
            axes.stairs(share, bins, fill=True, color=colour, alpha=0.25)
            axes.stairs(share, bins, color=colour, linewidth=1.5, label=name)
        axes.set(xlim=(0, 1), xlabel=f"probability of {label}", ylabel="share of rows")
        axes.legend(loc="upper center", title="truth", alignment="left")
        return svg(figure, f"Histogram of the probability of {label}, by the truth")


def answers(truth: Values, answer: Values) -> Markup:
    """What the model answered over what was true."""
    with rc_context(STYLE):
        figure, axes = _square()
        low, high = _limits(np.concatenate([truth, answer]))
        axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, dashes=(4, 4))
        _dots(axes, truth, answer)
        axes.set(xlim=(low, high), ylim=(low, high), xlabel="truth", ylabel="answer")
        return svg(figure, "Answers of the model over the truth, equal on the dashed line")


def residuals(truth: Values, answer: Values) -> Markup:
    """By how much the model was wrong, over what it answered."""
    with rc_context(STYLE):
        figure, axes = _square()
        axes.axhline(0, color=MUTED, linewidth=0.8, dashes=(4, 4))
        _dots(axes, answer, truth - answer)
        axes.set(xlabel="answer", ylabel="truth minus answer")
        return svg(figure, "Truth minus answer, over the answer")


def errors(truth: Values, answer: Values) -> Markup:
    """How often the model was wrong by how much."""
    with rc_context(STYLE):
        figure, axes = _square()
        counts, edges = np.histogram(truth - answer, bins=24)
        axes.stairs(counts, edges, fill=True, color=SERIES[0], alpha=0.25)
        axes.stairs(counts, edges, color=SERIES[0], linewidth=1.5)
        axes.axvline(0, color=MUTED, linewidth=0.8, dashes=(4, 4))
        axes.set(xlabel="truth minus answer", ylabel="rows")
        return svg(figure, "Histogram of truth minus answer")


def history(values: Sequence[float], *, lower: bool) -> Markup:
    """A metric over runs, the oldest left; the best until then as a line in the second colour."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.2))
        axes = figure.add_axes((0.15, 0.24, 0.81, 0.7))
        axes.grid(axis="y")
        found = np.asarray(values, dtype=float)
        place = np.arange(1, len(found) + 1)
        known = np.where(np.isnan(found), np.inf if lower else -np.inf, found)
        best = (np.minimum if lower else np.maximum).accumulate(known)
        best[np.isinf(best)] = np.nan
        mark = "o" if len(found) <= MARKED_RUNS else None
        axes.step(place, best, where="post", color=SERIES[1], linewidth=1.5)
        axes.plot(place, found, marker=mark, markersize=3.5, color=SERIES[0], linewidth=1)
        axes.set(xlim=(0.5, len(found) + 0.5), xlabel="run, the oldest first")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return svg(figure, f"The metric over {len(found)} runs")


def dots(values: Mapping[str, float]) -> Markup:
    """A few numbers on one scale, each with its name and value."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 0.6 + 0.5 * len(values)))
        axes = figure.add_axes((0.42, 0.2, 0.54, 0.76))
        axes.grid(axis="x")
        axes.plot([*values.values()], range(len(values)), "o", color=SERIES[0], ms=8)
        names = [f"{name}: {value:.4f}" for name, value in values.items()]
        axes.set_yticks(range(len(values)), names)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.margins(x=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        return svg(figure, ", ".join(f"{name} {value:.4f}" for name, value in values.items()))


def search(
    values: Sequence[float], complete: Sequence[bool], *, lower: bool, metric: str
) -> Markup:
    """A metric over the trials of a search, hollow where one was not finished; the best until then.

    NaN is a trial that failed. What is far worse than most is left out, so that the others differ.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.7))
        axes = figure.add_axes((0.165, 0.155, 0.8, 0.735))
        axes.grid()
        axes.set_axisbelow(True)
        found, whole = np.asarray(values, dtype=float), np.asarray(complete, dtype=bool)
        place = np.arange(1, len(found) + 1)
        worst = np.inf if lower else -np.inf
        best = np.where(whole, found, worst)
        best = (np.minimum if lower else np.maximum).accumulate(best)
        best[np.isinf(best)] = np.nan
        style: Any = {"marker": "o", "linestyle": "none", "markersize": 5}
        partly = ~whole & ~np.isnan(found)
        axes.plot(place[whole], found[whole], color=SERIES[0], label="trial", **style)
        if partly.any():
            hollow = {**style, "markerfacecolor": "none", "color": MUTED}
            axes.plot(place[partly], found[partly], label="not finished", **hollow)
        axes.step(place, best, where="post", color=SERIES[1], linewidth=2, label="best until then")
        known = np.sort(found[~np.isnan(found)] * (1 if lower else -1))
        middle = known[len(known) // 2]
        limit = middle + 3 * (middle - known[0])
        low, high = _limits(known[known <= limit])
        axes.set(ylim=(low, high) if lower else (-high, -low), xlim=(0.5, len(found) + 0.5))
        axes.set(xlabel="trial", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Above, as there is no corner that trials keep out of.
        figure.legend(loc="upper right", bbox_to_anchor=(0.99, 1.01), ncols=3, columnspacing=1)
        return svg(figure, f"{metric} of {len(found)} trials, and the best until then")


def spark(values: Values, *, width: int = 96, height: int = 22, bins: int = 16) -> Markup:
    """A column's distribution in the size of a word: too small for a library to be of help."""
    if not len(values):
        return Markup("")
    counts, edges = np.histogram(values, bins)
    top = max(counts.max(), 1)
    bar = width / bins
    path = "".join(
        f"M{place * bar:g} {height}v-{max(share / top * height, 1):.1f}h{bar - 1:g}V{height}z"
        for place, share in enumerate(counts)
        if share
    )
    label = f"distribution from {edges[0]:.4g} to {edges[-1]:.4g}"
    return Markup(
        '<svg class="spark" role="img" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        'aria-label="{label}"><path d="{path}"/></svg>'
    ).format(w=width, h=height, label=label, path=path)


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 3.7))
    axes = figure.add_axes((0.165, 0.155, 0.8, 0.825))
    axes.grid()
    axes.set_axisbelow(True)
    return figure, axes


def _dots(axes: Axes, x: Values, y: Values) -> None:
    kept = _spread(len(x), MOST_POINTS)
    axes.plot(x[kept], y[kept], "o", color=SERIES[0], ms=4, alpha=0.55, markeredgewidth=0)


def _spread(length: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many places, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))


def _limits(values: Values) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * 0.04 or 1.0
    return low - margin, high + margin
