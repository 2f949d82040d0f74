"""Lab 1: run a pipeline and read the run."""

from collections.abc import Iterator

from tools.labs import past
from tools.labs.lab import Finding, Scope

REPORT = "report.html"


def check(scope: Scope) -> Iterator[Finding]:
    """A run that succeeded, one in which nothing had to be run, and a report."""
    runs = past.succeeded(scope=scope)
    yield Finding(
        "a run has succeeded",
        bool(runs),
        "there is no run of `training` that succeeded",
        (
            "Which verb of `make help` runs a pipeline?",
            "If a run failed: its last line names the step and the step's log.",
            "`make run`",
        ),
    )
    again = [run for run in runs if "ran" not in past.states(run).values()]
    yield Finding(
        "a second run found nothing to do",
        bool(again),
        "every run so far had something to run",
        (
            "Run it once more, and change nothing before.",
            "A step is run again when its settings, its code or what it reads has changed: "
            "`git status` shows what you changed.",
        ),
    )
    yield Finding(
        "there is a report of a run",
        any((past.folder(run) / REPORT).exists() for run in runs),
        f"no run's folder in artifacts/runs/ has a {REPORT}",
        ("Which verb writes a run as one page to show?", "`make report`"),
    )
