"""Lab 5: a step of your own."""

from collections.abc import Iterator

from runtime.errors import ProjectError
from runtime.records import RunRecord, StepRecord
from tools import golden, template
from tools.labs import past
from tools.labs.lab import Finding, Scope
from tools.project import ROOT

PIPELINE = "training"


def check(scope: Scope) -> Iterator[Finding]:
    """A step that the template knows of, that is run, changes the data, and is heard."""
    own = [name for name in template.origin().extra_steps if (ROOT / "steps" / name).is_dir()]
    yield Finding(
        "the project has a step of its own",
        bool(own),
        "the template knows of no step beside its own ones",
        ("Which verb adds a step? It needs a name.", "`make step NAME=clean_text`"),
    )
    if not own:
        return
    runs = past.succeeded(PIPELINE, scope)
    newest = runs[-1] if runs else None
    there = {name: found for name in own if newest and (found := step(newest, name))}
    yield Finding(
        "the newest run ran it",
        bool(there),
        f"{' and '.join(own)} was not part of the newest run that succeeded",
        (
            f"A pipeline is a file in pipelines/: the step has to be called in {PIPELINE}.py.",
            "`make step` printed three lines: an import, a parameter, a call.",
            "docs/steps.md shows where each belongs; then `make run`.",
        ),
    )
    if newest is None or not there:
        return
    heard = [name for name in there if name in waited_for(newest)]
    yield Finding(
        "another step takes what it gives",
        bool(heard),
        f"nothing waits for {' or '.join(there)}: its result is computed and thrown away",
        (
            "Which step should get the new data instead of the old?",
            "In `train(train_data=…)`, give the result of your step instead of `train_data`.",
        ),
    )
    yield Finding(
        "it changes the data",
        any(changes(newest, there[name]) for name in there),
        f"what {' and '.join(there)} gives is what it got",
        (
            "What it does stands in component.py, in the function of its name.",
            "It comes with one setting, `max_rows`: below its own section in config/project.yaml. "
            "Or write something of your own: drop rows that are twice the same, say.",
        ),
    )
    yield Finding("the pipeline, as it now compiles, is accepted", *accepted())


def step(run: RunRecord, name: str) -> StepRecord | None:
    """What became of a step in a run; None if it was no part of it, or was left out."""
    found = run.steps.get(name.replace("_", "-"))
    return found if found and found.state in ("ran", "cached") else None


def waited_for(run: RunRecord) -> set[str]:
    """The steps of a run that another one waits for."""
    return {name.replace("-", "_") for each in run.steps.values() for name in each.after or []}


def changes(run: RunRecord, own: StepRecord) -> bool:
    """Whether a step wrote a table that no step before it wrote."""
    before = {
        artifact.metadata.get("sha256")
        for name in own.after or []
        for artifact in run.steps[name].artifacts.values()
    }
    written = {artifact.metadata.get("sha256") for artifact in own.artifacts.values()}
    return bool(written - before)


def accepted() -> tuple[bool, str, tuple[str, ...]]:
    """Whether the pipeline compiles to what is kept in git."""
    hints = (
        "How a pipeline compiles is kept in tests/golden, so that a change of it is seen.",
        "`make golden`",
    )
    try:
        same = golden.path(PIPELINE).read_text("utf-8") == golden.compiled(PIPELINE)
    except FileNotFoundError:
        same = False
    except ProjectError as error:
        return False, f"it does not compile: {error}", hints
    return same, "tests/golden has the pipeline as it was before", hints
