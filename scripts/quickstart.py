"""`make quickstart`: from nothing to a model that answers, in a folder of its own.

The folder appears at once and complete, under git; a setup that fails or is stopped takes it away
again. So the same command can simply be given again.
"""

import contextlib
import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.rule import Rule
from rich.table import Table

from scripts import screen
from scripts.render import destination, generate
from scripts.repository import git, surroundings
from scripts.screen import Refused

FLAVOUR = "laptop"
# For the first commits, where git does not know who the user is.
NOBODY = ("-c", "user.name=quickstart", "-c", "user.email=quickstart@localhost")
SHOWN = ("run", "report", "release", "predict")
"""What a new project is shown with: a model trained, looked at, released and asked."""
PATIENCE = 20
"""Seconds that a stopped verb gets to end by itself."""


def quickstart(
    dest: Annotated[str, typer.Option(envvar="DEST", help="Where the project goes.")] = "",
) -> None:
    """Generate a project, set it up, train, release and ask a model, and say what there is now."""
    project = destination(dest)
    title("generate", project)
    create(project)
    with gone_unless_finished(project):
        title("make setup", project)
        if not verb("setup", project):
            raise Refused("make setup failed; what it said is above.")
        commit(project, "Lock the versions")
    for name in SHOWN:
        title(f"make {name}", project)
        if not verb(name, project):
            raise Refused(f"make {name} failed; what it said is above. Go on in {project}.")
    conclude(project)


def title(what: str, project: Path) -> None:
    """Announce a part; what other programs print belongs below it."""
    screen.console.print(Rule(f"[bold]{what}[/]", align="left", style="dim"))
    if what == "generate":
        screen.say(f"the flavour {FLAVOUR}, in {project}")
    screen.console.file.flush()


def create(project: Path) -> None:
    """Generate the project and commit it: all of it appears, or nothing.

    Raises:
        Refused: the folder cannot be written, or git or Copier says no.
    """
    git(Path.cwd(), "--version")
    try:
        project.parent.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(prefix=f".{project.name}-", dir=project.parent)
    except OSError as error:
        raise Refused(
            f"{project} cannot be made ({error.filename}: {error.strerror}): choose another DEST."
        ) from None
    with staging:
        draft = Path(staging.name) / "project"
        generate(FLAVOUR, draft)
        git(draft, "init", "--quiet", "--initial-branch=main")
        commit(draft, "Generate the project")
        draft.rename(project)


def commit(project: Path, message: str) -> None:
    """Commit everything, as nobody if git knows no name."""
    try:
        git(project, "var", "GIT_AUTHOR_IDENT")
        who: tuple[str, ...] = ()
    except Refused:
        who = NOBODY
    git(project, "add", "--all")
    git(project, *who, "commit", "--quiet", "--no-verify", "--message", message)


@contextlib.contextmanager
def gone_unless_finished(project: Path) -> Iterator[None]:
    """Take the project away when what is done with it does not finish."""
    try:
        yield
    except BaseException:
        # Another Ctrl-C must not leave half of it; the rename takes all of it away at once.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        with tempfile.TemporaryDirectory(prefix=f".{project.name}-", dir=project.parent) as away:
            project.rename(Path(away) / "project")
        screen.say(f"Not finished: {project} was taken away again.")
        signal.signal(signal.SIGINT, before)
        raise


def verb(name: str, project: Path) -> bool:
    """Run one of the project's verbs on this terminal, and tell whether it succeeded.

    Raises:
        KeyboardInterrupt: the user stopped it, and it has ended.
        Refused: make is not installed.
    """
    try:
        running = subprocess.Popen(["make", name], cwd=project, env=surroundings())
    except FileNotFoundError:
        raise Refused("make is not installed: install it, then try again.") from None
    try:
        return running.wait() == 0
    except KeyboardInterrupt:
        # Ctrl-C reaches everything on the terminal; what it runs is left time to tidy up.
        try:
            running.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            running.terminate()
            running.wait()
        raise


def conclude(project: Path) -> None:
    """Show the metrics, where things are and what comes next."""
    path = max(project.glob("artifacts/runs/*/run.json"))
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    title("done", project)
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
    package = next(project.glob("src/*/model.py")).parent
    rows = {
        "the project": project,
        "the model": f"{package.relative_to(project)}/model.py",
        "its settings": "config/project.yaml",
        "this run's report": f"{path.parent.relative_to(project)}/report.html",
        "registered models": "artifacts/models/",
    }
    table = Table.grid(padding=(0, 2))
    for name, place in rows.items():
        table.add_row(name, str(place))
    screen.say(f"A model is trained in {record['seconds']:.0f} s: {metrics}")
    screen.console.print(table, markup=False, soft_wrap=True)
    screen.what_next(
        f"cd {project}",
        f"Edit {rows['the model']} or {rows['its settings']}, then: make run",
        "make help shows the other verbs; README.md shows the first fifteen minutes.",
    )


if __name__ == "__main__":
    screen.start(quickstart)
