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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import before_update
from after_update import ADD_ALL, Update, mend, tree_of
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
        return f"update-{self.to}{'-answers' if self.data else ''}"


def update(goal: Goal, preview: bool, lock: bool) -> Report:
    """Update the project, unless that is only to be looked at.

    Raises:
        Refused: it cannot be.
    """
    if problems := before_update.problems(goal.project, goal.answers_file, goal.branch):
        raise Refused("\n".join(problems))
    with copy_of(goal.project) as copy:
        report = tried(goal, copy)
        taken = [each.path for each in report.of("arrived") if is_taken(goal.project, each.path)]
        if taken:
            raise Refused(
                f"New in {goal.to}, where something is that git ignores: {some(taken)}. Move it."
            )
        if preview:
            return report
        mend(copy, report.mended)
        if lock and not report.conflicts:
            relock(copy)
        report.undo = take_over(goal, copy, report)
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
            # What is left of it, git forgets in time.
            with suppress(Refused):
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
            reason = next(filter(None, reversed(said)), "")
            raise Refused(f"Copier failed: {reason.lstrip(' |')}")

    try:
        yield finish
    finally:
        process.kill()
        process.wait()


def is_taken(project: Path, path: str) -> bool:
    """Tell whether something is where a file is to be written, or its folder."""
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
    project, journal = goal.project, git_file(goal.project, JOURNAL)
    lock = git_file(project, "index.lock")
    back = f"{shlex.quote(current_branch(project))} && git branch -D {shlex.quote(goal.branch)}"
    # Whole or not at all, whatever happens.
    begun = journal.with_name(f"{JOURNAL}.new")
    begun.write_text(
        f"rm -f {shlex.quote(str(lock))}; git reset --hard; git clean -fd; git switch {back}; "
        f"rm {shlex.quote(str(journal))}",
        encoding="utf-8",
    )
    begun.replace(journal)
    if report.conflicts:
        bring_conflicts(project, copy, goal.branch)
    else:
        git(copy, *ADD_ALL, ".")
        message = f"Update the template from {report.old} to {report.new}"
        git(copy, *NO_HOOKS, "commit", "--quiet", f"--message={message}")
        commit = git(copy, "rev-parse", "HEAD").strip()
        git(project, "switch", "--quiet", "--no-overwrite-ignore", "-c", goal.branch, commit)
    journal.unlink()
    return f"git switch --discard-changes {back}"


def bring_conflicts(project: Path, copy: Path, branch: str) -> None:
    """Bring the files of the copy and what its index says of conflicts."""
    here, there = (
        Path(git(folder, "rev-parse", "--show-toplevel").strip()) for folder in (project, copy)
    )
    sides = git(there, "ls-files", "--unmerged", "-z")
    git(there, *ADD_ALL, ".")
    tree = git(there, "write-tree").strip()
    git(here, "switch", "--quiet", "-c", branch)
    git(here, "read-tree", "-m", "-u", "HEAD", tree)
    none = "0" * len(tree)
    paths = dict.fromkeys(entry.partition("\t")[2] for entry in sides.split("\0") if entry)
    removed = "".join(f"0 {none}\t{path}\0" for path in paths)
    git(here, "update-index", "-z", "--index-info", stdin=removed + sides)


def checked(project: Path) -> dict[str, bool]:
    """Run the project's checks and tests as they now are; say which succeeded."""
    # What the calling make was told is not for this one.
    told = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    kept = {name: value for name, value in os.environ.items() if name not in told}
    results = {}
    for verb in ("check", "test"):
        say(f"make {verb}")
        command = ["make", verb]
        done = subprocess.run(command, cwd=project, env=kept, stdout=sys.stderr, check=False)
        results[" ".join(command)] = done.returncode == 0
    return results


def say(what: str) -> None:
    """Show what is being done."""
    print(f"· {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Update a project, show the report, and return the exit code."""
    warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        # A file's name need not be text.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = parse(arguments)
    project, repository = options.project.resolve(), options.repository.resolve()
    goal = Goal(project, options.answers_file, options.to, repository, options.data)
    undo = ""
    try:
        report = update(goal, options.preview, not options.no_lock)
        undo = report.undo
        if undo and not report.conflicts and not options.no_checks:
            report.checks = checked(project)
        print(report.json() if options.json else report.markdown())
        return conclude(goal, report)
    except Refused as refusal:
        reason = str(refusal)
    except OSError as error:
        reason = f"{error.filename or project}: {error.strerror}."
    except KeyboardInterrupt:
        reason = "Stopped."
    return stopped(goal, reason, undo)


def conclude(goal: Goal, report: Report) -> int:
    """Say what comes next, and return the exit code."""
    if not report.undo:
        what_next("Nothing was changed.")
    elif report.conflicts:
        what_next(f"Resolve the conflicts on {goal.branch}, then make setup check test, commit.")
    else:
        file = goal.project / "artifacts" / "updates" / f"{goal.to}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report.markdown(), encoding="utf-8", errors="backslashreplace")
        what_next(f"Committed on {goal.branch}; for a pull request: {file}")
    if report.undo:
        what_next(f"The old state comes back by: {report.undo}")
    return 1 if report.conflicts or not all(report.checks.values()) else 0


def stopped(goal: Goal, reason: str, undo: str) -> int:
    """Say why it ended, and what became of the project."""
    for line in reason.splitlines():
        print(f"✗ {line}", file=sys.stderr)
    with suppress(OSError, Refused):
        undo = git_file(goal.project, JOURNAL).read_text("utf-8")
    what_next(f"The old state comes back by: {undo}" if undo else "Nothing was changed.")
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
