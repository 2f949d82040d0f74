"""`make fleet-demo`: a fleet of the oldest release with a team's work in each, updated to this one.

What came of it is counted here, by the hashes of all files: as each project was made, as the team
left it, as the update left it, and as the release makes a new one. The promises of the corpus are
counted apart, and so is what `make fleet-update` says.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from copier.errors import MissingFileWarning
from rich.table import Table

from scripts import ledger, screen
from scripts.edits import Edit
from scripts.ledger import Release
from scripts.repository import ROOT, git, no_settings, unmerged
from scripts.screen import Refused
from scripts.trials import (
    HIGH,
    NOTHING,
    Begun,
    Group,
    Trials,
    Way,
    commit,
    groups,
    offer,
    tree,
)

MOST = 6
"""Edits that are done in one project."""
NUMBERS = ("edited", "kept", "merged", "conflicts", "lost", "updated")
"""What is counted in the files of a project."""


@dataclass
class Count:
    """What came of a project's files, told from their hashes."""

    edited: list[str] = field(default_factory=list)
    """Those that the team changed, added or deleted."""
    kept: int = 0
    merged: int = 0
    conflicts: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    updated: int = 0
    """Files that the team had left alone, and that are now as the new release makes them."""

    @property
    def row(self) -> list[int]:
        """Return the numbers as NUMBERS names them."""
        of_the_team = [len(self.edited), self.kept, self.merged, len(self.conflicts)]
        return [*of_the_team, len(self.lost), self.updated]


def recount(begun: Begun) -> Count:
    """Compare all files before and after an update with those that both releases make."""
    project = begun.work.project
    before, old, new = begun.before, begun.origin, tree(begun.fresh)
    after, conflicts = tree(project), unmerged(project)
    count = Count(conflicts=sorted(conflicts))
    for path in sorted({*before, *old, *new, *after}):
        if path == begun.work.answers_file:
            continue
        was, base, release, now = (each.get(path, NOTHING) for each in (before, old, new, after))
        touched = was != base
        if touched:
            count.edited.append(path)
        if path in conflicts:
            # Until it is resolved, git has the team's side beside the file.
            if blob(project, f":2:./{path}") != blob(project, f"HEAD:./{path}"):
                count.lost.append(path)
        elif now == was:
            count.kept += touched
        elif touched and now not in (base, release, NOTHING):
            count.merged += 1
        elif not touched and now == release:
            count.updated += 1
        else:
            count.lost.append(path)
    return count


def blob(project: Path, name: str) -> str:
    """Return git's hash of a file; empty if there is none."""
    try:
        return git(project, "rev-parse", "--verify", "--quiet", name)
    except Refused:
        return ""


def template_of(folder: Path) -> Path:
    """Clone this repository, with every release of it and this checkout as the newest."""
    template = offer(folder)
    ledger.tag_releases(template)
    head = git(template, "rev-parse", "HEAD")
    today = datetime.now(UTC).date().isoformat()
    ledger.append(template, Release(HIGH, head, today))
    commit(template, f"Release {HIGH}")
    return template


def chosen(release: str, seed: str) -> Group:
    """Choose some edits that can be done in one project, as if at random."""
    chance = random.Random(seed)  # noqa: S311
    updatable = {
        name: edits
        for name, group in groups(release).items()
        if (edits := [edit for edit in group.edits if Way.MAKE.worst(edit) != "refused"])
    }
    sizes = [len(edits) for edits in updatable.values()]
    (name,) = chance.choices([*updatable], sizes)
    there: list[Edit] = updatable[name]
    some = chance.sample(range(len(there)), chance.randint(1, min(MOST, len(there))))
    picked = tuple(there[each] for each in sorted(some))
    # A fleet changes no answers.
    return replace(groups(release)[name], edits=picked, answers={})


def teams(trials: Trials, release: str, number: int, seed: int) -> list[tuple[Group, Begun]]:
    """Have as many teams work in projects of their own."""
    begun = []
    for each in screen.track(range(number), "Teams at work", number):
        group = chosen(release, f"{seed}-{each}")
        begun.append((group, trials.begin(group)))
    return begun


def fleet_update(listed: Path, template: Path, workspace: Path) -> dict[str, Any]:
    """Update all projects by the command, as it is given by `make`, and return what it says.

    Raises:
        Refused: it said nothing that can be read.
    """
    command = [sys.executable, "-m", "scripts.fleet", "update", str(listed), "--json"]
    command += [f"--template={template}", f"--workspace={workspace}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False, text=True)
    try:
        said: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Refused("make fleet-update stopped; what it said is above.") from None
    return said


def problems(begun: Begun, count: Count, said: Mapping[str, Any]) -> list[str]:
    """Say what is lost, by hashes and by promises, and where the command says otherwise."""
    found = [f"lost, by its hashes: {path}" for path in count.lost]
    for name, promises in begun.promises.items():
        for promise in promises:
            conflict = promise.path in count.conflicts
            if broken := promise.broken(begun.work.project, conflict=conflict):
                found.append(f"lost, of {name}: {broken}")
    if not count.updated:
        found.append("nothing is as the new release makes it")
    outcome = "conflict" if count.conflicts else "updated"
    if (said["state"], said["conflicts"]) != (outcome, count.conflicts):
        found.append(f"not as the command says: {said['state']} {said['says']}")
    return found


def fleet_demo(
    number: Annotated[
        int, typer.Option("--number", envvar="N", min=1, help="How many projects.")
    ] = 50,
    seed: Annotated[int, typer.Option(envvar="SEED", help="Another one: other edits.")] = 1,
) -> None:
    """Update many projects of the oldest release, each with a team's work in it, to this one."""
    warnings.simplefilter("ignore", MissingFileWarning)
    folder = Path(tempfile.mkdtemp(prefix="fleet-demo-"))
    wrong: list[str] = []
    try:
        wrong = demo(folder, number, seed)
    finally:
        if not wrong:
            shutil.rmtree(folder)
    if wrong:
        raise Refused("\n".join([*wrong, f"To look at: {folder}"]))
    screen.what_next("Nothing is lost.")


def demo(folder: Path, number: int, seed: int) -> list[str]:
    """Make and update the projects, show what came of each, and return what is wrong."""
    begin = time.perf_counter()
    os.environ.update(no_settings(folder))
    template = template_of(folder / "template")
    oldest = ledger.read(template)[0].version
    begun = teams(Trials(template, folder), oldest, number, seed)
    listed = folder / "fleet.txt"
    listed.write_text("".join(f"{each.work.project}\n" for _, each in begun), "utf-8")
    start = time.perf_counter()
    said = fleet_update(listed, template, folder / "fleet")["projects"]
    seconds = time.perf_counter() - start

    table = Table("", "what the team did", *NUMBERS, box=None, header_style="dim")
    for column in table.columns[2:]:
        column.justify = "right"
    wrong = []
    total = [0] * len(NUMBERS)
    for each, ((group, project), words) in enumerate(zip(begun, said, strict=True), 1):
        count = recount(project)
        wrong += [f"{each}: {problem}" for problem in problems(project, count, words)]
        total = [a + b for a, b in zip(total, count.row, strict=True)]
        names = ", ".join(edit.name for edit in group.edits)
        table.add_row(str(each), names, *map(str, count.row))
    table.add_row("all", "", *map(str, total), style="bold")
    screen.console.print(table)
    screen.say(
        f"{number} projects of {oldest}, updated to this checkout in {seconds:.0f} s, "
        f"{seconds / number:.1f} s each; {time.perf_counter() - begin:.0f} s with all the rest."
    )
    return wrong


if __name__ == "__main__":
    screen.start(fleet_demo)
