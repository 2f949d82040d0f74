"""What a project of a fleet is, what an update of it would meet, and the update itself.

What an update does is the business of the release that it goes to: this runs that release's
hooks/update.py and hooks/edited.py. What has been done is read from the project, so that nothing
has to be remembered and a fleet that was stopped is simply started again.
"""

import functools
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from packaging.version import Version

from scripts import ledger
from scripts.fleet_members import Member, one_line, stopped
from scripts.ledger import Release
from scripts.repository import git, surroundings, unmerged
from scripts.screen import Refused

ANSWERS = ".copier-answers*.yml"
UPDATE = "hooks/update.py"
# What Copier makes of the short names of a template, to ask git.
HOSTS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
SHOWN = 3
"""Files that a sentence names."""


class State(StrEnum):
    """What is, or would be, with a project."""

    CURRENT = "up to date"
    CLEAN = "clean"
    UPDATED = "updated"
    WAITING = "waits on its branch"
    CONFLICT = "conflict"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass
class Result:
    """What was found of a project, or done to it."""

    project: str
    source: str
    folder: str
    release: str = ""
    """That it has, before an update."""
    withdrawn: str = ""
    """Why that release was withdrawn; empty for a good one."""
    behind: list[str] = field(default_factory=list)
    """The newer releases, up to the one asked about."""
    days: int | None = None
    """Between the two releases."""
    edited: list[str] | None = None
    """The managed files that the team has edited, where they were looked for."""
    state: State | None = None
    says: str = ""
    """What is to be done about it, and where."""
    conflicts: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """How many files an update keeps, merges and so on, by the kinds of hooks/after_update.py."""
    report: str = ""
    """The file with the whole report of the update."""
    pushed: bool = False

    def end(self, state: State, says: str = "") -> None:
        """Note what came of it."""
        self.state, self.says = state, says


@dataclass(frozen=True)
class Origin:
    """Where a project comes from."""

    answers_file: str
    release: str


