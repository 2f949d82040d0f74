"""Lab 12: take it home: your own data."""

from collections.abc import Iterator

from tools import registry
from tools.labs import past
from tools.labs.lab import MATERIAL, Finding, Scope
from tools.project import ROOT

SHIPPED = "sklearn:"


def check(scope: Scope) -> Iterator[Finding]:
    """A model of the participant's own data that is good enough, and released."""
    runs = [run for run in past.succeeded(scope=scope) if own(past.source(run))]
    yield Finding(
        "a run on your own data has succeeded",
        bool(runs),
        "every run so far read what the project or the workshop came with",
        (
            "docs/your-own-data.md: two places, config/project.yaml and schema.py.",
            "Start with a CSV file of a few hundred rows in data/, and the columns you know best.",
            "`validate` says what the data are not; believe it, and describe what they are.",
        ),
    )
    champion = past.champion()
    # By the run, as a model that was known before keeps the record that it has.
    registered = [registry.registered_by(run) for run in runs]
    yield Finding(
        "a model of them is released",
        bool(champion and champion.model_id in registered),
        "the champion is not a model of your data",
        (
            "The champion of the example cannot be compared with yours: release yours when the "
            "first one is registered.",
            "Is `minimum` below `evaluate:` right for your data? Then `make run`, `make release`.",
        ),
    )


def own(source: str) -> bool:
    """Whether data came neither with the project nor with the workshop."""
    shipped = source.startswith((SHIPPED, str(MATERIAL.relative_to(ROOT))))
    return bool(source) and not shipped
