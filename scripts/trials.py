"""Updates, tried: projects of a release with a team's edits in them, updated to this checkout.

What ought to come out is known without the update: from the tree before it, a project that this
checkout has just made, the table of owners, and what the team did, done once more to the platform's
next version.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import copier
import yaml
from pathspec import GitIgnoreSpec

from scripts import ledger
from scripts.edits import EDITS, Answers, Blended, Edit, Kept, Promise, Work, describe, state
from scripts.repository import ROOT, git

HIGH = "999.0.0"
"""The tag of the checkout: newer than any release, so that every file of it has arrived."""
OUTCOMES = ("kept", "conflict", "refused", "lost")
"""What may come of an edit, from good to bad."""
MARKERS = (b"<<<<<<< before updating", b">>>>>>> after updating")

ANSWERS = ".copier-answers.yml"
NOTHING = "nothing"

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
    """Look at every file of a project but git's own, by path."""
    found: Tree = {}
    for folder, folders, files in os.walk(project):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [name for name in folders if name != ".git" and name not in links]
        for name in (*files, *links):
            path = Path(folder, name)
            if name != ".git":
                found[path.relative_to(project).as_posix()] = state(path)
    return found


@dataclass(frozen=True)
class Group:
    """Edits that are done in one project, made by a release."""

    release: str
    name: str
    edits: tuple[Edit, ...]

    @property
    def before(self) -> Answers:
        """Return what the project is generated with."""
        return self.edits[0].before

    @property
    def answers(self) -> Answers:
        """Return what is answered in the update."""
        return self.edits[0].answers

    @property
    def worst(self) -> str:
        """Return the worst that may come of it."""
        return max((edit.worst for edit in self.edits), key=OUTCOMES.index)


def groups(release: str) -> list[Group]:
    """List the groups of the edits that are for projects of a release."""
    version = ledger.parse(release)
    edits = sorted((edit for edit in EDITS if version in edit.releases), key=lambda e: e.group)
    return [
        Group(release, name, tuple(members))
        for name, members in groupby(edits, key=lambda edit: edit.group)
    ]


@dataclass
class Trial:
    """An update, tried."""

    outcomes: dict[str, str] = field(default_factory=dict)
    """By the name of the edit."""
    problems: list[str] = field(default_factory=list)
    """Everything that is not as it has to be."""


Update = Callable[[Work, Answers], str]
"""Updates a project to the newest release; returns why it was refused, or nothing."""


def by_copier(work: Work, answers: Answers) -> str:
    """Update as `copier update` does: without trust, and with no questions."""
    try:
        copier.run_update(
            str(work.project),
            answers,
            answers_file=work.answers_file,
            defaults=True,
            overwrite=True,
            quiet=True,
            unsafe=False,
        )
    except Exception as error:  # Whatever it is, a person sees a traceback.
        return f"{type(error).__name__}: {error}"
    return ""


