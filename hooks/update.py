"""Update a project to a release of the template.

    python hooks/update.py PROJECT --to RELEASE --repository TEMPLATE

`make update` runs it, from the release that it goes to, with a Python that has Copier. It tries a
plain `copier update` in a copy of the project's last commit, looks at what that did, and only
then brings it into the project, on a branch. Until then, whatever stops it, nothing has changed.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import before_update
from after_update import Update, mend, tree_of
from before_update import JOURNAL, current_branch, git_file, read_answers
from generate import generate
from ownership import Refused, git, some, table
from report import Report, asked, changelog, example_changes

NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")
LOCK = "uv.lock"


@dataclass(frozen=True)
class Goal:
    """What is to be updated, and to what."""

    project: Path
    answers_file: str
    to: str
    """The release, as Copier is given it."""
    repository: Path
    """The template's repository, on this disk."""
    data: Sequence[str]
    """Answers to be changed, each as name=value."""

    @property
    def branch(self) -> str:
        """Where the update will be."""
        return f"update-{self.to}"


def update(goal: Goal, preview: bool, lock: bool, checks: bool) -> Report:
    """Update the project, unless that is only to be looked at.

    Raises:
        Refused: it cannot be.
    """
    if problems := before_update.problems(goal.project, goal.answers_file, goal.branch):
        raise Refused("\n".join(problems))
    with copy_of(goal.project) as copy:
        report = tried(goal, copy)
        new = [found.path for found in report.of("arrived")]
        if in_the_way := [path for path in new if blocked(goal.project, path)]:
            raise Refused(f"In the way of what is new in {goal.to}: {some(in_the_way)}. Move it.")
        if preview:
            return report
        mend(copy, report.mended)
        if lock and not report.conflicts:
            relock(copy)
        report.undo = take_over(goal, copy, report)
    if checks and not report.conflicts:
        report.checks = {verb: make(goal.project, verb) for verb in ("check", "test")}
    return report


@contextmanager
def copy_of(project: Path) -> Iterator[Path]:
    """Give a copy of the project as it was committed last, in a folder of its own."""
    prefix = git(project, "rev-parse", "--show-prefix").strip()
    with tempfile.TemporaryDirectory(prefix="update-") as folder:
        tree = f"{folder}/project"
        # Large files are not needed to see what changes.
        add = ("worktree", "add", "--quiet", "--detach", tree)
        git(project, *NO_HOOKS, *add, GIT_LFS_SKIP_SMUDGE="1")
        try:
            yield Path(tree, prefix)
        finally:
            git(project, "worktree", "remove", "--force", tree)


def tried(goal: Goal, copy: Path) -> Report:
    """Update the copy, and say what came of it.

    Raises:
        Refused: Copier fails, or an answer is not asked for.
    """
    before = read_answers(goal.project, goal.answers_file)
    given = dict(pair.split("=", 1) for pair in goal.data)
    release, file = before["_commit"], goal.answers_file
    say(f"tries the update from {release} to {goal.to} in a copy of the project")
    with tempfile.TemporaryDirectory(prefix="update-") as folder, updating(goal, copy) as finish:
        # Meanwhile, what the two releases generate by themselves.
        old = generate(goal.repository, release, Path(folder, "old"), file, before)
        new = generate(goal.repository, goal.to, Path(folder, "new"), file, {**before, **given})
        if unasked := given.keys() - new.answers.keys():
            raise Refused(
                f"{goal.to} does not ask for {min(unasked)}: it asks for {', '.join(new.answers)}."
            )
        base, theirs = tree_of(copy, old.files), tree_of(copy, new.files)
        rows, asks = table(new.release), asked(new.release)
        finish()
        findings = Update(copy, base, theirs, file).findings(rows)
        examples = [found.path for found in findings if found.kind == "example"]
        return Report(
            source=before["_src_path"],
            old=release,
            new=goal.to,
            commit=git(goal.repository, "rev-parse", f"{goal.to}^{{commit}}").strip(),
            findings=findings,
            questions={
                name: (answer, asks.get(name, ""))
                for name, answer in new.answers.items()
                if name not in old.answers
            },
            notes=changelog(new.release, release, goal.to),
            examples=example_changes(old.files, new.files, examples),
        )


@contextmanager
def updating(goal: Goal, copy: Path) -> Iterator[Callable[[], None]]:
    """Start `copier update` in the copy, and give a function that waits for its end."""
    command = [sys.executable, "-m", "copier", "update", "--defaults", "--quiet"]
    command += [f"--vcs-ref={goal.to}", f"--answers-file={goal.answers_file}"]
    command += [f"--data={pair}" for pair in goal.data]
    process = subprocess.Popen(
        [*command, str(copy)],
        # From the project's folder, as the template may be a path that is relative to it.
        cwd=goal.project,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )

    def finish() -> None:
        said = process.communicate()[0].split("\n")
        if process.returncode:
            raise Refused(f"Copier failed: {next(filter(None, reversed(said)), '')}")

    try:
        yield finish
    finally:
        process.kill()
        process.wait()


def blocked(project: Path, path: str) -> bool:
    """Tell whether something that git does not know is where a file is to be written."""
    place = project / path
    above = [parent for parent in place.parents if parent.is_relative_to(project)]
    return os.path.lexists(place) or any(parent.is_file() for parent in above)


