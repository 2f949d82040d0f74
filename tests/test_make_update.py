"""`make update` and `make update-check`: which release, said before, locked, checked and tested."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import Template, commit, git
from projects import Done, Generated, flavour, life, restored
from pytest_copie.plugin import Copie
from test_ownership import next_release

pytestmark = [
    pytest.mark.project,
    pytest.mark.parametrize("name", [flavour("laptop")]),
]
NEXT = "1000.0.0"


@pytest.fixture
def project(
    name: str, template: Template, copie_session: Copie, draft: Template
) -> Iterator[Generated]:
    """Give a project that comes from a template of which the test makes the next releases."""
    with restored(life(name, template, copie_session).project) as project:
        text = (project.path / ".copier-answers.yml").read_text()
        source = re.sub(r"_src_path: .*", f"_src_path: {draft.path}", text)
        (project.path / ".copier-answers.yml").write_text(source)
        commit(project.path, "The template has moved")
        yield project
        git(project.path, "switch", "--quiet", "--discard-changes", "main")
        for branch in git(project.path, "branch", "--list", "update-*").split():
            git(project.path, "branch", "--quiet", "-D", branch)


def undo(done: Done) -> str:
    """Return the command that takes an update back."""
    (line,) = (line for line in done.err.splitlines() if "The old state comes back by" in line)
    return line.partition(": ")[2]


def release(project: Generated) -> str:
    """Return the release that a project has."""
    answers = yaml.safe_load((project.path / ".copier-answers.yml").read_text())
    return str(answers["_commit"])


def test_an_update_and_the_way_back(project: Generated, draft: Template) -> None:
    """What is run is said first; locked, checked, tested; reverted; and done once more."""
    next_release(draft, NEXT)
    pyproject = draft.path / "template/pyproject.toml.jinja"
    # One that is locked already, as another needs it.
    more = pyproject.read_text().replace('  "rich>=14",', '  "packaging>=24",\n  "rich>=14",')
    pyproject.write_text(more)
    commit(draft.path)
    git(draft.path, "tag", "--force", NEXT)
    made_by = git(draft.path, "rev-parse", NEXT)[:12]
    head = git(project.path, "rev-parse", "HEAD")

    done = project.make("update").succeeded()
    assert f"runs hooks/update.py of release {NEXT} of {draft.path}, commit {made_by}" in done.err
    assert release(project) == NEXT
    changed = git(project.path, "diff", "--name-only", "HEAD~1").split()
    assert {"uv.lock", "pyproject.toml", "Makefile", "tools/new_in_1000.py"} <= set(changed)
    assert git(project.path, "status", "--porcelain") == ""
    report = (project.path / f"artifacts/updates/{NEXT}.md").read_text()
    assert "- `make check` succeeded\n- `make test` succeeded\n" in report
    project.make("update").succeeded()
    assert release(project) == NEXT

    # As after the pull request.
    git(project.path, "switch", "--quiet", "main")
    git(project.path, "merge", "--quiet", f"update-{NEXT}")
    git(project.path, "branch", "--quiet", "-d", f"update-{NEXT}")
    said = project.make("update", "TO=999.0.0").failed("only goes forward").err
    subprocess.run(["bash", "-c", said.partition("the update: ")[2]], cwd=project.path, check=False)
    assert release(project) == "999.0.0"
    assert git(project.path, "diff", head.strip()) == ""
    done = project.make("update", "QUICK=1").succeeded()
    assert release(project) == NEXT
    subprocess.run(["bash", "-c", undo(done)], cwd=project.path, check=True)
    assert release(project) == "999.0.0"


def test_checks_that_fail(project: Generated, draft: Template) -> None:
    """The update is there to be mended or taken back, and the exit code says so."""
    with (draft.path / "template/tools/check.py").open("a") as file:
        file.write("no python\n")
    commit(draft.path, tag=NEXT)
    done = project.make("update")
    assert done.code
    assert "- `make check` **failed**\n- `make test` succeeded" in done.out
    subprocess.run(["bash", "-c", undo(done)], cwd=project.path, check=True)
    project.make("check").succeeded()


def test_which_release(project: Generated, draft: Template) -> None:
    """The newest good one, over those between; or the one asked for; none that was withdrawn."""
    for version in (NEXT, "1001.0.0", "1002.0.0"):
        (draft.path / "template/docs/news.md").write_text(f"{version}\n")
        commit(draft.path, tag=version)
    ledger = draft.path / "releases.yaml"
    commit_of = git(draft.path, "rev-parse", "1002.0.0").strip()
    row = f'version: "1002.0.0", commit: "{commit_of}", date: "2099-01-01", yanked: "It bites."'
    ledger.write_text(f"{ledger.read_text()}- {{{row}}}\n")
    commit(draft.path, "Withdrawn")

    project.make("update", "TO=1002.0.0").failed("was withdrawn: It bites.")
    project.make("update", "TO=7.0.0").failed("no release 7.0.0; newer are: 1000.0.0, 1001.0.0")
    facts = json.loads(project.make("update-check", "JSON=1").out)
    assert facts["newer"] == [NEXT, "1001.0.0"]
    assert facts["withdrawn"] == ""
    assert facts["age_in_days"] >= 0

    said = project.make("update", "PREVIEW=1").succeeded().out
    assert "from 999.0.0 to 1001.0.0" in said
    assert release(project) == "999.0.0"
    project.make("update", f"TO={NEXT}", "QUICK=1").succeeded()
    assert (project.path / "docs/news.md").read_text() == f"{NEXT}\n"

    # A project that has it already is told so, and that there is nothing better yet.
    answers = project.path / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(f"_commit: {NEXT}", "_commit: 1002.0.0"))
    commit(project.path)
    done = project.make("update-check")
    assert done.code
    assert "1002.0.0 was withdrawn: It bites." in done.out
    assert "no newer release" in project.make("update").succeeded().out


def test_answers(project: Generated) -> None:
    """An answer is changed without a newer release."""
    project.make("update", "DATA=project_owner").failed("name=value, not as 'project_owner'")
    project.make("update", "DATA='a=b").failed("a quote is not closed")
    project.make("update", "DATA=project_owner='two words'", "QUICK=1").failed("project_owner")
    project.make("update", "DATA='project_owner=our-team'", "QUICK=1").succeeded()
    assert "Whom to ask: our-team." in (project.path / "README.md").read_text()


def test_a_check_for_updates(project: Generated) -> None:
    """Nothing newer is success; what is edited here is named, with the place where it belongs."""
    project.edit("Makefile", "# The project's verbs.", "# Our verbs.")
    project.edit("README.md", "## Words", "## Our words")
    commit(project.path)
    done = project.make("update-check").succeeded()
    assert "project.mk" in done.out
    edited = json.loads(project.make("update-check", "JSON=1").succeeded().out)["edited"]
    assert [edit["path"] for edit in edited] == ["Makefile"]
    assert "no newer release" in project.make("update").succeeded().out


def test_between_two_releases(project: Generated, draft: Template) -> None:
    """A project that was made after a release has nothing newer, and waits for the next one."""
    (draft.path / "template/docs/new.md").write_text("New\n", encoding="utf-8")
    commit(draft.path)
    later = git(draft.path, "describe", "--tags").strip()
    project.edit(".copier-answers.yml", "_commit: 999.0.0", f"_commit: {later}")
    commit(project.path)
    project.make("update-check").succeeded()
    assert "no newer release" in project.make("update").succeeded().out
    project.make("update", "DATA='project_owner=our-team'").failed(later, "wait for the next one")


def test_no_way_to_tell(project: Generated, draft: Template) -> None:
    """The template is out of reach, or the project was made by what is no release."""
    answers = project.path / ".copier-answers.yml"
    good = answers.read_text()
    for source in (".", "../nowhere"):
        answers.write_text(re.sub(r"_src_path: .*", f"_src_path: {source}", good))
        for verb in ("update", "update-check"):
            project.make(verb).failed(f"{source} is relative to where Copier was started")
    answers.write_text(re.sub(r"_src_path: .*", "_src_path: /nowhere", good))
    project.make("update").failed("/nowhere cannot be reached")
    answers.write_text(good)
    head = git(project.path, "-C", yaml.safe_load(good)["_src_path"], "rev-parse", "HEAD").strip()
    answers.write_text(good.replace("_commit: 999.0.0", "_commit: 0.0.7"))
    project.make("update").failed("has no 0.0.7 any more")
    head = git(draft.path, "rev-parse", "HEAD").strip()
    answers.write_text(good.replace("_commit: 999.0.0", f"_commit: {head}"))
    project.make("update").failed("is no release")


def test_an_update_is_proposed(project: Generated, draft: Template, tmp_path: Path) -> None:
    """With the report, or as a draft with conflicts; and nothing when nothing is newer."""
    assert "nothing to propose" in project.make("propose-update").succeeded().out
    makefile = draft.path / "template/Makefile.jinja"
    text = makefile.read_text("utf-8")
    makefile.write_text(text.replace("# The project's verbs.", "# The verbs."), encoding="utf-8")
    commit(draft.path, tag=NEXT)
    base = git(project.path, "rev-parse", "HEAD").strip()
    project.make("propose-update", "QUICK=1").succeeded()
    said = project.proposal
    assert said["name"] == f"{NEXT}\n"
    assert said["title"] == f"Update the template from 999.0.0 to {NEXT}\n"
    assert said["body.md"].startswith("# Update of the template")
    assert "draft" not in said
    assert project.unpack(base, tmp_path / "clone").count("\n") == 1
    assert (tmp_path / "clone/Makefile").read_text("utf-8").startswith("# The verbs.")

    git(project.path, "switch", "--quiet", "main")
    git(project.path, "branch", "--quiet", "-D", f"update-{NEXT}")
    project.edit("Makefile", "# The project's verbs.", "# Our verbs.")
    commit(project.path, "Ours")
    base = git(project.path, "rev-parse", "HEAD").strip()
    project.make("propose-update", "QUICK=1").succeeded()
    said = project.proposal
    assert said["title"].startswith("Conflicts in 1: update the template")
    assert "- `Makefile`" in said["body.md"].partition("# Update of the template")[0]
    assert "draft" in said
    project.unpack(base, tmp_path / "other")
    assert "<<<<<<<" in (tmp_path / "other/Makefile").read_text("utf-8")

    git(project.path, "switch", "--quiet", "main")
    git(project.path, "branch", "--quiet", "-D", f"update-{NEXT}")
    project.edit("README.md", "## Words", "## Our words")
    project.make("propose-update").failed("Not committed", "refused")
    assert not project.proposal
