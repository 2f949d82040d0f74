"""Is this project ready for an update? Changes nothing in it.

    python hooks/before_update.py PROJECT --snapshot FILE

`make update` runs it from the release it updates to. Every problem is one sentence and the exit
code is 1; otherwise FILE, which belongs outside the project, gets what after_update.py needs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from ownership import Refused, digest, git, paths, present, row_of, some, table

UNFINISHED = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}


def repository_problems(project: Path) -> list[str]:
    """Say what keeps git from telling the update's changes from the team's."""
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

    unfinished = {
        name
        for mark, name in UNFINISHED.items()
        if (project / git(project, "rev-parse", "--git-path", mark).strip()).exists()
    }
    problems = [
        f"A {name} is not finished: run git {name} --continue or --abort."
        for name in sorted(unfinished)
    ]
    try:
        git(project, "symbolic-ref", "--quiet", "HEAD")
    except Refused:
        if "rebase" not in unfinished:
            problems.append("No branch is checked out: run git switch -c update.")
    # One entry a file: two letters, a blank, the path.
    status = git(project, "status", "--porcelain", "-z", "--no-renames").split("\0")
    if changed := [entry[3:] for entry in status if entry]:
        problems.append(f"Not committed: {some(changed)}. Commit or stash first.")
    return problems


def read_answers(project: Path, name: str) -> dict[str, Any]:
    """Read the project's answers, which say where it comes from."""
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


def snapshot(project: Path, answers: dict[str, Any]) -> dict[str, Any]:
    """Note the files that are the team's alone: owned ones, and those the template knows not."""
    rows = table()
    theirs = {
        path: digest(project / path)
        for path in present(project)
        if (row := row_of(path, rows)) is None or row.owner == "owned"
    }
    steps = answers.get("extra_steps") or []
    return {"commit": answers["_commit"], "extra_steps": steps, "files": theirs}


def main(arguments: list[str] | None = None) -> int:
    """Check the project and write the snapshot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path, help="the project's folder")
    parser.add_argument("--snapshot", type=Path, help="write what after_update.py needs here")
    parser.add_argument("--answers-file", default=".copier-answers.yml", help="if it has another")
    options = parser.parse_args(arguments)
    project: Path = options.project
    answers: dict[str, Any] = {}
    try:
        problems = repository_problems(project)
        try:
            answers = read_answers(project, options.answers_file)
        except Refused as refusal:
            problems.append(str(refusal))
        if options.snapshot and not problems:
            text = json.dumps(snapshot(project, answers), indent=2)
            options.snapshot.write_text(text, encoding="utf-8")
    except Refused as refusal:
        problems = [str(refusal)]
    except OSError as error:
        problems = [f"{error.filename or project}: {error.strerror}."]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("What next: nothing was changed; mend this and update again.", file=sys.stderr)
        return 1
    print(f"What next: update. The project, made by {answers['_commit']}, is ready for it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
