"""Lab 2: change a parameter, and compare."""

from collections.abc import Iterator
from itertools import combinations

from runtime.records import RunRecord
from tools import compare, history
from tools.labs import past
from tools.labs.lab import Finding, Scope

STEP = "train"
WHERE = "What the steps are told is in config/project.yaml, a section for each step."
ALONE = f"Change one value below `{STEP}:`, and `make run`."
TO_DIFFER = (
    WHERE,
    ALONE,
    "Say `regularisation: 10` instead of `1.0` (of XGBoost `depth: 5` instead of `3`), save the "
    "file, and `make run`.",
)
TO_DIFFER_IN_NOTHING_ELSE = (
    WHERE,
    ALONE,
    "What else differs between the two runs: `make compare` shows it. Put that back: "
    "`git diff config/project.yaml`",
)


def check(scope: Scope) -> Iterator[Finding]:
    """Two runs that differ in how the model is trained and in nothing else, side by side."""
    runs = past.succeeded()
    pairs = [pair for pair in combinations(runs, 2) if pair[1].started_at >= scope.since]
    good = [pair for pair in pairs if about(pair) == {STEP}]
    yield Finding(
        "two runs differ in how the model is trained, and in nothing else",
        bool(good),
        explained(pairs),
        TO_DIFFER_IN_NOTHING_ELSE if any(past.differing(*pair) for pair in pairs) else TO_DIFFER,
    )
    later = [after for _, after in good if past.states(after).get("ingest") == "cached"]
    yield Finding(
        "only what the change touches was run again",
        bool(later),
        "in the later run, `ingest` read the data again",
        (
            "Change the value back, `make run`, change it again, `make run`: which steps are run?",
            "`make clean` empties the cache; after it everything is run once.",
        ),
    )
    page = history.artifacts(past.ENV) / compare.PAGE
    newest = max((past.folder(run).stat().st_mtime for run in later), default=0.0)
    yield Finding(
        "the runs were compared",
        bool(later) and page.exists() and page.stat().st_mtime >= newest,
        "there is no comparison with the later run in it",
        ("Which verb shows runs side by side?", "`make compare`"),
    )


def about(pair: tuple[RunRecord, RunRecord]) -> set[str]:
    """The steps whose settings differ in two runs on the same data."""
    return {name.partition(".")[0] for name in past.differing(*pair)}


def explained(pairs: list[tuple[RunRecord, RunRecord]]) -> str:
    """Why no pair will do."""
    for pair in reversed(pairs):
        others = [name for name in past.differing(*pair) if not name.startswith(f"{STEP}.")]
        if STEP in about(pair):
            return (
                f"the runs differ in {', '.join(others)} too, so nobody can say which change made "
                "the difference"
            )
        if others:
            return f"the runs differ in {', '.join(others)}, which is not how the model is trained"
    return "all runs were told the same"
