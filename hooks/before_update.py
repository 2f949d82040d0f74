"""Is a project ready for an update? Looks, and changes nothing."""

from pathlib import Path
from typing import Any

import yaml
from ownership import Refused, git, paths, some

ANSWERS = ".copier-answers.yml"
UNFINISHED = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
# Holds the command that undoes an update, for as long as the update writes to the project.
JOURNAL = "template-update"


def problems(project: Path, answers_file: str, branch: str) -> list[str]:
    """Say all that keeps an update on a branch of that name from being safe."""
    try:
        found = repository_problems(project, branch)
    except Refused as refusal:
        return [str(refusal)]
    try:
        read_answers(project, answers_file)
    except Refused as refusal:
        found.append(str(refusal))
    return found


def repository_problems(project: Path, branch: str) -> list[str]:
    """Say what keeps git from telling the update's changes from the team's.

    Raises:
        Refused: there is no repository to look at.
    """
    if not project.is_dir():
        raise Refused(f"{project} is not a folder: name the project's folder.")
    try:
        git(project, "rev-parse", "--show-toplevel")
    except Refused as refusal:
        if "not a git repository" not in str(refusal):
            raise
        raise Refused(f"{project} is not in a git repository: git init, add and commit.") from None
    try:
        git(project, "rev-parse", "--verify", "--quiet", "HEAD")
    except Refused:
        raise Refused("The repository has no commit yet: git add --all, git commit.") from None
    journal = git_file(project, JOURNAL)
    if journal.exists():
        undo = journal.read_text(encoding="utf-8")
        raise Refused(f"An update was stopped in the middle. Take it back, then try again: {undo}")

    unfinished = {name for mark, name in UNFINISHED.items() if git_file(project, mark).exists()}
    found = [
        f"A {name} is not finished: run git {name} --continue or --abort."
        for name in sorted(unfinished)
    ]
    if not current_branch(project) and "rebase" not in unfinished:
        found.append("No branch is checked out: run git switch and the name of one.")
    if git(project, "branch", "--list", branch):
        found.append(
            f"There is a branch {branch} already, of an update before: git switch {branch} to go "
            f"on with it, or git branch -D {branch}."
        )
    # One entry a file: two letters, a blank, the path.
    status = git(project, "status", "--porcelain", "-z", "--no-renames").split("\0")
    if changed := [entry[3:] for entry in status if entry]:
        found.append(f"Not committed: {some(changed)}. Commit or stash first.")
    # One entry a file: a letter, a blank, the path.
    listed = git(project, "ls-files", "-v", "-z").split("\0")
    if odd := [entry[2:] for entry in listed if not is_text(entry)]:
        found.append(f"Copier cannot read names that are not in UTF-8: {some(odd)}. Rename them.")
    # Lower case: assumed to be unchanged. S: skipped, of which a sparse checkout has none on disk.
    unseen = [entry[2:] for entry in listed if entry[:1].islower() or entry[:1] == "S"]
    if hidden := [path for path in unseen if (project / path).exists()]:
        found.append(
            f"git is told not to look at {some(hidden)}: git update-index --no-assume-unchanged "
            "--no-skip-worktree and the file's name."
        )
    try:
        git(project, "var", "GIT_COMMITTER_IDENT")
    except Refused:
        found.append("git does not know who you are: git config user.name and user.email.")
    return found


def is_text(path: str) -> bool:
    """Tell whether a path is in UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def current_branch(project: Path) -> str:
    """Name the branch that is checked out; empty if there is none."""
    return git(project, "branch", "--show-current").strip()


def git_file(project: Path, name: str) -> Path:
    """Find a file of git's own."""
    return project / git(project, "rev-parse", "--git-path", name).strip()


def read_answers(project: Path, name: str) -> dict[str, Any]:
    """Read the project's answers, which say where it comes from.

    Raises:
        Refused: they are missing, broken, or not in git.
    """
    file = project / name
    restore = f"Restore it from git: git log --diff-filter=DM -- {name}"
    try:
        answers = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{name} is missing, which says how {project} was made. {restore}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise Refused(f"{name} cannot be read ({reason}). {restore}") from None
    if not isinstance(answers, dict):
        raise Refused(f"{name} holds no answers. {restore}")
    for key in ("_commit", "_src_path"):
        if not isinstance(answers.get(key), str):
            raise Refused(f"{name} has no {key}, so the release it comes from is lost. {restore}")
    if not paths(project, "ls-files", "-z", "--", name):
        raise Refused(f"{name} is not in git: run git add --force {name} and commit.")
    return answers
