"""`make golden`: the pipelines as they compile, kept in git so that a change of them is seen.

Tags are left out: they change with every edit, and have tests of their own.
"""

from pathlib import Path

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


def golden() -> None:
    """Write all pipelines anew."""
    for name in project().pipelines:
        write(name)
    screen.what_next(f"Read `git diff {FOLDER}`: it is what the cluster will run differently.")


if __name__ == "__main__":
    screen.start(golden)
