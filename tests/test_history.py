"""What was released stays: paths and their owners, questions and what they accept."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Questions, Template
from test_questions import ACCEPTED, REFUSED

from scripts import ledger
from scripts.repository import git

# What is chosen with the first is chosen with the second, so the second is wider.
WIDER = {"monitoring": "online"}
# An update renders the old release with these, as the new one has them.
FOR_EVER = ("_subdirectory", "_templates_suffix", "_envops", "_external_data")
TABLE = "questions/90-files.yml"


def settings(repository: Path, commit: str = "") -> dict[str, Any]:
    """Read all files of questions, as they are or as they were in a commit."""
    found: dict[str, Any] = {}
    listed = git(repository, "ls-files", "questions")
    if commit:
        listed = git(repository, "ls-tree", "--name-only", commit, "questions/")
    for name in listed.split():
        text = git(repository, "show", f"{commit}:{name}") if commit else ""
        found |= yaml.safe_load(text or (repository / name).read_text("utf-8"))
    return found


def choices(question: dict[str, Any]) -> set[str]:
    """List what can be chosen."""
    listed = question.get("choices", [])
    return set(listed.values() if isinstance(listed, dict) else listed)


def retired(now: dict[str, Any]) -> set[str]:
    """List the paths that are left out by name: projects that have them keep them."""
    return {line for line in now["_exclude"] if line.startswith("/")}


def broken(repository: Path) -> list[str]:
    """Say what has changed that projects of a release rely on."""
    now = settings(repository)
    rows = {row["path"]: row for row in now["files"]["default"]}
    problems = []
    for release in ledger.read(repository):
        was = settings(repository, release.commit)
        problems += [
            f"{name} is not as in {release.version}" for name in FOR_EVER if was[name] != now[name]
        ]
        for row in was["files"]["default"]:
            path = row["path"]
            if path in retired(now):
                continue
            new = rows.get(path, {})
            changed = [key for key in ("class", "since", "when") if row.get(key) != new.get(key)]
            # A managed file may come to more projects than before.
            if changed == ["when"] and row["class"] == "managed":
                wider = new.get("when") in (None, WIDER.get(row["when"], row["when"]))
                changed = [] if wider else changed
            if changed:
                problems.append(f"{path}: {changed} not as in {release.version}")
        for name, question in was.items():
            if name.startswith("_") or question.get("when") is False:
                continue
            known = now.get(name, {})
            gone = choices(question) - choices(known)
            if question["type"] != known.get("type"):
                problems.append(
                    f"{name}: renamed, gone or of another type than in {release.version}"
                )
            elif gone:
                problems.append(f"{name}: {gone} could be chosen in {release.version}")
    return problems


def test_what_was_released_stays() -> None:
    assert not broken(ROOT)


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (TABLE, "managed, path: /Makefile,", "shared, path: /Makefile,", "/Makefile"),
        (TABLE, "/project.mk, since: [0, 1, 0]", "/project.mk, since: [0, 2, 0]", "/project.mk"),
        (TABLE, "owned, path: /conftest.py,", "owned, path: /moved.py,", "/conftest.py"),
        ("questions/10-project.yml", "project_owner:", "project_team:", "project_owner"),
        ("questions/20-model.yml", "- xgboost", "- lightgbm", "model_framework"),
        ("questions/00-settings.yml", "trim_blocks: true", "trim_blocks: false", "_envops"),
    ],
)
def test_a_change_that_projects_could_not_take(
    draft: Template, file: str, old: str, new: str, named: str
) -> None:
    """A path that changes class, a question that changes its name: each is refused here."""
    path = draft.path / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    problems = broken(draft.path)
    assert problems
    assert all(problem.startswith(named) for problem in problems), problems


def test_a_retired_path_needs_no_row(draft: Template) -> None:
    """It is left out by name instead."""
    path = draft.path / TABLE
    text = path.read_text("utf-8")
    text = re.sub(r".*path: /conftest.py,.*\n", "", text)
    path.write_text(text.replace("_exclude:\n", "_exclude:\n  - /conftest.py\n"), encoding="utf-8")
    assert not broken(draft.path)


@pytest.mark.parametrize("release", ledger.read(ROOT), ids=lambda release: release.version)
def test_what_was_accepted_is_accepted(questions: Questions, release: ledger.Release) -> None:
    """Copier would silently put the default in the place of an answer that is refused now."""
    settings_then = settings(ROOT, release.commit).items()
    was = {name: details for name, details in settings_then if not name.startswith("_")}
    for name in ACCEPTED.keys() & was.keys():
        before = Questions(was, questions.jinja)
        for answer in (*ACCEPTED[name], *REFUSED.get(name, ())):
            if not before.complaint(name, answer):
                assert not questions.complaint(name, answer), f"{name}: {answer!r}"
