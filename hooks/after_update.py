"""Did the update cost the team any work? Changes nothing.

    python hooks/after_update.py PROJECT --snapshot FILE

Run it right after the update, before anything else writes to the project. FILE is what
before_update.py wrote. Every problem is one sentence and the exit code is 1.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from ownership import Refused, Row, digest, paths, present, release, row_of, some, table

MARKERS = (b"<<<<<<< before updating", b">>>>>>> after updating")


def conflicts(project: Path, rows: list[Row]) -> list[str]:
    """Say which files the update could not merge, and which side to keep."""
    unmerged = {line.partition("\t")[2] for line in paths(project, "ls-files", "-z", "--unmerged")}
    changed = {
        *paths(project, "diff", "-z", "--name-only", "--relative", "HEAD"),
        *paths(project, "ls-files", "-z", "--others", "--exclude-standard"),
    }
    marked = {
        path
        for path in changed
        if (project / path).is_file()
        and any(line.startswith(MARKERS) for line in (project / path).read_bytes().splitlines())
    }
    problems = []
    for path in sorted(unmerged | marked):
        row = row_of(path, rows)
        advice = "edit it to what it should be, then git add it."
        if row and row.owner == "managed":
            advice = f"it is the platform's: keep the new side, and change {row.extend}."
        problems.append(f"{path} has a conflict: {advice}")
    # A .gitignore may well name *.rej, so ignored ones are looked for too.
    return problems + [
        f"{path} holds changes that did not apply: make them by hand, delete it."
        for path in paths(project, "ls-files", "-z", "--others", "--", "*.rej")
    ]


def losses(project: Path, rows: list[Row], before: dict[str, Any], steps: list[str]) -> list[str]:
    """Say which of the team's files the update changed, removed or brought back."""
    problems = []
    files: dict[str, str] = before["files"]
    for path, content in files.items():
        file = project / path
        if not (file.is_file() or file.is_symlink()):
            problems.append(f"{path} is yours and was removed: git restore --staged -W {path}")
        elif digest(file) != content:
            problems.append(f"{path} is yours and was changed: git restore --staged -W {path}")
    returned = []
    for path in present(project):
        row = row_of(path, rows)
        if path in files or row is None or row.owner != "owned":
            continue
        match = row.match(path)
        step = match.groupdict().get("step") if match else None
        new_step = step in steps and step not in before["extra_steps"]
        if release(before["commit"]) >= row.since and not new_step:
            returned.append(path)
    if returned:
        problems.append(f"You had deleted {some(returned)}, and the update brought it back: rm it.")
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Compare the project with the snapshot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path, help="the project's folder")
    parser.add_argument("--snapshot", type=Path, required=True, help="what before_update.py wrote")
    parser.add_argument("--answers-file", default=".copier-answers.yml", help="if it has another")
    options = parser.parse_args(arguments)
    project: Path = options.project
    try:
        before = json.loads(options.snapshot.read_text(encoding="utf-8"))
        rows = table()
        problems = conflicts(project, rows)
        answers = yaml.safe_load((project / options.answers_file).read_text(encoding="utf-8"))
        problems += losses(project, rows, before, answers.get("extra_steps") or [])
    except Refused as refusal:
        problems = [str(refusal)]
    except OSError as error:
        problems = [f"{error.filename or project}: {error.strerror}."]
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        name = f"{options.snapshot} or {project / options.answers_file}"
        problems = [f"{name} is not what the update wrote: undo the update and run it again."]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        undo = "git reset --hard && git clean -fd"
        print(f"What next: mend this and commit, or undo it all with: {undo}", file=sys.stderr)
        return 1
    print("What next: make setup check test, read git diff, and commit.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
