"""The hooks around an update, on projects in every state that keeps an update from being safe."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Project, Template, commit, git

HOOKS = ROOT / "hooks"


def run(hook: str, project: Path, *options: str | Path) -> tuple[int, str]:
    """Run a hook as `make update` does: return the exit code and all that it says."""
    command = [sys.executable, HOOKS / f"{hook}_update.py", project, *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=project.anchor)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith(("What next: ", "usage: ")), said
    return done.returncode, said


@pytest.fixture(scope="session")
def _origin(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return template.project(tmp_path_factory.mktemp("origin") / "project", extra_steps=["tune"])


@pytest.fixture
def project(_origin: Project, tmp_path: Path) -> Project:
    """Copy a committed project."""
    shutil.copytree(_origin.path, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture
def snapshot(project: Project, tmp_path: Path) -> Path:
    """Take a snapshot of the project."""
    assert run("before", project.path, "--snapshot", tmp_path / "snapshot.json")[0] == 0
    return tmp_path / "snapshot.json"


def test_ready(project: Project, tmp_path: Path) -> None:
    """A committed project is ready, and nothing in it changes."""
    file = tmp_path / "snapshot.json"
    code, said = run("before", project.path, "--snapshot", file)
    assert (code, len(said.splitlines())) == (0, 1)
    assert git(project.path, "status", "--porcelain", "--ignored") == ""
    files = json.loads(file.read_text())["files"]
    assert {"src/my_model/features.py", "project.mk", "steps/tune/settings.py"} <= set(files)
    assert not {"Makefile", "pyproject.toml", "steps/tune/Dockerfile"} & set(files)


def refused(project: Project, *expected: str) -> None:
    """Expect the preflight to name just these problems, a line each, and to write nothing."""
    file = project.path.parent / "refused.json"
    code, said = run("before", project.path, "--snapshot", file)
    problems = said.splitlines()[:-1]
    assert code == 1
    assert not file.exists()
    assert len(problems) == len(expected), said
    for words, problem in zip(expected, problems, strict=True):
        assert words in problem


def test_uncommitted_and_untracked(project: Project) -> None:
    """Work that is not committed could not be told from the update's; ignored files may be."""
    (project.path / ".git/info/exclude").write_text("ignored.txt\n")
    (project.path / "ignored.txt").touch()
    project.append("project.mk", "# Mine")
    (project.path / "new name.txt").touch()
    git(project.path, "mv", "README.md", "READ.md")
    refused(project, "Not committed: READ.md, README.md, project.mk, new name.txt.")


def test_detached(project: Project) -> None:
    """The update's commit would be on no branch."""
    git(project.path, "switch", "--quiet", "--detach")
    refused(project, "No branch")


def test_in_the_middle_of_a_merge(project: Project) -> None:
    """A merge that is not finished has its own conflicts."""
    git(project.path, "switch", "--quiet", "-c", "other")
    project.append("project.mk", "# Theirs")
    commit(project.path)
    git(project.path, "switch", "--quiet", "main")
    project.append("project.mk", "# Ours")
    commit(project.path)
    git(project.path, "merge", "other", check=False)
    refused(project, "A merge is not finished", "Not committed: project.mk")
    git(project.path, "merge", "--abort")
    git(project.path, "rebase", "other", check=False)
    refused(project, "A rebase is not finished", "Not committed: project.mk")


def test_no_repository(project: Project) -> None:
    """Without git there is no telling what an update changed."""
    shutil.rmtree(project.path / ".git")
    refused(project, "not in a git repository")
    git(project.path, "init", "--quiet")
    refused(project, "no commit yet")
    refused(Project(project.path / "nowhere"), "not a folder")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "is missing"),
        ("a: [", "cannot be read"),
        ("\x00", "cannot be read"),
        ("- a", "holds no answers"),
        ("", "holds no answers"),
        ("_src_path: a", "has no _commit"),
        ("_commit: 0.1.0", "has no _src_path"),
    ],
)
def test_answers(project: Project, content: str | None, expected: str) -> None:
    """The answers say where the project comes from."""
    answers = project.path / ".copier-answers.yml"
    answers.unlink() if content is None else answers.write_text(content)
    commit(project.path)
    refused(project, expected)


