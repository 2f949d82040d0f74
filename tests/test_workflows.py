"""The workflows of this repository, by the tools that know what GitHub accepts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("command", [["actionlint"], ["zizmor", "--offline", "--pedantic"]])
def test_lint(command: list[str]) -> None:
    """Neither GitHub's syntax nor the security of it is in question."""
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *command[1:], *WORKFLOWS], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_and_limits(path: Path) -> None:
    """No rights but those that a job asks for, and no job that runs for hours."""
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60


def test_what_may_write_runs_nothing_of_ours() -> None:
    """It is git alone, on what another job has left."""
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text("utf-8"))["jobs"].items():
            if "write" not in job["permissions"].values():
                continue
            ran = "\n".join(step.get("run", "") for step in job["steps"])
            assert not re.search(r"\b(make|python3?|uv|bash|sh)\b", ran), f"{path.name}: {name}"
            used = [step["uses"] for step in job["steps"] if "uses" in step]
            assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", use) for use in used), name


def test_the_same_commands() -> None:
    """A workflow runs what .ci/run and a maintainer run."""
    script = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    made = [run for run in steps if run.startswith("make ")]
    assert made == [line for line in script if line.startswith("make ")] != []
