"""The life of a generated project, for every flavour: set up, checked, tested, run, run again."""

import filecmp
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Template, commit, git
from projects import FLAVOURS, Generated, Life, life, restored
from pytest_copie.plugin import Copie

from scripts.render import answers, names

pytestmark = pytest.mark.project
STEPS = ["ingest", "validate", "train", "evaluate", "register"]


@pytest.fixture(params=FLAVOURS)
def lived(request: pytest.FixtureRequest, template: Template, copie_session: Copie) -> Life:
    """Give each flavour, made and run."""
    return life(request.param, template, copie_session)


@pytest.fixture
def project(lived: Life) -> Iterator[Generated]:
    """Give the project of each flavour, and restore it."""
    with restored(lived.project) as project:
        yield project


def cached(*steps: str) -> dict[str, str]:
    """Return the states of a run in which these steps were cached and the others ran."""
    return {step: "cached" if step in steps else "ran" for step in STEPS}


def test_first_try(lived: Life) -> None:
    """`make setup check test run` succeeds on the files as they were generated."""
    first = lived.first.succeeded()
    assert first.err == ""
    assert " passed" in first.out
    last = first.out.splitlines()[-1]
    assert last.startswith("→ ")
    assert "registered" in last


def test_second_run_repeats_nothing(project: Generated) -> None:
    """A second run takes all steps from the cache, shows the same metrics and leaves no trace."""
    project.make("run").succeeded()
    metrics = project.last_run["metrics"]
    assert metrics
    done = project.make("run").succeeded()
    assert project.states == cached(*STEPS)
    assert list(project.last_run["metrics"].items()) == list(metrics.items())
    assert "already registered" in done.out.splitlines()[-1]
    assert git(project.path, "status", "--porcelain") == ""


def test_an_edit_runs_what_imports_it_and_what_follows(project: Generated) -> None:
    """The steps before the edited one come from the cache; so does all once it is taken back."""
    model = project.package / "model.py"
    text = model.read_text("utf-8")
    model.write_text(f"{text}\n# An edit.\n", encoding="utf-8")
    project.make("run").succeeded()
    assert project.states == cached("ingest", "validate")
    project.make("run").succeeded()
    assert project.states == cached(*STEPS)
    model.write_text(text, encoding="utf-8")
    project.make("run").succeeded()
    assert project.states == cached(*STEPS)


def test_a_setting_runs_its_step_and_what_follows(project: Generated) -> None:
    """A value of a step's section is that step's; a comment is nobody's."""
    config = project.path / "config/project.yaml"
    head, train, tail = config.read_text("utf-8").partition("\ntrain:\n")
    config.write_text(f"{head}{train}  # A comment.\n{tail}", encoding="utf-8")
    project.make("run").succeeded()
    assert project.states == cached(*STEPS) | {"register": project.states["register"]}
    tail = tail.replace("seed: 7", "seed: 8", 1)
    config.write_text(f"{head}{train}{tail}", encoding="utf-8")
    project.make("run").succeeded()
    assert project.states == cached("ingest", "validate")


def test_a_new_commit_trains_nothing_again(project: Generated) -> None:
    """Only `register` is told of the commit, and it keeps the record of a model it knows."""
    project.make("run").succeeded()
    records = {path: path.read_bytes() for path in project.path.glob("artifacts/models/*/*.json")}
    assert records
    commit(project.path, "Nothing")
    done = project.make("run").succeeded()
    assert project.states == cached(*STEPS) | {"register": project.states["register"]}
    assert "already registered" in done.out.splitlines()[-1]
    assert {path: path.read_bytes() for path in records} == records
    assert set(project.path.glob("artifacts/models/*/*.json")) == set(records)


def test_the_record_says_where_the_model_comes_from(project: Generated) -> None:
    """Commit, lock file, images and settings of the run are in its record and in the model's."""
    project.make("run").succeeded()
    record = project.last_run
    assert record["state"] == "succeeded"
    assert record["lineage"]["git_commit"] == git(project.path, "rev-parse", "HEAD").strip()
    assert record["lineage"]["git_dirty"] is False
    assert set(record["lineage"]["images"]) == set(STEPS)
    for step in record["steps"].values():
        for artifact in step["artifacts"].values():
            assert os.path.exists(artifact["uri"]), artifact  # noqa: PTH110 # may be a URI


def test_clean_starts_afresh(project: Generated) -> None:
    """`make clean` removes the runs, and what is registered stays."""
    registered = set(project.path.glob("artifacts/models/*/record.json"))
    project.make("clean").succeeded()
    assert git(project.path, "status", "--porcelain") == ""
    done = project.make("run").succeeded()
    assert project.states == cached()
    assert "already registered" in done.out.splitlines()[-1]
    assert set(project.path.glob("artifacts/models/*/record.json")) == registered


def test_help_names_the_verbs(project: Generated) -> None:
    """`make` alone shows what there is."""
    said = re.sub(r"\x1b\[\d*m", "", project.make().succeeded().out)
    for verb in ("setup", "run", "test", "check", "clean"):
        assert re.search(rf"^  {verb} +[A-Z]", said, re.MULTILINE), verb


@pytest.mark.parametrize("flavour", names())
def test_trust_changes_nothing(
    flavour: str, template: Template, copie: Copie, tmp_path: Path
) -> None:
    """pytest-copie trusts the template; without trust the same files are generated."""
    trusted = copie.copy(answers(flavour), template_dir=template.path).project_dir
    assert trusted is not None
    untrusted = template.render(tmp_path / "untrusted", **answers(flavour))
    names = sorted(p.relative_to(trusted) for p in trusted.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(untrusted) for p in untrusted.rglob("*") if p.is_file())
    _, different, missing = filecmp.cmpfiles(trusted, untrusted, names, shallow=False)
    assert not different
    assert not missing
