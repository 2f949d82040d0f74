"""The next release does what none has done yet: it retires, adds to each class, asks, bumps."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import Template, commit, git
from packaging.specifiers import SpecifierSet

from scripts.edits import (
    APART,
    CLASHING,
    CLOUDS,
    WORKING,
    Change,
    Edit,
    Work,
    appended,
    replaced,
    written,
)
from scripts.trials import HIGH, Group, Trials, groups, tree

pytestmark = pytest.mark.updates

NEXT = "1000.0.0"
TABLE = "questions/90-files.yml"
# One that the team has edited, and one that it has not.
RETIRED = ("docs/your-own-data.md", "tools/graph.py")
DATE = "2026-11-21"


def change(template: Path, file: str, old: str, new: str) -> None:
    """Change a text in a file that must be there."""
    text = (template / file).read_text("utf-8")
    assert old in text, f"{old!r} is not in {file}"
    (template / file).write_text(text.replace(old, new, 1), encoding="utf-8")


def source(template: Path, path: str) -> str:
    """Find the file that a file of a project is made from."""
    plain = f"template/{path}"
    return plain if (template / plain).exists() else f"{plain}.jinja"


@pytest.fixture(scope="module")
def trials(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """Make the next release in a clone."""
    folder = tmp_path_factory.mktemp("next")
    git(folder, "clone", "--quiet", str(template.path), "template")
    release(folder / "template")
    return Trials(folder / "template", folder, NEXT)


def release(template: Path) -> None:
    """Release something of every kind."""
    for path in RETIRED:
        (template / source(template, path)).unlink()
        change(template, TABLE, "_exclude:\n", f"_exclude:\n  - /{path}\n")
    rows = ""
    for owner, path in (("shared", "CODEOWNERS"), ("owned", "config/later.yaml")):
        rows += f"    - {{class: {owner}, path: /{path}, since: [1000, 0, 0]}}\n"
        (template / "template" / path).write_text("# New\n")
    change(template, TABLE, "  default:\n", f"  default:\n{rows}")
    change(template, TABLE, "_exists:\n", "_exists:\n  - /config/later.yaml\n")
    (template / "template/runtime/later.py").write_text("X = 1\n")

    question = "later:\n  type: str\n  default: yes of course\n  help: Later?\n"
    (template / "questions/50-later.yml").write_text(question)
    included = "!include questions/80-derived.yml"
    change(template, "copier.yml", included, f"!include questions/50-later.yml\n---\n{included}")
    change(template, "questions/20-model.yml", "default: scikit-learn", "default: xgboost")
    pyproject = source(template, "pyproject.toml")
    change(template, pyproject, "kfp>=2.17,<2.18", "kfp>=2.18,<2.19")
    change(template, pyproject, DATE, "2027-03-01")
    commit(template, "The next release", tag=NEXT)


NAMES = (WORKING, APART, CLASHING, CLOUDS, "mode_switched", "clouds_left", "clouds_chosen")
GROUPS = [group for name, group in groups(HIGH).items() if name in NAMES]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_the_corpus(trials: Trials, group: Group) -> None:
    """What is retired stays, edited or not; what is new arrives; a moved bound is in the way."""
    trial = trials.trial(group)
    assert not trial.problems, "\n".join(trial.problems)
    clashes = {name for name, outcome in trial.outcomes.items() if outcome != "kept"}
    assert clashes == ({"bound_removed"} if group.name == CLASHING else set())


def theirs(do: Callable[[Work], None], worst: str = "kept") -> Group:
    """Have a team do something that is not in the corpus."""
    edit = Edit("theirs", "", do, "theirs", worst, "", {}, {}, SpecifierSet())
    return Group(HIGH, "theirs", (edit,), {}, {})


def test_what_arrives(trials: Trials) -> None:
    """What is added arrives, what is retired stays, and a new default is for new projects."""
    begun = trials.begin(theirs(lambda work: work.delete("conftest.py")))
    project = begun.work.project
    assert not trials.update(begun.work, {})
    added = {"CODEOWNERS", "config/later.yaml", "runtime/later.py"}
    assert tree(project).keys() - begun.before.keys() == added
    assert not begun.before.keys() - tree(project).keys()
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    assert (answers["later"], answers["model_framework"]) == ("yes of course", "scikit-learn")
    assert DATE not in (project / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "does", "outcome"),
    [
        # In one list, but not in neighbouring lines.
        ("pyproject.toml", replaced('"pandas<3"', '"pandas<2.4"'), "kept"),
        ("pyproject.toml", replaced("kfp>=2.17,<2.18", "kfp>=2.17.1,<2.18"), "conflict"),
        ("pyproject.toml", replaced('  "kfp>=2.17,<2.18",\n', ""), "conflict"),
        # Both did the same.
        (
            "pyproject.toml",
            lambda old: old.replace(b'"kfp>=2.17,<2.18"', b'"kfp>=2.18,<2.19"'),
            "kept",
        ),
        # Their own file, where the release puts one that both edit.
        ("CODEOWNERS", written("* @ours\n"), "conflict"),
        ("CODEOWNERS", written("# New\n"), "kept"),
    ],
)
def test_a_change_beside_an_edit(trials: Trials, path: str, does: Change, outcome: str) -> None:
    trial = trials.trial(theirs(lambda work: work.blend(path, does), "conflict"))
    assert not trial.problems, "\n".join(trial.problems)
    assert trial.outcomes == {"theirs": outcome}


def test_a_file_of_the_teams_own_where_an_owned_one_comes(trials: Trials) -> None:
    trial = trials.trial(theirs(lambda work: work.write("config/later.yaml")))
    assert not trial.problems, "\n".join(trial.problems)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        # What was deleted comes back; an owned file that is late is written over; one goes.
        (TABLE, 'row.class == "owned" and', 'row.class == "none" and'),
        (TABLE, "  - /config/later.yaml\n", ""),
        (TABLE, "  - /tools/graph.py\n", ""),
    ],
)
def test_a_release_that_loses_work_is_found_out(
    trials: Trials, tmp_path: Path, file: str, old: str, new: str
) -> None:
    """A trial says so: that it found nothing above means something."""
    git(tmp_path, "clone", "--quiet", str(trials.template), "template")
    change(tmp_path / "template", file, old, new)
    commit(tmp_path / "template", tag="1001.0.0")

    def work(work: Work) -> None:
        work.edit("config/project.yaml", appended("# Ours\n"))
        work.delete("conftest.py")
        work.write("config/later.yaml")
        work.blend("tools/graph.py", appended("# Ours\n"))

    trial = Trials(tmp_path / "template", tmp_path, "1001.0.0").trial(theirs(work))
    assert trial.problems