@dataclass(frozen=True)
class Target:
    """The release that projects are to be updated to."""

    version: str
    template: Path
    """A clone of the template, in which that release is checked out and each has its tag."""
    releases: tuple[Release, ...]

    @property
    def branch(self) -> str:
        """Name the branch of the update, as hooks/update.py does."""
        return f"update-{self.version}"

    @functools.cached_property
    def commit(self) -> str:
        """Return the commit of the release."""
        return git(self.template, "rev-parse", f"{self.version}^{{commit}}")

    def run(self, hook: str, project: Path, *options: str) -> "subprocess.CompletedProcess[str]":
        """Run one of the release's hooks on a project."""
        command = [sys.executable, str(self.template / hook), str(project), f"--to={self.version}"]
        return subprocess.run(
            [*command, f"--repository={self.template}", *options],
            env=surroundings(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )


def target(template: Path, to: str, folder: Path) -> Target:
    """Find the release to update to: the newest that is good, or the one asked for.

    Raises:
        Refused: there is none such, it was withdrawn, or it cannot update from outside.
    """
    try:
        shallow = git(template, "rev-parse", "--is-shallow-repository") == "true"
        git(template, "cat-file", "-e", f"HEAD:{ledger.LEDGER}")
    except (Refused, OSError):
        raise Refused(f"{template} is no clone of the template: name one by TEMPLATE=.") from None
    if shallow:
        raise Refused(f"{template} lacks the older releases: git fetch --unshallow.")
    git(folder.parent, "clone", "--quiet", "--shared", "--", str(template.resolve()), str(folder))
    ledger.tag_releases(folder)
    releases = ledger.read(folder)
    good = [release.version for release in releases if not release.yanked]
    version = to or (good[-1] if good else "")
    asked = next((release for release in releases if release.version == version), None)
    if not asked:
        raise Refused(f"There is no release {version}; there are {', '.join(good) or 'none'}.")
    if asked.yanked:
        raise Refused(f"Release {version} was withdrawn: {asked.yanked}")
    git(folder, "checkout", "--quiet", "--detach", version)
    if not (folder / UPDATE).exists():
        raise Refused(f"Release {version} has no {UPDATE}: update to a later one, by TO=.")
    return Target(version, folder, tuple(releases))


def origin(project: Path, to: Target) -> Origin:
    """Read which release of this template a project comes from, by which answers file.

    Raises:
        Refused: it does not say, or it comes from another template.
    """
    found, problems = [], []
    for file in sorted(project.glob(ANSWERS)):
        try:
            answers = yaml.safe_load(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"{file.name} cannot be read: {one_line(error)}")
            continue
        answers = answers if isinstance(answers, dict) else {}
        source, release = answers.get("_src_path"), answers.get("_commit")
        if not isinstance(source, str) or not isinstance(release, str):
            problems.append(f"{file.name} does not say which template and release it is from.")
        elif problem := another_template(source, project, to):
            problems.append(f"{file.name}: {problem}")
        else:
            found.append(Origin(file.name, release))
    if len(found) > 1:
        names = ", ".join(each.answers_file for each in found)
        raise Refused(f"{names} are all of this template: a folder holds one project of it.")
    if not found:
        raise Refused(" ".join(problems) or f"No {ANSWERS} is there: it is no project of Copier's.")
    return found[0]


def another_template(source: str, project: Path, to: Target) -> str:
    """Say why an update would not get the release from where Copier looks for it."""
    for short, host in HOSTS.items():
        source = re.sub(rf"^{short}/?(.*?)(\.git)?$", rf"{host}\1.git", source)
    place = project / Path(source).expanduser()
    url = str(place.resolve()) if place.exists() else source.removeprefix("git+")
    problem = asked(url, to)
    return f"its template {one_line(source)} {problem}" if problem else ""


@functools.cache
def asked(url: str, to: Target) -> str:
    """Ask a repository, once, whether it has the release; say why not."""
    reference = f"refs/tags/{to.version}"
    try:
        tags = git(to.template, "ls-remote", "--", url, reference, f"{reference}^{{}}")
    except Refused as refusal:
        return (
            f"cannot be reached. If it has moved: git config --global url.NEW.insteadOf {url}, or "
            f"NEW as _src_path, committed. {one_line(refusal)}"
        )
    if not tags:
        return f"has no release {to.version}: it is another one, or its tags are to be pushed."
    if to.commit not in tags:
        return f"is another one: its {to.version} is not {to.commit[:12]}."
    return ""


def look(member: Member, to: Target, result: Result) -> Origin:
    """Find out what a project is, and whether there is anything to do; change nothing in it.

    Raises:
        Refused: it cannot be updated.
    """
    member.bring()
    project = member.folder
    try:
        git(project, "rev-parse", "--verify", "HEAD")
    except Refused:
        raise Refused(
            f"{project} is not in git, or has no commit: git init, git add --all, git commit."
        ) from None
    if undo := stopped(project):
        raise Refused(f"An update was stopped in the middle. Take it back, in {project}: {undo}")
    made = origin(project, to)
    compare(made, to, result)
    here = git(project, "branch", "--show-current")
    committed = on_branch(project, "HEAD", made.answers_file)
    if here == to.branch and made.release == to.version != committed:
        result.release, result.conflicts = committed, sorted(unmerged(project))
        what = "resolve the conflicts" if result.conflicts else "it is not committed"
        result.end(State.CONFLICT, f"On {to.branch} in {project}: {what}, test, commit.")
    elif not result.behind:
        result.end(State.CURRENT)
    elif branch := existing(project, to.branch):
        if on_branch(project, branch, made.answers_file) != to.version:
            raise Refused(
                f"Its branch {branch} is not this update, but another project's of the repository, "
                "perhaps: merge that first, or delete it."
            )
        result.end(State.WAITING)
    return made


def compare(made: Origin, to: Target, result: Result) -> None:
    """Note how far a project's release is from the one to update to.

    Raises:
        Refused: it is none.
    """
    known = {Version(release.version): release for release in to.releases}
    has, last = version_of(made, to), Version(to.version)
    result.release = made.release
    result.behind = [
        release.version
        for version, release in known.items()
        if has < version <= last and not release.yanked
    ]
    if own := known.get(has):
        result.withdrawn = own.yanked
        dates = [date.fromisoformat(release.date) for release in (own, known[last])]
        result.days = max(0, (dates[1] - dates[0]).days)


def version_of(made: Origin, to: Target) -> Version:
    """Read a project's release, 0.4.0-3-gabcdef as 0.4.0.

    Raises:
        Refused: it is none, or the template does not have it.
    """
    try:
        git(to.template, "rev-parse", "--verify", "--quiet", f"{made.release}^{{commit}}")
    except Refused:
        raise Refused(f"{made.answers_file}: this template has no {made.release}.") from None
    try:
        return ledger.parse(made.release.removeprefix("v").partition("-")[0])
    except Refused:
        raise Refused(
            f"{made.answers_file}: {made.release} is no release, so there is no telling what is "
            "newer."
        ) from None


def existing(project: Path, branch: str) -> str:
    """Name a branch as it is found: here, or where it was pushed to; empty if there is none."""
    references = (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}")
    return git(project, "for-each-ref", "--count=1", "--format=%(refname:short)", *references)


def on_branch(project: Path, branch: str, answers_file: str) -> str:
    """Read which release a project has on a branch; empty if it does not say."""
    try:
        answers = yaml.safe_load(git(project, "show", f"{branch}:./{answers_file}"))
        return str(answers["_commit"])
    except (Refused, yaml.YAMLError, KeyError, TypeError):
        return ""


def look_ahead(member: Member, to: Target, result: Result) -> None:
    """Find out what a project is and what an update of it would meet."""
    made = look(member, to, result)
    if result.state is State.CONFLICT:
        return
    answers = f"--answers-file={made.answers_file}"
    done = to.run("hooks/edited.py", member.folder, answers)
    if done.returncode:
        raise Refused(reasons(done))
    result.edited = [edit["path"] for edit in json.loads(done.stdout)]
    if result.state is None:
        done = to.run(UPDATE, member.folder, answers, "--preview", "--json")
        conclude(result, done)


def update_one(member: Member, to: Target, result: Result, reports: Path, *options: str) -> None:
    """Update a project, unless that is done already, and save the report."""
    made = look(member, to, result)
    if result.state is None:
        answers = f"--answers-file={made.answers_file}"
        done = to.run(UPDATE, member.folder, answers, "--json", *options)
        report = reports / f"{member.key}-{to.version}.json"
        report.with_suffix(".log").write_text(done.stderr, "utf-8", errors="backslashreplace")
        if done.stdout:
            report.write_text(done.stdout, "utf-8", errors="backslashreplace")
            result.report = str(report)
        conclude(result, done)
        if result.state is State.CLEAN:
            result.end(State.UPDATED)
        elif result.state is State.CONFLICT:
            result.says = f"On {to.branch} in {member.folder}: {result.says}"
        elif result.state is State.FAILED:
            result.says += f" What was said is in {report.with_suffix('.log')}."


def push(member: Member, to: Target, result: Result) -> None:
    """Push the branch of a clone that has been updated."""
    here = member.clone and git(member.clone, "branch", "--list", to.branch)
    if not here or result.state not in (State.UPDATED, State.WAITING):
        return
    reference = f"refs/heads/{to.branch}"
    try:
        git(member.folder, "push", "--quiet", "origin", f"{reference}:{reference}")
    except Refused as refusal:
        result.end(State.FAILED, f"It is on {to.branch}, and not pushed: {one_line(refusal)}")
    else:
        result.pushed = True


def conclude(result: Result, done: "subprocess.CompletedProcess[str]") -> None:
    """Read what hooks/update.py says."""
    if not done.stdout:
        result.end(State.REFUSED if "✗" in done.stderr else State.FAILED, reasons(done))
        return
    report: dict[str, Any] = json.loads(done.stdout)
    for found in report["findings"]:
        result.counts[found["kind"]] = result.counts.get(found["kind"], 0) + 1
    result.conflicts = [
        found["path"] for found in report["findings"] if found["kind"] == "conflict"
    ]
    failed = [verb for verb, good in report["checks"].items() if not good]
    if result.conflicts:
        result.end(State.CONFLICT, some(result.conflicts))
    elif failed:
        result.end(State.FAILED, f"It is updated, but {' and '.join(failed)} failed.")
    else:
        result.end(State.CLEAN)


def reasons(done: "subprocess.CompletedProcess[str]") -> str:
    """Pick from what a hook says why it stopped."""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    found = [line.removeprefix("✗ ") for line in said if line.startswith("✗")]
    return one_line(" ".join(found or [f"It ended with {done.returncode}:", *said[-1:]]))


def some(names: list[str]) -> str:
    """Join names, the first few of many."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
