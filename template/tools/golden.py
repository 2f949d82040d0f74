"""`make golden`: the pipelines as they compile, kept in git so that a change of them is seen.

Tags are left out: they change with every edit, and have tests of their own.
"""

from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import compile, images, screen
from tools.definition import defined
from tools.project import ROOT, project

FOLDER = "tests/golden"
TAG = "golden"


def path(pipeline: str) -> Path:
    """Where the compiled form of a pipeline is kept."""
    return ROOT / FOLDER / f"{pipeline}.yaml"


def compiled(pipeline: str) -> str:
    """A pipeline's intermediate representation (YAML), with a placeholder for every image tag."""
    text = compile.compiled(defined(pipeline)).text
    for step in project().steps:
        reference = images.image(step)
        text = text.replace(reference, f"{reference.rpartition(':')[0]}:{TAG}")
    return text


def write(pipeline: str) -> None:
    """Keep the pipeline as it now compiles."""
    path(pipeline).parent.mkdir(parents=True, exist_ok=True)
    path(pipeline).write_text(compiled(pipeline))


def require() -> None:
    """Show how the pipelines have changed since they were kept.

    Raises:
        ProjectError: one of them has.
    """
    stale = []
    for name in project().pipelines:
        kept = path(name).read_text().splitlines() if path(name).exists() else []
        place = str(path(name).relative_to(ROOT))
        changes = list(unified_diff(kept, compiled(name).splitlines(), place, place, "", "", 1, ""))
        if changes:
            stale.append(name)
            screen.console.print("\n".join(changes), markup=False, soft_wrap=True)
    if stale:
        raise ProjectError(
            f"{', '.join(stale)} {'compiles' if len(stale) == 1 else 'compile'} to something else "
            f"than {FOLDER} has: `make golden` accepts what is above; commit it with its cause"
        )


def golden(
    check: Annotated[bool, typer.Option(help="Say what is stale, and write nothing.")] = False,
) -> None:
    """Write all pipelines anew."""
    if check:
        require()
        screen.what_next("The pipelines are what git has of them.")
        return
    for name in project().pipelines:
        write(name)
    screen.what_next(f"Read `git diff {FOLDER}`: it is what the cluster will run differently.")


if __name__ == "__main__":
    screen.start(golden)
