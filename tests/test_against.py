"""`make compare BASE=`, `make golden CHECK=1`: what a pull request is judged by, on a laptop."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import engine
import pytest
from conftest import Template, commit, git
from projects import Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie
from test_docs import commands

pytestmark = [
    pytest.mark.project,
    pytest.mark.parametrize("project", [flavour("laptop")], indirect=True),
]
PAGE = "artifacts/against.md"


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give the project, and take back its runs and what they were compared with."""
    with restored(life(request.param, template, copie_session).project) as made:
        before = set(made.path.glob("artifacts/runs/*"))
        yield made
        for folder in {*made.path.glob("artifacts/runs/*")} - before:
            shutil.rmtree(folder)
        shutil.rmtree(made.path / "artifacts/base", ignore_errors=True)
        git(made.path, "worktree", "prune")


def test_a_metric_that_falls(project: Generated) -> None:
    """It is refused, unless it is little or a commit says why; the page says the same."""
    project.make("compare", "BASE=nope").failed("there is no commit 'nope' here")
    project.edit("config/project.yaml", "regularisation: 1.0", "regularisation: 0.00001")
    commit(project.path, "Less regularisation")
    told = project.make("compare", "BASE=HEAD~1").succeeded()
    assert "is not a run of what is here now" in told.err
    project.make("run").succeeded()
    project.make("compare", "BASE=HEAD~1").failed("roc_auc is worse by 4.8%", "Accept-metrics:")
    page = (project.path / PAGE).read_text("utf-8")
    assert page.startswith("✗ roc_auc is worse")
    assert "| roc_auc | 0.9942 | 0.9461 | -0.0481 |" in page
    assert "-0.0481" in project.make("compare", "BASE=HEAD~1", "WITHIN=0.05").succeeded().out
    git(project.path, "commit", "--quiet", "--no-verify", "--allow-empty", "--message=Why", "-m",
        "Accept-metrics: a leak was mended")  # fmt: skip
    told = project.make("run", "compare", "BASE=HEAD~2").succeeded()
    assert "accepted: a leak was mended" in told.out
    assert (project.path / PAGE).read_text("utf-8").startswith("✓ roc_auc has gone from")
    assert git(project.path, "status", "--porcelain") == ""


def test_what_cannot_be_compared(project: Generated) -> None:
    """Another commit that does not run is no fault of this one; no run here is."""
    model = project.package / "model.py"
    good = model.read_text("utf-8")
    model.write_text(f"raise RuntimeError\n{good}", encoding="utf-8")
    commit(project.path, "Broken")
    project.make("run").failed("RuntimeError")
    project.make("compare", "BASE=HEAD~1").failed("failed: `make run`")
    model.write_text(good, encoding="utf-8")
    commit(project.path, "Mended")
    project.make("run").succeeded()
    told = project.make("compare", "BASE=HEAD~1").succeeded()
    assert "artifacts/base.log says why" in told.err
    assert "RuntimeError" in (project.path / "artifacts/base.log").read_text("utf-8")
    assert "nothing to compare with" in (project.path / PAGE).read_text("utf-8")
    told = project.make("compare", "BASE=HEAD", "PIPELINE=nope")
    told.failed("there is no pipeline 'nope': PIPELINE is one of")


@pytest.mark.engine
def test_its_page(project: Generated) -> None:
    """The commands of docs/ci.md run as they stand there."""
    engine.require()
    done = subprocess.run(
        ["bash", "-euxc", commands(project.path / "docs/ci.md")],
        cwd=project.path,
        env=machine(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "roc_auc has not fallen" in done.stdout
    assert "unchanged" in done.stdout or "present" in done.stdout


def test_what_is_worse(project: Generated) -> None:
    """A loss is a share of what was; of an error, more is worse."""
    code = """
from tools.against import Change, judge
assert abs(Change("roc_auc", 0.8, 0.6).loss - 0.25) < 1e-9
assert Change("roc_auc", 0.8, 0.9).loss == 0
assert abs(Change("log_loss", 0.1, 0.2).loss - 1) < 1e-9
assert Change("log_loss", 0.2, 0.1).loss == 0
assert Change("new", None, 0.1).loss == Change("gone", 0.1, None).loss == 0
gone = judge([Change("roc_auc", 0.8, None)], "roc_auc", "main", 0.01, "")
assert not gone.good and "the run has none" in gone.sentence
assert judge([Change("roc_auc", None, 0.8)], "roc_auc", "main", 0.01, "").good
assert judge([], "", "main", 0.01, "").good
"""
    project.python(code).succeeded()


def test_a_project_in_a_subfolder(project: Generated, tmp_path: Path) -> None:
    """The other commit's project is in the same subfolder of its checkout."""
    git(tmp_path, "clone", "--quiet", str(project.path), "mono/ml")
    shutil.rmtree(tmp_path / "mono/ml/.git")
    git(tmp_path / "mono", "init", "--quiet")
    commit(tmp_path / "mono")
    code = """
from tools import base
print(base.checkout(base.resolve("HEAD")))
print(len(base.images(base.resolve("HEAD"))))
"""
    done = subprocess.run(
        [str(project.path / ".venv/bin/python"), "-c", code],
        cwd=tmp_path / "mono/ml",
        env={
            **machine(),
            "PYTHONPATH": f"{tmp_path / 'mono/ml'}{os.pathsep}{tmp_path / 'mono/ml/src'}",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    folder, images = done.stdout.split()
    assert folder == str(tmp_path / "mono/ml/artifacts/base/ml")
    assert int(images) == len(list(project.path.glob("steps/*/component.py"))) + 1


def test_stale_golden_pipelines(project: Generated) -> None:
    """What differs is shown, and nothing is written."""
    project.make("golden", "CHECK=1").succeeded()
    project.edit("pipelines/training.py", '"worth-registering"', '"worth-it"')
    told = project.make("golden", "CHECK=1").failed("training", "`make golden` accepts")
    assert "+          name: worth-it" in told.out
    assert git(project.path, "status", "--porcelain").split() == ["M", "pipelines/training.py"]
    project.make("golden").succeeded()
    project.make("golden", "CHECK=1").succeeded()
