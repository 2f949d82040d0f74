"""A run's search for hyper-parameters, read from what `train` wrote of it."""

import json
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import ProjectError
from runtime.records import StepRecord, Study, Trial

ARTIFACT = "study"


def searches(steps: Mapping[str, StepRecord]) -> dict[str, Study]:
    """The search of each step that made one; not those whose file is gone or is something else."""
    found = {}
    for name, step in steps.items():
        artifact = step.artifacts.get(ARTIFACT)
        try:
            content = json.loads(Path(artifact.uri).read_text("utf-8")) if artifact else None
            study = Study.parse(content, where=ARTIFACT) if isinstance(content, dict) else None
        except (OSError, ValueError, ProjectError):
            continue
        if study and study.best_trial:
            found[name] = study
    return found


def line(study: Study) -> str:
    """What was found, in a line."""
    # Late, here and below: most runs make no search, and what makes pages takes a while to load.
    from tools.pages import number, short

    best = study.best_trial
    value = number(best.value if best else None)
    found = ", ".join(f"{name} {short(setting)}" for name, setting in study.found.items())
    return f"{study.metric} {value} by {found}; {effort(study)}"


def effort(study: Study) -> str:
    """How much was tried, and whether it would be found again."""
    from tools.pages import duration

    states = [trial.state for trial in study.trials]
    counts = [f"{states.count(state)} {state}" for state in ("pruned", "failed") if state in states]
    besides = f" ({', '.join(counts)})" if counts else ""
    timed = study.stopped_by == "time"
    count = f"{len(states)} of {study.most_trials}" if timed else f"{len(states)}"
    end = ", then time was up: another search may find something else" if timed else ""
    return f"{count} trials{besides} in {duration(study.seconds)}{end}"


def ranking(study: Study) -> list[Trial]:
    """The trials, the best first; those that were not finished come after those that were."""
    sign = 1 if study.lower_is_better else -1

    def order(trial: Trial) -> tuple[bool, bool, float]:
        value = trial.value
        return trial.state != "complete", value is None, 0.0 if value is None else sign * value

    return sorted(study.trials, key=order)