def relock(copy: Path) -> None:
    """Bring the lock file up to date, of a project that keeps one.

    Raises:
        Refused: uv cannot.
    """
    if not (copy / LOCK).exists():
        return
    say("locks the versions anew")
    try:
        done = subprocess.run(["uv", "lock", "--quiet"], cwd=copy, capture_output=True, text=True)
    except FileNotFoundError:
        raise Refused("uv is not on the PATH: run this by make update.") from None
    if done.returncode:
        raise Refused(f"The versions cannot be locked: {done.stderr.strip()}")


def take_over(goal: Goal, copy: Path, report: Report) -> str:
    """Bring the update into the project, and return the command that takes it back.

    Without conflicts it is a commit on a branch; with them, they are there to be resolved.
    """
    project = goal.project
    branch, home = (shlex.quote(name) for name in (goal.branch, current_branch(project)))
    journal, lock = (shlex.quote(str(git_file(project, name))) for name in (JOURNAL, "index.lock"))
    begun = Path(git_file(project, JOURNAL))
    begun.write_text(
        f"rm -f {lock}; git reset --hard; git clean -fd; git switch {home}; "
        f"git branch -D {branch}; rm {journal}",
        encoding="utf-8",
    )
    if report.conflicts:
        bring_conflicts(project, copy, goal.branch)
    else:
        git(copy, "add", "--all", ".")
        message = f"Update the template from {report.old} to {report.new}"
        git(copy, *NO_HOOKS, "commit", "--quiet", f"--message={message}")
        commit = git(copy, "rev-parse", "HEAD").strip()
        git(project, "switch", "--quiet", "--no-overwrite-ignore", "-c", goal.branch, commit)
    begun.unlink()
    return f"git switch --discard-changes {home} && git branch -D {branch}"


def bring_conflicts(project: Path, copy: Path, branch: str) -> None:
    """Bring the files of the copy and what its index says of conflicts."""
    here, there = (
        Path(git(folder, "rev-parse", "--show-toplevel").strip()) for folder in (project, copy)
    )
    sides = git(there, "ls-files", "--unmerged", "-z")
    git(there, "add", "--all", ".")
    tree = git(there, "write-tree").strip()
    git(here, "switch", "--quiet", "-c", branch)
    git(here, "read-tree", "-m", "-u", "HEAD", tree)
    none = "0" * len(tree)
    paths = dict.fromkeys(entry.partition("\t")[2] for entry in sides.split("\0") if entry)
    removed = "".join(f"0 {none}\t{path}\0" for path in paths)
    git(here, "update-index", "-z", "--index-info", stdin=removed + sides)


def make(project: Path, verb: str) -> bool:
    """Run a verb of the project as it now is, and return whether it succeeded."""
    say(f"make {verb}")
    kept = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKEOVERRIDES")}
    done = subprocess.run(["make", verb], cwd=project, env=kept, stdout=sys.stderr)
    return done.returncode == 0


def say(what: str) -> None:
    """Show what is being done."""
    print(f"· {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Update a project, show the report, and return the exit code."""
    warnings.simplefilter("ignore")
    options = parse(arguments)
    project: Path = options.project.resolve()
    goal = Goal(
        project, options.answers_file, options.to, options.repository.resolve(), options.data
    )
    try:
        report = update(goal, options.preview, not options.no_lock, not options.no_checks)
    except Refused as refusal:
        return stopped(project, str(refusal))
    except OSError as error:
        return stopped(project, f"{error.filename or project}: {error.strerror}.")
    except KeyboardInterrupt:
        return stopped(project, "Stopped.")
    print(report.json() if options.json else report.markdown())
    if not report.undo:
        what_next("Nothing was changed.")
        return 1 if report.conflicts else 0
    if report.conflicts:
        what_next(f"Resolve the conflicts on {goal.branch}, then make setup check test, commit.")
    else:
        file = project / "artifacts" / "updates" / f"{goal.to}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report.markdown(), encoding="utf-8")
        what_next(f"Committed on {goal.branch}; for a pull request: {file}")
    what_next(f"The old state comes back by: {report.undo}")
    return 0 if not report.conflicts and all(report.checks.values()) else 1


def stopped(project: Path, reason: str) -> int:
    """Say why there is no update, and what became of the project."""
    for line in reason.splitlines():
        print(f"✗ {line}", file=sys.stderr)
    try:
        undo = git_file(project, JOURNAL).read_text("utf-8")
    except (OSError, Refused):
        what_next("Nothing was changed.")
    else:
        what_next(f"It was stopped in the middle. The old state comes back by: {undo}")
    return 1


def what_next(line: str) -> None:
    """Show one of the last lines."""
    print(f"→ {line}", file=sys.stderr)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("project", type=Path, help="the project's folder")
    add("--to", required=True, help="the release, as the template's repository calls it")
    home = Path(__file__).resolve().parent.parent
    add("--repository", type=Path, default=home, help="the template's repository, on this disk")
    add("--answers-file", default=before_update.ANSWERS, help="if the project has another")
    add("--data", action="append", default=[], help="name=value: an answer to be changed")
    add("--preview", action="store_true", help="only say what would happen")
    add("--no-lock", action="store_true", help="leave uv.lock as it is")
    add("--no-checks", action="store_true", help="do not run make check and make test afterwards")
    add("--json", action="store_true", help="write the report as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
