"""`make fleet` and `make fleet-update`: many projects, looked at and updated side by side."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from scripts import screen
from scripts.fleet_members import Member, members, one_line
from scripts.fleet_updates import Result, State, Target, look_ahead, push, target, update_one
from scripts.repository import ROOT
from scripts.screen import Refused

# Nobody is there to be asked for a password; large files are not needed to see what changes.
UNATTENDED = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "PYTHONWARNINGS": "ignore",
}


STYLES = {State.CONFLICT: "yellow", State.REFUSED: "red", State.FAILED: "red"}


def all_of(
    fleet: list[Member], jobs: int, doing: str, do: Callable[[Member, Result], None]
) -> list[Result]:
    """Do something with all projects, side by side; those of one repository one by one."""
    repositories: dict[str, list[Member]] = {}
    for member in fleet:
        repositories.setdefault(member.repository, []).append(member)
    results = {member: Result(member.name, member.source, str(member.folder)) for member in fleet}

    def work(group: list[Member]) -> int:
        for member in group:
            try:
                do(member, results[member])
            except Refused as refusal:
                results[member].end(State.REFUSED, one_line(refusal))
            except Exception as error:  # The others go on, whatever it is.
                results[member].end(State.FAILED, f"{type(error).__name__}: {one_line(error)}")
        return len(group)

    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        try:
            begun = [pool.submit(work, group) for group in repositories.values()]
            with screen.progress(doing, len(fleet)) as advance:
                for future in as_completed(begun):
                    advance(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return list(results.values())


@contextmanager
def at_work(workspace: Path) -> Iterator[None]:
    """Have the workspace for this command alone.

    Raises:
        Refused: it cannot be made, or another fleet is at work in it.
    """
    if workspace.is_relative_to(ROOT):
        raise Refused(f"WORKSPACE={workspace} is inside this checkout: name one outside.")
    try:
        (workspace / "reports").mkdir(parents=True, exist_ok=True)
        lock = (workspace / ".lock").open("w")
    except OSError as error:
        raise Refused(f"WORKSPACE={workspace} cannot be used: {error.strerror}.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"Another fleet is at work in {workspace}: wait for it.") from None
        yield


Named = Annotated[
    list[str] | None,
    typer.Argument(envvar="PROJECTS", help="Folders, git URLs, files that list them."),
]
To = Annotated[str, typer.Option(envvar="TO", help="A release; the newest good one without.")]
Workspace = Annotated[
    Path, typer.Option(envvar="WORKSPACE", help="Where clones and reports are kept.")
]
Template = Annotated[
    Path, typer.Option(envvar="TEMPLATE", help="A clone of the template; this one without.")
]
Jobs = Annotated[int, typer.Option(envvar="JOBS", min=0, help="At a time; 0: one a processor.")]
Json = Annotated[bool, typer.Option("--json", envvar="JSON", help="For a program.")]
BESIDE = Path("../fleet")


def status(
    projects: Named = None,
    to: To = "",
    workspace: Workspace = BESIDE,
    template: Template = ROOT,
    jobs: Jobs = 0,
    as_json: Json = False,
) -> None:
    """Show of each project its release, the edited managed files, what an update would meet."""
    with prepared(projects, to, workspace, template) as (fleet, goal, _):
        results = all_of(fleet, jobs, "Looking", lambda *each: look_ahead(each[0], goal, each[1]))
    if as_json:
        show_json(goal, results)
    else:
        table = Table("project", "release", "behind", "edited", f"update to {goal.version}")
        for result in results:
            table.add_row(*facts(result), str(len(result.edited or ()) or ""), outcome(result))
        show(table, results)
        if any(result.state in (State.CLEAN, State.CONFLICT) for result in results):
            screen.what_next("make fleet-update with the same PROJECTS= updates them.")
        mend_and_repeat(results)
    if any(result.state in (State.REFUSED, State.FAILED) for result in results):
        raise typer.Exit(1)


def update(
    projects: Named = None,
    to: To = "",
    workspace: Workspace = BESIDE,
    template: Template = ROOT,
    jobs: Jobs = 0,
    as_json: Json = False,
    push_branches: Annotated[
        bool, typer.Option("--push", envvar="PUSH", help="Push the branches of clones.")
    ] = False,
    checks: Annotated[
        bool, typer.Option("--checks", envvar="CHECKS", help="Lock, check and test each project.")
    ] = False,
) -> None:
    """Update each project on a branch of its own; what is done already is left as it is."""
    options = () if checks else ("--no-lock", "--no-checks")
    with prepared(projects, to, workspace, template) as (fleet, goal, reports):

        def do(member: Member, result: Result) -> None:
            update_one(member, goal, result, reports, *options)
            if push_branches:
                push(member, goal, result)

        results = all_of(fleet, jobs, "Updating", do)
    if as_json:
        show_json(goal, results)
    else:
        table = Table("project", "release", "behind", "merged", f"update to {goal.version}")
        for result in results:
            table.add_row(*facts(result), str(result.counts.get("merged", "")), outcome(result))
        show(table, results)
        if any(result.state is State.CONFLICT for result in results):
            screen.what_next("Resolve the conflicts where they are, as in any merge.")
        unpushed = (State.UPDATED, State.WAITING)
        if not push_branches and any(
            member.clone and result.state in unpushed
            for member, result in zip(fleet, results, strict=True)
        ):
            screen.what_next("The same with PUSH=1 pushes the branches of the clones.")
        mend_and_repeat(results)
        screen.what_next(f"What became of each file: {reports}")
    if any(result.state in STYLES for result in results):
        raise typer.Exit(1)


@contextmanager
def prepared(
    projects: list[str] | None, to: str, workspace: Path, template: Path
) -> Iterator[tuple[list[Member], Target, Path]]:
    """Give the projects, the release, and the folder of the reports."""
    for name, value in UNATTENDED.items():
        os.environ.setdefault(name, value)
    workspace = workspace.expanduser().resolve()
    fleet = members(projects or [], workspace)
    with at_work(workspace), tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        yield fleet, target(template, to, Path(folder, "release")), workspace / "reports"


def show_json(to: Target, results: list[Result]) -> None:
    """Write all there is to know."""
    projects = [asdict(result) for result in results]
    screen.console.print_json(data={"release": to.version, "projects": projects})


def show(table: Table, results: list[Result]) -> None:
    """Show a table, and below it a line for each project that needs a person."""
    table.box, table.header_style = None, "dim"
    table.columns[0].overflow = "fold"
    screen.console.print(table)
    for result in results:
        if result.withdrawn:
            screen.say(f"! {result.project}: {result.release} was withdrawn: {result.withdrawn}")
        if result.says:
            screen.say(f"! {result.project}: {result.says}")


def facts(result: Result) -> tuple[str, str, str]:
    """Give the cells about what a project is."""
    releases = len(result.behind)
    days = f", {result.days} days" if result.days else ""
    behind = f"{releases} release{'s' * (releases != 1)}{days}" if releases else ""
    return screen.escape(result.project), screen.escape(result.release), behind


def outcome(result: Result) -> str:
    """Give the cell about what comes of an update."""
    state = result.state or State.FAILED
    conflicts = len(result.conflicts)
    words = f"{conflicts} conflict{'s' * (conflicts != 1)}" if conflicts else str(state)
    return f"[{STYLES.get(state, 'green')}]{words}{', pushed' * result.pushed}[/]"


def mend_and_repeat(results: list[Result]) -> None:
    """Say what to do about those that stood still."""
    stopped = sum(result.state in (State.REFUSED, State.FAILED) for result in results)
    if stopped:
        screen.what_next(f"{stopped} of {len(results)} stopped: mend what is said of them, repeat.")


if __name__ == "__main__":
    screen.start(status, update)
