"""`make updates`: try every edit of the corpus on every release, and write what comes of it.

The page is docs/reference/updates.md.
"""

import os
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from copier.errors import MissingFileWarning

from scripts import ledger, screen
from scripts.edits import EDITS
from scripts.repository import ROOT, no_settings
from scripts.screen import Refused
from scripts.trials import Group, Trial, Trials, Way, ends, groups, offer

PAGE = "docs/reference/updates.md"
WORDS = {"kept": "kept", "conflict": "conflict", "refused": "stops", "lost": "lost"}
HEAD = "what the team did"
INTRODUCTION = """\
# What an update does to a team's work

Things that teams do, each done in a project of every release, which was then updated to this
version: by `copier update` and, apart, by what `make update` runs. What is owed to an edit follows
from the edit alone. Beyond it, every file of the platform's is compared with one of a new project,
and a second update changes nothing. Where two words stand, the first is of `copier update`, the
second of `make update`. `make updates` writes this page; the tests compare it with what they find.
"""
SECTIONS = {
    "kept": """\
## Kept

The work is as the team left it, deleted files included. In a file of the platform's, the team's
change is in the new version. Nothing is left to resolve.
""",
    "conflict": """\
## May be a conflict

The team changed lines that the platform changes too. The file has both sides, and `git status`
lists it as *both modified*.
""",
    "refused": """\
## May stop

`copier update` stops half-way, with an exit code that is not 0; `git reset --hard && git clean -fd`
brings everything back. `make update` stops before it changes anything, and says what to do.
""",
    "lost": """\
## Limits of `copier update`

Copier says nothing here. What git knows is in the commit before the update; the rest is gone.
`make update` keeps the work or stops.
""",
}

Results = dict[str, dict[str, str]]
"""By the name of an edit: what came of it, by release."""


def page(results: Results, releases: list[str]) -> str:
    """Write the page of what came of each edit."""
    parts = [INTRODUCTION]
    for worst, text in SECTIONS.items():
        why = [] if worst == "kept" else ["why"]
        head = [HEAD, *why, *(f"from {release}" for release in releases)]
        rows = [head, ["---"] * len(head)]
        for edit in (edit for edit in EDITS if edit.worst == worst):
            cells = [results.get(edit.name, {}).get(release, "") for release in releases]
            rows.append([edit.says, *([edit.why] if why else []), *cells])
        parts.append(text + "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows))
    return "\n".join(parts)


def read(text: str) -> tuple[Results, list[str]]:
    """Read what a page says came of each edit, and of which releases it speaks."""
    names = {edit.says: edit.name for edit in EDITS}
    results: Results = {}
    releases: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == HEAD:
            releases = [cell.removeprefix("from ") for cell in cells if cell.startswith("from ")]
        elif cells[0] in names:
            found = zip(releases, cells[-len(releases) :], strict=True)
            results[names[cells[0]]] = {release: word for release, word in found if word}
    return results, releases


def word(cell: str, way: Way) -> str:
    """Read what came of an update in one of the ways."""
    words = cell.split(", ")
    return words[0] if way is Way.COPIER else words[-1]


def updates() -> None:
    """Try every edit on every release, and write the page."""
    releases = [release.version for release in ledger.read(ROOT)]
    todo = [
        (group, way, release in ends(releases))
        for release in releases
        for group in groups(release).values()
        for way in Way
    ]
    results: Results = {}
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(no_settings(folder))
        template = offer(folder / "template")
        ledger.tag_releases(template)
        with ProcessPoolExecutor(initializer=_start, initargs=(template, folder)) as pool:
            for group, way, trial in screen.track(pool.map(_try, todo), "Updating", len(todo)):
                where = f"{group.release}, {group.name}, {way}"
                problems += [f"{where}: {line}" for line in trial.problems]
                for edit, outcome in trial.outcomes.items():
                    cells = results.setdefault(edit, {})
                    words = [*filter(None, [cells.get(group.release)]), WORDS[outcome]]
                    cells[group.release] = ", ".join(dict.fromkeys(words))
    if problems:
        raise Refused("\n".join([f"{PAGE} was not written:", *problems]))
    (ROOT / PAGE).write_text(page(results, releases), "utf-8")
    screen.what_next(f"git diff {PAGE}")


_trials: Trials


def _start(template: Path, folder: Path) -> None:
    """Give a process its own projects."""
    global _trials
    warnings.simplefilter("ignore", MissingFileWarning)
    _trials = Trials(template, Path(tempfile.mkdtemp(dir=folder)))


def _try(what: tuple[Group, Way, bool]) -> tuple[Group, Way, Trial]:
    group, way, again = what
    return group, way, _trials.trial(group, way, again=again)


if __name__ == "__main__":
    screen.start(updates)
