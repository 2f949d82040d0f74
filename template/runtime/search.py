"""A search for better hyper-parameters: bounded, and the same again with the same seed."""

import time
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from runtime.errors import ProjectError
from runtime.records import Study, Trial
from runtime.settings import Settings
from runtime.trial import Task

if TYPE_CHECKING:
    import pandas as pd

# With fewer, what a parameter is worth is mostly chance.
ENOUGH_FOR_IMPORTANCE = 10


class SearchSettings(Settings):
    """Settings of a step that searches before it trains: those here are no arguments of `train`."""

    trials: int = Field(default=0, ge=0, exclude=True)
    """How many are made at most; with 0, the model is trained as it is configured."""
    search_minutes: float = Field(default=10, gt=0, exclude=True)
    """After which no new trial begins. A search that this ends may end otherwise the next time."""
    metric: str = Field(default="", exclude=True)
    """What is searched for, the best of it: one of those that `scores` gives."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.trials and not self.metric:
            raise ValueError("say by `metric` what the trials are judged by, as `evaluate` has it")
        if self.trials and getattr(self, "nodes", 1) > 1:
            raise ValueError(
                "a search trains on one node: write `nodes: 1` to search, or `trials: 0` to train "
                "on several with what was found"
            )
        return self


def search(task: Task, data: str, settings: SearchSettings) -> Study:
    """Search, judging by folds of a data set alone; without trials, nothing is read or searched.

    The first trial is what is configured, so the best is never worse than that. Trials that are
    behind after a fold are not finished; one that fails is recorded, and the next begins.

    Raises:
        ProjectError: every trial failed.
    """
    limits: dict[str, Any] = {
        "metric": settings.metric,
        "lower_is_better": settings.metric in task.lower_is_better,
        "most_trials": settings.trials,
        "most_minutes": settings.search_minutes,
    }
    if not settings.trials:
        return Study(**limits)
    import optuna

    from runtime import datasets

    examples = datasets.read(data)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = settings.model_dump()
    seed = options.get("seed", 0)
    found = optuna.create_study(
        direction="minimize" if limits["lower_is_better"] else "maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    # Of these, what the space suggests is used; the rest is no matter.
    found.enqueue_trial(options)
    begun = time.monotonic()
    trials: list[Trial] = []
    stopped_by: Literal["trials", "time"] = "trials"
    while len(trials) < settings.trials:
        if trials and time.monotonic() > begun + settings.search_minutes * 60:
            stopped_by = "time"
            break
        trials.append(_trial(found, task, examples, settings.metric, options))
        _tell(trials[-1], settings)
    done = [trial for trial in trials if trial.state == "complete"]
    if not done:
        raise ProjectError(
            f"all {len(trials)} trials of the search failed, the first with {trials[0].error}"
        )
    differ = len({trial.value for trial in done}) > 1
    worth = differ and len(done) >= ENOUGH_FOR_IMPORTANCE
    return Study(
        **limits,
        seed=seed,
        stopped_by=stopped_by,
        seconds=round(time.monotonic() - begun, 3),
        trials=trials,
        best=found.best_trial.number,
        importance=optuna.importance.get_param_importances(found) if worth else {},
    )


def _trial(
    study: Any, task: Task, examples: "pd.DataFrame", metric: str, options: dict[str, Any]
) -> Trial:
    from optuna.trial import TrialState

    trial = study.ask()
    values: dict[str, Any] = {}
    scores: list[float] = []
    try:
        values = task.space(trial)
        for score in task.judge(examples, metric, {**options, **values}):
            scores.append(score)
            trial.report(fmean(scores), step=len(scores))
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return Trial(
                    number=trial.number, state="pruned", value=fmean(scores), values=values
                )
        study.tell(trial, fmean(scores))
    except ProjectError:
        raise
    except Exception as error:
        study.tell(trial, state=TrialState.FAIL)
        said = f"{type(error).__name__}: {error}"
        return Trial(number=trial.number, state="failed", values=values, error=said)
    return Trial(number=trial.number, state="complete", value=fmean(scores), values=values)


def _tell(trial: Trial, settings: SearchSettings) -> None:
    tried = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.values.items()
    )
    ended = trial.error if trial.value is None else f"{settings.metric} {trial.value:.6g}"
    state = "" if trial.state == "complete" else f"{trial.state}: "
    print(f"trial {trial.number + 1} of {settings.trials}: {state}{ended} by {tried}", flush=True)
