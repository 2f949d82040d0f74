"""Updates, tried: projects of a release with a team's edits in them, updated to this checkout.

What ought to come out is known without the update: from the tree before it, a project that this
checkout has just made, the table of owners, and what the team did, done once more to the platform's
next version.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import copier
import yaml

from scripts import ledger
from scripts.edits import (
    EDITS,
    MARKERS,
    Answers,
    Blended,
    Edit,
    Kept,
    Promise,
    Work,
    describe,
    state,
)
from scripts.ownership import OWNED, Owners
from scripts.repository import ROOT, git, unmerged

HIGH = "999.0.0"
"""The tag of the checkout: newer than any release, so that every file of it has arrived."""
OUTCOMES = ("kept", "conflict", "refused", "lost")
"""What may come of an edit, from good to bad."""

ANSWERS = ".copier-answers.yml"
NOTHING = "nothing"
REPORTS = "artifacts/updates"

Tree = dict[str, str]


def offer(folder: Path) -> Path:
    """Clone this repository, what is not committed included, as a release newer than any other."""
    git(ROOT, "clone", "--quiet", "--no-hardlinks", "--no-checkout", str(ROOT), str(folder))
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in {name for name in listed.split("\0") if name}:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    commit(folder, "The working tree")
    git(folder, "tag", HIGH)
    return folder


def commit(folder: Path, message: str) -> None:
    """Commit everything in a repository."""
    git(folder, "add", "--all", "--sparse", ":/")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", message)


def tree(project: Path) -> Tree:
    """Look at every file of a project but git's own and reports of updates, by path."""
    found: Tree = {}
    for folder, folders, files in os.walk(project):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [name for name in folders if name != ".git" and name not in links]
        for name in (*files, *links):
            path = Path(folder, name)
            if name != ".git" and not folder.endswith(REPORTS):
                found[path.relative_to(project).as_posix()] = state(path)
    return off_disk(project) | found


def off_disk(project: Path) -> Tree:
    """Look at what a checkout of some folders only leaves to git."""
    if not (project / ".git/info/sparse-checkout").exists():
        return {}
    listed = git(project, "ls-files", "-z", "-t", "--stage").split("\0")
    entries = (entry.partition("\t") for entry in listed if entry.startswith("S "))
    found = {}
    for fields, _, path in entries:
        _, mode, blob, _ = fields.split()
        show = ["git", "cat-file", "blob", blob]
        content = subprocess.run(show, cwd=project, check=True, capture_output=True).stdout
        found[path] = describe(content, executable=mode == "100755")
    return found


@dataclass(frozen=True)
class Group:
    """Edits that are done in one project, made by a release."""

    release: str
    name: str
    edits: tuple[Edit, ...]
    before: Answers
    """What the project is generated with."""
    answers: Answers
    """What is answered in the update."""


def ends(releases: list[str]) -> tuple[str, str]:
    """Give the releases in which everything is tried: the longest way and the shortest."""
    return releases[0], releases[-1]


def groups(release: str) -> dict[str, Group]:
    """Give the groups of the edits that are for projects of a release, by name."""
    version = ledger.parse(release)
    members: dict[str, list[Edit]] = {}
    for edit in EDITS:
        if version in edit.releases:
            members.setdefault(edit.group, []).append(edit)
    return {
        name: Group(release, name, tuple(edits), edits[0].before, edits[0].answers)
        for name, edits in members.items()
    }


@dataclass(frozen=True)
class Begun:
    """A project with a team's work in it, ready to be updated."""

    work: Work
    promises: dict[str, list[Promise]]
    """By the name of the edit."""
    before: Tree
    """The project as it is."""
    origin: Tree
    """The project as it was made."""
    fresh: Path
    """A new project, with the answers that this one will have after the update."""


@dataclass(frozen=True)
class Trial:
    """An update, tried."""

    outcomes: dict[str, str]
    """By the name of the edit."""
    problems: list[str]
    """Everything that is not as it has to be."""


class Way(StrEnum):
    """How a project is updated."""

    COPIER = "copier update"
    MAKE = "make update"

    def worst(self, edit: Edit) -> str:
        """Return the worst that may come of an edit. `make update` refuses what Copier loses."""
        return "refused" if self is Way.MAKE and edit.worst == "lost" else edit.worst