def test_several_problems_at_once(project: Project) -> None:
    """All problems are named, so that they can be mended in one go."""
    git(project.path, "switch", "--quiet", "--detach")
    git(project.path, "rm", "--quiet", ".copier-answers.yml")
    refused(project, "No branch", "Not committed", "is missing")


def test_nothing_lost(project: Project, snapshot: Path) -> None:
    """An update may change managed and shared files, and bring new ones."""
    project.append("Makefile", "# New")
    project.append("README.md", "New")
    (project.path / "tools/new.py").touch()
    code, said = run("after", project.path, "--snapshot", snapshot)
    assert (code, len(said.splitlines())) == (0, 1)


def lost(project: Project, snapshot: Path, *expected: str) -> None:
    """Expect the loss check to name just these problems, a line each."""
    code, said = run("after", project.path, "--snapshot", snapshot)
    problems = said.splitlines()[:-1]
    assert code == 1
    assert len(problems) == len(expected), said
    for words, problem in zip(expected, problems, strict=True):
        assert words in problem


def test_owned_files_are_changed_or_removed(project: Project, snapshot: Path) -> None:
    """An owned file is byte-equal; so is one that the template knows nothing of."""
    project.append("pipelines/training.py", "# Changed")
    (project.path / "steps/tune/settings.py").unlink()
    lost(
        project,
        snapshot,
        "pipelines/training.py is yours and was changed",
        "steps/tune/settings.py is yours and was removed",
    )


def test_deleted_files_come_back(project: Project, tmp_path: Path) -> None:
    """What the team deleted stays deleted; what a new step needs is new."""
    deleted = ["config/project.yaml", "steps/train/settings.py"]
    content = [project.read(path) for path in deleted]
    git(project.path, "rm", "--quiet", *deleted)
    commit(project.path)
    snapshot = tmp_path / "snapshot.json"
    assert run("before", project.path, "--snapshot", snapshot)[0] == 0
    for path, text in zip(deleted, content, strict=True):
        (project.path / path).write_text(text)
    answers = project.path / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace("- tune", "- tune\n- tidy"))
    shutil.copytree(project.path / "steps/tune", project.path / "steps/tidy")
    (project.path / "steps/tidy/test_tune.py").rename(project.path / "steps/tidy/test_tidy.py")
    lost(project, snapshot, "deleted config/project.yaml, steps/train/settings.py, and")


def test_conflicts_and_rejects(project: Project, snapshot: Path) -> None:
    """Copier ends well with conflicts: they are found in the index, in files and beside them."""
    conflict = "<<<<<<< before updating\na\n=======\nb\n>>>>>>> after updating\n"
    (project.path / "README.md").write_text(conflict)
    (project.path / "Makefile").write_text(conflict)
    (project.path / "pyproject.toml.rej").touch()
    with (project.path / ".git/info/exclude").open("a") as file:
        file.write("*.rej\n")
    lost(
        project,
        snapshot,
        "Makefile has a conflict: it is the platform's: keep the new side, and change",
        "README.md has a conflict: edit it",
        "pyproject.toml.rej holds changes that did not apply",
    )


def test_snapshot_is_missing_or_broken(project: Project, tmp_path: Path) -> None:
    """A mistake in the call is one sentence too."""
    lost(project, tmp_path / "none.json", "No such file")
    (tmp_path / "broken.json").write_text("{")
    lost(project, tmp_path / "broken.json", "is not what the update wrote")
    (tmp_path / "broken.json").write_text("[]")
    lost(project, tmp_path / "broken.json", "is not what the update wrote")


def test_around_a_real_update(draft: Template, tmp_path: Path) -> None:
    """Copier's own conflict, in a file that a team should not have edited, is found."""
    project = draft.project(tmp_path / "project")
    project.append("Makefile", "# Ours")
    commit(project.path)
    snapshot = tmp_path / "snapshot.json"
    assert run("before", project.path, "--snapshot", snapshot)[0] == 0
    (makefile,) = (draft.path / "template").glob("Makefile*")
    with makefile.open("a") as file:
        file.write("# Theirs\n")
    commit(draft.path, tag="1000.0.0")
    project.update()
    assert git(project.path, "ls-files", "--unmerged")
    lost(project, snapshot, "Makefile has a conflict")
