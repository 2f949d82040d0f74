"""`make workshop-setup`: fetch what the labs need, so that they run without network."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable

from rich.table import Table

from runtime.errors import ProjectError
from tools import screen, template
from tools.labs.lab import labs
from tools.project import ROOT

GIBIBYTE = 2**30
ROOM = 3
"""GiB that the labs may fill: runs, a second environment while an update is tried."""


def setup() -> None:
    """Fetch everything, and show what there is; leave with an error if a lab would stop."""
    table = Table("for the labs", "", "", box=None, pad_edge=False, header_style="dim")
    table.add_column("seconds", justify="right")
    problems = []
    for name, find in NEEDED.items():
        started = time.perf_counter()
        try:
            with screen.console.status(name):
                said, mark = find(), "[green]✓[/]"
        except ProjectError as error:
            problems.append(f"{name}: {error}")
            said, mark = "not there", "[red]✗[/]"
        seconds = f"{time.perf_counter() - started:.1f}"
        table.add_row(name, mark, screen.escape(said), seconds)
    screen.console.print(table)
    if problems:
        screen.fail("\n".join(problems))
    screen.what_next(
        "The labs run without network now: `make workshop`. Where there is none, "
        "`export UV_OFFLINE=1` first, so that uv does not look for one."
    )


def the_labs() -> str:
    """That there are some."""
    return f"{len(labs())} in workshop/"


def repository() -> str:
    """The project's own: labs 5, 9 and a reset ask git."""
    made_from = template.origin()
    try:
        template.git("rev-parse", "--verify", "--quiet", "HEAD")
    except ProjectError:
        raise ProjectError(
            "the project is not in git, or has no commit yet: "
            "git init && git add -A && git commit -m 'Start'"
        ) from None
    return f"made by release {made_from.version} of the template"


def the_template() -> str:
    """For labs 5 and 9: `make step` and `make update` ask it."""
    made_from = template.origin()
    return f"in {template.repository(made_from)}"


def copier() -> str:
    """For the same: it renders the template."""
    return f"in {template.python_with_copier()}"


def versions() -> str:
    """For lab 5: a step more in the workspace is locked anew, by what uv knows of each package."""
    command = ["uv", "lock", "--upgrade", "--dry-run", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ProjectError(
            f"uv cannot look up the packages: {done.stderr.strip().splitlines()[-1]}. "
            "Is the network there?"
        )
    return "of all packages, in uv's cache"


def disk() -> str:
    """Room for runs and environments."""
    free = shutil.disk_usage(ROOT).free / GIBIBYTE
    if free < ROOM:
        raise ProjectError(f"{free:.1f} GiB are free, {ROOM} are needed: make room")
    return f"{free:.0f} GiB free"


def engine() -> str:
    """For lab 10, which is done only where there is one."""
    for name in ("docker", "podman"):
        if shutil.which(name):
            done = subprocess.run([name, "version"], capture_output=True, env={**os.environ})
            return f"{name}{'' if done.returncode == 0 else ', which does not answer'}"
    return "none: lab 10 is for another day"


NEEDED: dict[str, Callable[[], str]] = {
    "labs": the_labs,
    "git": repository,
    "template": the_template,
    "Copier": copier,
    "versions": versions,
    "disk": disk,
    "containers": engine,
}


if __name__ == "__main__":
    screen.start(setup)