def by_copier(work: Work, answers: Answers, release: str) -> str:
    """Update as `copier update --defaults` does, without trust; return why it was refused."""
    try:
        copier.run_update(
            str(work.project),
            answers,
            answers_file=work.answers_file,
            vcs_ref=release,
            defaults=True,
            overwrite=True,
            quiet=True,
            unsafe=False,
        )
    except Exception as error:  # Whatever it is, a person sees a traceback.
        return f"{type(error).__name__}: {error}"
    return ""


def by_make(work: Work, answers: Answers, release: str, template: Path) -> str:
    """Update as `make update QUICK=1` does: by the release that it goes to."""
    before = tree(work.project)
    script = str(template / "hooks/update.py")
    command = [sys.executable, script, str(work.project), f"--to={release}"]
    command += [f"--repository={template}", f"--answers-file={work.answers_file}"]
    for name, answer in answers.items():
        text = answer if isinstance(answer, str) else json.dumps(answer)
        command.append(f"--data={name}={text}")
    done = subprocess.run(
        [*command, "--no-lock", "--no-checks"], check=False, capture_output=True, text=True
    )
    if not done.returncode or unmerged(work.project):
        return ""
    changed = differences(before, tree(work.project))
    return "\n".join([done.stderr, *(f"It has changed {line}" for line in changed)])


class Trials:
    """Projects made by the releases of a template, and updated to its newest."""

    def __init__(self, template: Path, folder: Path, newest: str = HIGH) -> None:
        """Try the updates in a folder."""
        self.template = template
        self._folder = folder
        self._newest = newest
        self._made: dict[str, Path] = {}
        self._owners = Owners(template)

    def made(self, release: str, answers: Answers, answers_file: str = ANSWERS) -> Path:
        """Generate a project by a release and commit it, once: to be copied."""
        key = json.dumps([release, answers, answers_file], sort_keys=True)
        if key not in self._made:
            project = self._folder / f"made-{len(self._made)}"
            copier.run_copy(
                str(self.template),
                project,
                answers,
                answers_file=answers_file,
                vcs_ref=release,
                defaults=True,
                quiet=True,
                unsafe=False,
            )
            git(project, "init", "--quiet", "--initial-branch=main")
            commit(project, "Generate")
            self._made[key] = project
        return self._made[key]

    def begin(self, group: Group) -> Begun:
        """Have a team do the edits of a group in a project of its own, and commit them."""
        made = self.made(group.release, group.before)
        home = Path(tempfile.mkdtemp(prefix=f"{group.name}-", dir=self._folder))
        project = home / "project"
        shutil.copytree(made, project, symlinks=True)
        works = [Work(project) for _ in group.edits]
        for edit, work in zip(group.edits, works, strict=True):
            edit.do(work)
        work = works[-1] if works else Work(project)
        work.commit()
        recorded = yaml.safe_load((work.project / work.answers_file).read_text("utf-8"))
        answers = {key: value for key, value in recorded.items() if not key.startswith("_")}
        return Begun(
            work=work,
            promises={e.name: w.promises() for e, w in zip(group.edits, works, strict=True)},
            before=tree(work.project),
            origin=tree(made),
            fresh=self.made(self._newest, answers | group.answers, work.answers_file),
        )

    def expected(self, begun: Begun) -> Tree:
        """Say what has to be there after an update, path by path.

        - a file of the platform's that the team changed: its next version, changed likewise, or
          as it was if there is none
        - other files of the platform's: their next version
        - an owned file that the project was never given: as a new project gets it
        - everything else is the team's: as it was, if only deleted
        """
        new = tree(begun.fresh)
        promises = [promise for several in begun.promises.values() for promise in several]
        claimed = {promise.path for promise in promises if isinstance(promise, Kept)}
        blended = [promise for promise in promises if isinstance(promise, Blended)]
        # What is behind a link is elsewhere, and looked at there.
        links = tuple(f"{path}/" for path, what in begun.before.items() if what.startswith("link"))
        result: Tree = {}
        for path in (path for path in {*begun.before, *new} if not path.startswith(links)):
            platforms = path not in claimed and self.owner(path) != OWNED
            changes = [promise for promise in blended if promise.path == path]
            if changes and path in new:
                result[path] = replayed(changes, begun.fresh / path)
            elif changes:
                result[path] = begun.before[path]
            elif platforms and (path in new or path in begun.origin):
                result[path] = new.get(path, NOTHING)
            elif path in begun.before:
                result[path] = begun.before[path]
            elif path not in begun.origin:
                result[path] = new[path]
        return {path: what for path, what in result.items() if what != NOTHING}

    def trial(self, group: Group, way: Way = Way.COPIER, *, again: bool = True) -> Trial:
        """Do the edits of a group, update, and look at everything; of a second update too."""
        begun = self.begin(group)
        project, before = begun.work.project, begun.before
        worst = max((way.worst(edit) for edit in group.edits), key=OUTCOMES.index, default="kept")
        if refusal := self.update(begun.work, group.answers, way):
            problems = [f"refused: {refusal}"] if worst != "refused" else []
            if way is Way.COPIER:
                git(project, "reset", "--quiet", "--hard")
                git(project, "clean", "--quiet", "-fd", ":/")
            problems += differences(before, tree(project))
            return Trial(dict.fromkeys(begun.promises, "refused"), problems)

        after, conflicts = tree(project), unmerged(project)
        outcomes, problems = {}, []
        for edit in group.edits:
            outcome, reasons = outcome_of(
                begun.promises[edit.name], project, begun.fresh, conflicts
            )
            outcomes[edit.name] = outcome
            if OUTCOMES.index(outcome) > OUTCOMES.index(way.worst(edit)):
                problems.append(f"{edit.name}: {outcome}, {'; '.join(reasons)}")
        if "lost" not in outcomes.values():
            problems += differences(self.expected(begun), after, but=conflicts)
            problems += marks(project, before, after, conflicts)
            # The same tree, whichever way it came to be.
            if again and way is Way.COPIER and worst != "lost":
                problems += self._again(begun.work, conflicts)
        return Trial(outcomes, problems)

    def update(self, work: Work, answers: Answers, way: Way = Way.COPIER) -> str:
        """Update a project to the newest release; return why it was refused, or nothing."""
        if way is Way.MAKE:
            return by_make(work, answers, self._newest, self.template)
        return by_copier(work, answers, self._newest)

    def owner(self, path: str) -> str:
        """Say whose a path is: owned, unless the table says otherwise."""
        known = ANSWERS if path.startswith(".copier-answers.") else path
        return self._owners.of(known)

    def _again(self, work: Work, conflicts: set[str]) -> list[str]:
        """Commit, each conflict resolved as the team had it, and see that nothing is left to do."""
        for path in conflicts:
            git(work.project, "checkout", "--quiet", "--ours", "--", path)
        commit(work.project, "Update")
        before = tree(work.project)
        refusal = self.update(work, {})
        problems = [f"a second update: {refusal}"] if refusal else []
        changed = differences(before, tree(work.project))
        return problems + [f"a second update changes {line}" for line in changed]


