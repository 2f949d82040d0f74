"""Which of the template's own files has a team edited? `make update-check` shows them.

    python hooks/edited.py PROJECT --repository TEMPLATE

Writes them as JSON: path, and where a change belongs instead.
"""

import json
import sys
import tempfile
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from after_update import Finding, Update, tree_of
from before_update import ANSWERS, read_answers
from generate import generate
from ownership import Refused, table


def edited(project: Path, repository: Path, answers_file: str) -> list[Finding]:
    """List the managed files that are not as their release generates them.

    Raises:
        Refused: there is no telling.
    """
    answers = read_answers(project, answers_file)
    with tempfile.TemporaryDirectory(prefix="edited-") as folder:
        fresh = generate(repository, answers["_commit"], Path(folder, "own"), answers_file, answers)
        tree = tree_of(project, fresh.files)
        # An update to the same release, as it were.
        findings = Update(project, tree, tree, answers_file).findings(table(fresh.release))
    return [found for found in findings if found.owner == "managed" and found.kind == "kept"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the list and return the exit code."""
    warnings.simplefilter("ignore")
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path, help="the project's folder")
    parser.add_argument("--repository", type=Path, required=True, help="the template's repository")
    parser.add_argument("--answers-file", default=ANSWERS, help="if the project has another")
    parser.add_argument("--to", help="the release that this script is of")
    options = parser.parse_args(arguments)
    try:
        found = edited(options.project.resolve(), options.repository, options.answers_file)
    except (Refused, OSError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    print(json.dumps([{"path": each.path, "extend": each.extend} for each in found]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
