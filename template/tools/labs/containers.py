"""Lab 10: the same pipeline in containers."""

from collections.abc import Iterator

from tools.labs import past
from tools.labs.lab import Finding, Scope


def check(scope: Scope) -> Iterator[Finding]:
    """A run in the step images, and one without them, with the same numbers."""
    runs = past.succeeded()
    inside = [run for run in runs if run.runner == "docker" and run.started_at >= scope.since]
    yield Finding(
        "a run in containers has succeeded",
        bool(inside),
        "no run that succeeded was in containers",
        (
            "It takes the images of the steps, and the runner that uses them.",
            "`make images`, then `make run RUNNER=docker`; docs/images.md says more.",
        ),
    )
    if not inside:
        return
    last = inside[-1]
    twins = [
        run
        for run in runs
        if run.runner == "local" and run.lineage.images == last.lineage.images
        if not past.differing(run, last)
    ]
    yield Finding(
        "the same was run without containers",
        bool(twins),
        "there is no local run of the same code and settings to compare with",
        ("`make run`",),
    )
    yield Finding(
        "the numbers are the same",
        any(run.metrics == last.metrics for run in twins),
        "inside and outside of containers the metrics differ",
        (
            "Is something read that is not in the image: a file, a variable, the time?",
            "`make compare` shows both runs.",
        ),
    )