class Trials:
    """Projects made by the releases of a template, and updated to its newest."""

    def __init__(self, template: Path, folder: Path) -> None:
        """Try the updates in a folder."""
        self._template = template
        self._folder = folder
        self._made: dict[str, Path] = {}
        table = yaml.safe_load((template / "questions/90-files.yml").read_text("utf-8"))
        rows = table["files"]["default"]
        self._owners = [
            (GitIgnoreSpec.from_lines([row["path"].replace("{step}", "*")]), row["class"])
            for row in rows
        ]

    def made(self, release: str, answers: Answers, answers_file: str = ANSWERS) -> Path:
        """Generate a project by a release and commit it, once: to be copied."""
        key = json.dumps([release, answers, answers_file], sort_keys=True)
        if key not in self._made:
            project = self._folder / f"made-{len(self._made)}"
            copier.run_copy(
                str(self._template),
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

    def begin(self, group: Group) -> tuple[Work, dict[str, list[Promise]]]:
        """Have a team do the edits of a group in a project of their own, and commit them."""
        home = Path(tempfile.mkdtemp(prefix=f"{group.name}-", dir=self._folder))
        project = home / "project"
        shutil.copytree(self.made(group.release, group.before), project, symlinks=True)
        works = []
        for edit in group.edits:
            works.append(Work(project))
            edit.do(works[-1])
        works[-1].commit()
        promises = {e.name: w.promises() for e, w in zip(group.edits, works, strict=True)}
        return works[-1], promises

    def trial(self, group: Group, update: Update) -> Trial:
        """Do the edits of a group, update, and look at everything."""
        work, promises = self.begin(group)
        project, found = work.project, Trial()
        before = tree(project)
        recorded = yaml.safe_load((project / work.answers_file).read_text("utf-8"))
        answers = {key: value for key, value in recorded.items() if not key.startswith("_")}
        fresh = self.made(HIGH, answers | group.answers, work.answers_file)

        if refusal := update(work, group.answers):
            git(project, "reset", "--quiet", "--hard")
            git(project, "clean", "--quiet", "-fd", ":/")
            found.outcomes = dict.fromkeys(promises, "refused")
            found.problems += differences(before, tree(project))
            if group.worst != "refused":
                found.problems.append(f"refused: {refusal}")
            return found

        after = tree(project)
        conflicts = unmerged(project)
        for edit in group.edits:
            paths = {promise.path for promise in promises[edit.name]}
            broken = [
                words
                for promise in promises[edit.name]
                if (words := promise.broken(project, conflict=promise.path in conflicts))
            ]
            outcome = "lost" if broken else "conflict" if paths & conflicts else "kept"
            found.outcomes[edit.name] = outcome
            if OUTCOMES.index(outcome) > OUTCOMES.index(edit.worst):
                found.problems.append(f"{edit.name}: {outcome}, {broken or paths & conflicts}")

        if group.worst == "lost":
            return found
        origin = tree(self.made(group.release, group.before))
        flat = [promise for several in promises.values() for promise in several]
        expected = self.expected(before, origin, fresh, flat)
        found.problems += differences(expected, after, but=conflicts)
        found.problems += marks(project, before, after, conflicts)
        found.problems += self._again(work, conflicts)
        return found

    def expected(self, before: Tree, origin: Tree, fresh: Path, promises: list[Promise]) -> Tree:
        """Say what has to be there after an update, path by path.

        - a file of the platform's that the team changed: its next version, changed likewise
        - other files of the platform's: their next version
        - an owned file that the project was never given: as a new project gets it
        - everything else is the team's: as it was, if only deleted
        """
        new = tree(fresh)
        claimed = {promise.path for promise in promises if isinstance(promise, Kept)}
        blended = {promise.path for promise in promises if isinstance(promise, Blended)}
        result: Tree = {}
        for path in {*before, *new}:
            platforms = path not in claimed and self._owner(path) != "owned"
            if path in blended and path in new:
                changes = [p for p in promises if isinstance(p, Blended) and p.path == path]
                result[path] = replayed(changes, fresh / path)
            elif platforms and (path in new or path in origin):
                result[path] = new.get(path, NOTHING)
            elif path in before:
                result[path] = before[path]
            elif path not in origin:
                result[path] = new[path]
        return {path: what for path, what in result.items() if what != NOTHING}

    def _owner(self, path: str) -> str:
        known = ANSWERS if path.startswith(".copier-answers.") else path
        return next((owner for spec, owner in self._owners if spec.match_file(known)), "owned")

    def _again(self, work: Work, conflicts: set[str]) -> list[str]:
        """Commit, each conflict resolved as the team had it, and see that nothing is left to do."""
        for path in conflicts:
            git(work.project, "checkout", "--quiet", "--ours", "--", path)
        commit(work.project, "Update")
        before = tree(work.project)
        refusal = by_copier(work, {})
        problems = [f"a second update: {refusal}"] if refusal else []
        changed = differences(before, tree(work.project))
        return problems + [f"a second update changes {line}" for line in changed]


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


def unmerged(project: Path) -> set[str]:
    """List the files in which git knows of a conflict."""
    entries = git(project, "ls-files", "-z", "--unmerged").split("\0")
    return {entry.partition("\t")[2] for entry in entries if entry}


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
    for path in sorted(path for path in after if after[path] != before.get(path)):
        marked = any(
            line.startswith(MARKERS) for line in (project / path).read_bytes().splitlines()
        )
        if marked != (path in conflicts):
            problems.append(f"{path}: {'unknown to git, ' if marked else 'no '}markers")
        if path.endswith(".rej"):
            problems.append(f"{path} is left over")
    return problems
