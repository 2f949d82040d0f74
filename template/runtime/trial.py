"""A trial of a search: hyper-parameters, judged on folds of the training examples.

`runtime.search` makes many, one after the other. `python -m runtime.trial` is one by itself, in a
pod of a Katib Experiment: it reads what to do from the variable TRIAL and the values to try from
its arguments, `name=value`, and prints the metric.
"""

import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from runtime.errors import ProjectError

if TYPE_CHECKING:
    import pandas as pd
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    Drawn = CategoricalDistribution | FloatDistribution | IntDistribution

VARIABLE = "TRIAL"
# So many draws from a space show whether a part of it depends on another.
DRAWS = 64


@dataclass(frozen=True)
class Task:
    """What is searched, in the project's own functions."""

    space: Callable[[Any], dict[str, Any]]
    """From a trial of Optuna to arguments of `train`."""
    folds: Callable[..., Iterable[tuple["pd.DataFrame", "pd.DataFrame"]]]
    """From examples and `seed` to pairs of them: to fit on, and to judge on."""
    train: Callable[..., Any]
    scores: Callable[[Any, "pd.DataFrame"], dict[str, float]]
    lower_is_better: Collection[str]
    """Metrics of which a smaller value is the better one."""

    def judge(
        self, examples: "pd.DataFrame", metric: str, options: Mapping[str, Any]
    ) -> Iterator[float]:
        """The metric on one fold after the other, of models that are trained with the options.

        Raises:
            ProjectError: `scores` does not give the metric.
            ValueError: the metric is not a finite number.
        """
        for fit, judge in self.folds(examples, seed=options.get("seed", 0)):
            scores = self.scores(self.train(fit, **options), judge)
            if metric not in scores:
                raise ProjectError(
                    f"train.metric is {metric!r}, which `scores` in evaluation.py does not give: "
                    f"write one of {', '.join(scores)}"
                )
            if not math.isfinite(scores[metric]):
                raise ValueError(f"{metric} is {scores[metric]}")
            yield scores[metric]


def distributions(space: Callable[[Any], Any]) -> "dict[str, Drawn]":
    """What each parameter of a space is drawn from.

    Raises:
        ProjectError: some of the space depends on what is drawn from the rest of it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: list[dict[str, Drawn]] = []
    for seed in range(DRAWS):
        sampler = optuna.samplers.RandomSampler(seed=seed)
        trial = optuna.create_study(sampler=sampler).ask()
        space(trial)
        # Optuna has no other that a trial can suggest from.
        found.append(cast("dict[str, Drawn]", trial.distributions))
    changing = {
        name
        for each in found
        for name in each.keys() | found[0].keys()
        if each.get(name) != found[0].get(name)
    }
    if changing:
        raise ProjectError(
            f"`space` in search.py suggests {', '.join(sorted(changing))} otherwise from trial to "
            "trial, and Katib wants the same parameters and ranges in all: make them so, or search "
            "in `make run`, by `trials` in config/project.yaml"
        )
    if not found[0]:
        raise ProjectError("`space` in search.py suggests nothing: there is nothing to search")
    return found[0]


def chosen(space: Callable[[Any], dict[str, Any]], texts: Mapping[str, str]) -> dict[str, Any]:
    """What a space makes of values that were chosen for its parameters by Katib, as text.

    Katib counts steps from zero, Optuna from the lowest value: the nearest one is taken.
    """
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import FixedTrial

    values: dict[str, Any] = {}
    for name, drawn in distributions(space).items():
        if name not in texts:
            raise ProjectError(f"this trial has no value for {name}: give it as {name}=…")
        text = texts[name]
        if isinstance(drawn, CategoricalDistribution):
            values[name] = next(each for each in drawn.choices if str(each) == text)
            continue
        low, high, step = drawn.low, drawn.high, drawn.step
        number = min(max(float(text), low), high)
        if step:
            number = min(low + round((number - low) / step) * step, high)
        values[name] = type(low)(number)
    return space(FixedTrial(values))


def run(arguments: Sequence[str]) -> None:
    """Judge the values in the arguments, and print the metric, the mean of all folds."""
    from runtime import datasets

    job = json.loads(os.environ[VARIABLE])
    module, _, name = job["task"].partition(":")
    task: Task = getattr(importlib.import_module(module), name)
    values = chosen(task.space, dict(each.split("=", 1) for each in arguments))
    examples = datasets.read(job["data"])
    print(f"{len(examples)} rows, {values}", flush=True)
    value = fmean(task.judge(examples, job["metric"], {**job["options"], **values}))
    # As Katib reads it.
    print(f"{job['metric']}={value}", flush=True)


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except ProjectError as error:
        sys.exit(str(error))