def outcome_of(
    promises: list[Promise], project: Path, fresh: Path, conflicts: set[str]
) -> tuple[str, list[str]]:
    """Say what came of an edit, and why it is not simply kept."""
    broken = [promise.broken(project, conflict=promise.path in conflicts) for promise in promises]
    if reasons := [words for words in broken if words]:
        return "lost", reasons
    clashes = [
        promise.path
        for promise in promises
        if promise.path in conflicts
        and (isinstance(promise, Kept) or promise.in_conflict(project, fresh))
    ]
    return ("conflict" if clashes else "kept"), clashes


def replayed(changes: list[Blended], file: Path) -> str:
    """Say what becomes of a file when a team's changes are done to it."""
    content = file.read_bytes()
    try:
        for blended in changes:
            content = blended.change(content)
    except LookupError as error:
        return f"{file.name} with the team's change, which is impossible: {error}"
    executable = any(blended.executable for blended in changes)
    return describe(content, executable=executable or os.access(file, os.X_OK))


def differences(expected: Tree, found: Tree, but: Iterable[str] = ()) -> list[str]:
    """Say which paths differ."""
    return [
        f"{path}: {found.get(path, NOTHING)} instead of {expected.get(path, NOTHING)}"
        for path in sorted({*expected, *found} - {*but})
        if expected.get(path) != found.get(path)
    ]


def marks(project: Path, before: Tree, after: Tree, conflicts: set[str]) -> list[str]:
    """Say which files have a conflict's markers and should not, or should and have not."""
    problems = []
    changed = (path for path in after if after[path] != before.get(path))
    for path in sorted(path for path in changed if os.path.lexists(project / path)):
        marked = any(
            line.startswith(MARKERS) for line in (project / path).read_bytes().splitlines()
        )
        if marked != (path in conflicts):
            problems.append(f"{path}: {'unknown to git, ' if marked else 'no '}markers")
        if path.endswith(".rej"):
            problems.append(f"{path} is left over")
    return problems
