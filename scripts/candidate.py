"""`make candidate`: may this checkout become a release? A published example is updated to it.

The example is one of the branch `examples`, in the folder that EXAMPLES= names; without, it is
generated anew by the newest release. After the update its own verbs run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from scripts import ledger, screen
from scripts.examples import flavours_of, point, released
from scripts.render import copy
from scripts.repository import git, surroundings
from scripts.screen import Refused
from scripts.trials import HIGH, commit, offer


def candidate(
    flavour: Annotated[str, typer.Option(envvar="FLAVOUR", help="An example.")] = "laptop",
    examples: Annotated[str, typer.Option(envvar="EXAMPLES", help="Where they are.")] = "",
    verbs: Annotated[str, typer.Option(help="What the project runs then.")] = "setup check test",
) -> None:
    """Update an example to this checkout, and run its verbs."""
    with tempfile.TemporaryDirectory(prefix="candidate-") as name:
        folder = Path(name)
        project = example(flavour, examples, folder)
        template = offer(folder / "template")
        ledger.tag_releases(template)
        point(project, str(template))
        git(project, "init", "--quiet", "--initial-branch=main")
        commit(project, "An example")
        update(project, template)
        for verb in verbs.split():
            screen.say(f"make {verb}")
            if subprocess.run(["make", verb], cwd=project, env=environment()).returncode:
                raise Refused(f"make {verb} fails in the example {flavour} after the update.")
    screen.what_next(f"The example {flavour} is updated, and make {verbs} succeeds in it.")


def example(flavour: str, examples: str, folder: Path) -> Path:
    """Give a copy of an example.

    Raises:
        Refused: there is none.
    """
    project = folder / "project"
    if examples:
        source = Path(examples).expanduser().resolve() / flavour
        if not source.is_dir():
            raise Refused(f"{source} is no example: EXAMPLES is a checkout of that branch.")
        shutil.copytree(source, project)
        return project
    clone, version = released(folder / "released")
    flavours = flavours_of(clone, version)
    if flavour not in flavours:
        raise Refused(f"{version} has no flavour {flavour}: choose from {', '.join(flavours)}.")
    copy(clone, project, flavours[flavour], version)
    return project


def update(project: Path, template: Path) -> None:
    """Update as `make update` does, save for the checks; show the report.

    Raises:
        Refused: it is refused, or in conflict, in a project that nobody has touched.
    """
    script = [sys.executable, str(template / "hooks/update.py"), str(project)]
    options = [f"--to={HIGH}", f"--repository={template}", "--no-lock", "--no-checks"]
    if subprocess.run([*script, *options], cwd=project, env=environment()).returncode:
        raise Refused("The update to this checkout does not go through: the lines above say why.")


def environment() -> dict[str, str]:
    """Give what a project's verbs see: nothing of this repository's own."""
    kept = dict(surroundings())
    kept.setdefault("UV", os.environ.get("UV") or shutil.which("uv") or "uv")
    return kept


if __name__ == "__main__":
    screen.start(candidate)
