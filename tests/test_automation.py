"""From a merged pull request to a running model: the verbs that GitHub's workflows call, for real.

What is only at GitHub or in a cloud is played: `gh`, `cosign`, `trivy`, `aws` and `gcloud` note what
they are told. git, registries, the engine and the API server are real.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, commit, git
from projects import machine

GITHUB = ROOT / "template/.github"
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text("utf-8"))
    for path in sorted((GITHUB / "workflows").glob("*.yml"))
}
WRITER = "_propose"
MAY_WRITE = ("contents", "pull-requests", "issues", "actions", "workflows")
NOTES = """#!/usr/bin/env python3
import json, os, sys
with open({notes!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
{code}
"""


@dataclass(frozen=True)
class Played:
    """A program on the PATH that notes what it is told, and answers as a test says."""

    folder: Path
    name: str

    def plays(self, code: str) -> "Played":
        """Say what it does, in Python."""
        self.folder.mkdir(exist_ok=True)
        program = self.folder / self.name
        program.write_text(NOTES.format(notes=str(self._notes), code=code), encoding="utf-8")
        program.chmod(0o755)
        return self

    @property
    def told(self) -> list[list[str]]:
        """Return the arguments of each call, and forget them."""
        if not self._notes.exists():
            return []
        lines = self._notes.read_text("utf-8").splitlines()
        self._notes.unlink()
        return [json.loads(line) for line in lines]

    @property
    def path(self) -> str:
        """Return a PATH on which it is the first."""
        return f"{self.folder}{os.pathsep}{machine()['PATH']}"

    @property
    def _notes(self) -> Path:
        return self.folder / f"{self.name}.notes"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Give a folder for programs that are played."""
    return tmp_path / "programs"


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give every job of a generated project: its workflow, its name, and what it is."""
    for workflow, content in WORKFLOWS.items():
        for name, job in content["jobs"].items():
            yield workflow, name, job


def runs(job: Mapping[str, Any]) -> str:
    """Return all that a job runs in a shell."""
    return "\n".join(step.get("run", "") for step in job.get("steps", []))


def test_what_may_write_runs_nothing_of_the_project() -> None:
    """One job may: it calls git and gh, and actions that are not in the repository."""
    writing = [
        (workflow, name)
        for workflow, name, job in jobs()
        if "steps" in job and "write" in {job.get("permissions", {}).get(key) for key in MAY_WRITE}
    ]
    assert writing == [(WRITER, "propose")]
    (job,) = WORKFLOWS[WRITER]["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name) for name in used)
    # The first word of each command, and of those in $( ).
    script = runs(job).replace("\\\n", " ")
    assert not re.search(r"\b(make|python3?|uv|bash|sh|source|eval|checkout|merge)\b", script)
    words = set(re.findall(r"(?:^|[|(;!]|\bif |\bthen )\s*(git|gh|[a-z_]+)\b(?!=)", script, re.M))
    assert {"git", "gh"} < words


def test_what_runs_the_project_has_no_secret() -> None:
    """Of GitHub it has a token that reads; of the cloud what it is let in for, for an hour."""
    found = 0
    for workflow, name, job in jobs():
        if "make " not in runs(job):
            continue
        found += 1
        assert "secrets." not in json.dumps(job), (workflow, name)
        for right, value in job.get("permissions", {}).items():
            assert value == "read" or right in ("id-token", "packages"), (workflow, name, right)
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, (workflow, name)
    assert found > 5


def test_every_verb_is_one_of_the_project(default_project: Path) -> None:
    """A job calls verbs that are there."""
    files = [default_project / "Makefile", *default_project.glob(".github/*.mk")]
    listed = "\n".join(file.read_text("utf-8") for file in files)
    known = {name for line in re.findall(r"^([a-z -]+):", listed, re.M) for name in line.split()}
    actions = "\n".join(path.read_text("utf-8") for path in GITHUB.rglob("action.yml"))
    called = re.findall(r"\bmake ([a-z-]+)", "\n".join([actions, *(runs(j) for *_, j in jobs())]))
    assert {"images", "deliver", "propose-update", "propose-release", "scan"} <= {*called}
    assert {*called} <= known


def test_renovate_leaves_the_platforms_files_alone(default_project: Path) -> None:
    """What it could raise, and an update would bring back, it does not look at."""
    from pathspec import GitIgnoreSpec
    from test_ownership import ROWS, matcher

    settings = json.loads((default_project / "renovate.json").read_text("utf-8"))
    ignored = GitIgnoreSpec.from_lines(settings["ignorePaths"])
    managed = [matcher(row) for row in ROWS if row["class"] == "managed"]
    seen = 0
    for path in default_project.rglob("*"):
        name = path.relative_to(default_project).as_posix()
        if re.search(r"(Dockerfile|pyproject\.toml|\.tf|kustomization\.yaml|\.github/.*yml)$", name):
            platforms = any(spec.match_file(name) for spec in managed)
            assert ignored.match_file(name) or not platforms, name
            seen += platforms
    assert seen > 10
    assert not ignored.match_file("steps/train/pyproject.toml")
    assert not ignored.match_file(".github/workflows/ci.yml")


@dataclass(frozen=True)
class Writing:
    """The job that opens pull requests, between a repository on a server and gh."""

    server: Path
    clone: Path
    proposal: Path
    gh: Played

    def propose(self, name: str, title: str = "A title", *, draft: bool = False) -> str:
        """Leave a proposal as tools/proposal.py does, and return its commit."""
        other = self.clone.parent / "other"
        git(self.clone.parent, "clone", "--quiet", str(self.server), str(other))
        (other / "new.txt").write_text(f"{name}\n", encoding="utf-8")
        commit(other, "A change")
        git(other, "update-ref", "refs/proposal", "HEAD")
        self.proposal.mkdir(exist_ok=True)
        bundle = str(self.proposal / "commits.bundle")
        git(other, "bundle", "create", "--quiet", bundle, "origin/main..refs/proposal")
        made = git(other, "rev-parse", "HEAD").strip()
        subprocess.run(["rm", "-r", str(other)], check=True)
        for file, text in (("name", name), ("title", title), ("body.md", "What, and why.")):
            (self.proposal / file).write_text(f"{text}\n", encoding="utf-8")
        (self.proposal / "draft").unlink(missing_ok=True)
        if draft:
            (self.proposal / "draft").touch()
        return made

    def run(self, kind: str = "template") -> subprocess.CompletedProcess[str]:
        """Run the job's script as GitHub does."""
        (job,) = WORKFLOWS[WRITER]["jobs"].values()
        (step,) = [step for step in job["steps"] if "run" in step]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.clone,
            env={
                **machine(),
                "PATH": self.gh.path,
                "BASE": "main",
                "FOLDER": str(self.proposal),
                "GH_REPO": "team/my-model",
                "GH_TOKEN": "none",
                "GITHUB_STEP_SUMMARY": str(self.proposal.parent / "summary"),
                "KIND": kind,
            },
            check=False,
            capture_output=True,
            text=True,
        )

    @property
    def branches(self) -> dict[str, str]:
        """Return the branches on the server, with their commits."""
        form = "--format=%(refname:short) %(objectname)"
        lines = git(self.server, "for-each-ref", form, "refs/heads").splitlines()
        return dict(line.split() for line in lines)


# What is open, and what is there of a branch, comes from the test.
GH = """
known = {known!r}
arguments = sys.argv[1:]
if arguments[:2] == ["pr", "list"] and "--head" in arguments:
    print(int(arguments[arguments.index("--head") + 1] in known))
elif arguments[:2] == ["pr", "list"]:
    for branch, number in known.items():
        print(number, branch)
elif arguments[:2] == ["pr", "create"]:
    if "--draft" in arguments and {no_drafts!r}:
        sys.exit("drafts are not for this plan")
    print("https://github.invalid/team/my-model/pull/7")
"""


@pytest.fixture
def writing(tmp_path: Path, programs: Path) -> Writing:
    """Give a repository on a server, its clone in a job, and a gh."""
    server, clone = tmp_path / "server.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(server))
    git(tmp_path, "clone", "--quiet", str(server), str(clone))
    git(clone, "switch", "--quiet", "-c", "main")
    commit(clone, "Start")
    git(clone, "push", "--quiet", "origin", "main")
    gh = Played(programs, "gh").plays(GH.format(known={}, no_drafts=False))
    return Writing(server, clone, tmp_path / "proposal", gh)


def test_a_pull_request(writing: Writing) -> None:
    """The commits are pushed as they are, the text is given, and what is checked out stays."""
    made = writing.propose("1.2.0", 'Update "$(id)" `id` to 1.2.0')
    done = writing.run()
    assert done.returncode == 0, done.stderr
    assert writing.branches["automation/template-1.2.0"] == made
    created = [told for told in writing.gh.told if told[:2] == ["pr", "create"]]
    assert created == [
        ["pr", "create", "--head", "automation/template-1.2.0", "--base", "main"]
        + ["--title", 'Update "$(id)" `id` to 1.2.0']
        + ["--body-file", str(writing.proposal / "body.md")]
    ]
    assert not (writing.clone / "new.txt").exists()
    assert "pull/7" in (writing.proposal.parent / "summary").read_text("utf-8")


def test_older_ones_are_closed(writing: Writing) -> None:
    """Of its kind alone; one that was proposed before is left as it is, open or closed."""
    others = {
        "automation/template-1.1.0": 3,
        "automation/fixes-1.1.0": 4,
        "my-own-branch": 5,
    }
    writing.gh.plays(GH.format(known=others, no_drafts=False))
    writing.propose("1.2.0")
    assert writing.run().returncode == 0
    closed = [told for told in writing.gh.told if told[:2] == ["pr", "close"]]
    url = "https://github.invalid/team/my-model/pull/7"
    assert closed == [["pr", "close", "3", "--comment", f"Superseded by {url}"]]
    before = writing.branches
    writing.propose("1.1.0")
    done = writing.run()
    assert done.returncode == 0
    assert "was proposed before" in done.stdout
    assert writing.branches == before
    assert all(told[:2] == ["pr", "list"] for told in writing.gh.told)


@pytest.mark.parametrize("plan", ["with drafts", "without"])
def test_a_draft(writing: Writing, plan: str) -> None:
    """What a person has to go on with is one, where the plan has them."""
    writing.gh.plays(GH.format(known={}, no_drafts=plan == "without"))
    writing.propose("1.2.0", draft=True)
    assert writing.run().returncode == 0
    drafts = ["--draft" in told for told in writing.gh.told if told[:2] == ["pr", "create"]]
    assert drafts == ([True] if plan == "with drafts" else [True, False])


@pytest.mark.parametrize("name", ["", "../main", "a b", "-x", "x" * 65, "$(id)", "Ä"])
def test_a_name_that_is_none(writing: Writing, name: str) -> None:
    """A branch is named by the workflow; of what comes from the other job, little is let in."""
    writing.propose(name)
    done = writing.run()
    assert done.returncode != 0
    assert "::error::" in done.stdout
    assert [*writing.branches] == ["main"]


def test_a_push_that_is_refused(writing: Writing) -> None:
    """As GitHub does when a workflow changes and no app is there: it is said what that takes."""
    hook = writing.server / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no workflows >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    writing.propose("1.2.0")
    done = writing.run()
    assert done.returncode != 0
    assert "AUTOMATION_APP" in done.stdout
    assert not [told for told in writing.gh.told if told[:2] == ["pr", "create"]]
