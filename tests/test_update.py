"""`hooks/update.py`, as `make update` runs it: nothing is lost, whatever the project is like."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Project, Template, commit, git
from test_ownership import next_release

SCRIPT = ROOT / "hooks" / "update.py"
NEXT = "1000.0.0"
BRANCH = f"update-{NEXT}"


@pytest.fixture(scope="session")
def releases(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Clone the template, and release a next one that changes every file: do not change it."""
    folder = tmp_path_factory.mktemp("releases") / "template"
    git(folder.parent, "clone", "--quiet", str(template.path), str(folder))
    next_release(Template(folder), NEXT, owned_file="config/late.yaml")
    return Template(folder)


@pytest.fixture(scope="session")
def _origin(
    template: Template, releases: Template, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    project = template.project(tmp_path_factory.mktemp("origin") / "project", extra_steps=["tune"])
    answers = project.path / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(str(template.path), str(releases.path)))
    commit(project.path)
    return project.path


@pytest.fixture
def project(_origin: Path, tmp_path: Path) -> Project:
    """Copy a committed project of the release before the next."""
    shutil.copytree(_origin, tmp_path / "project")
    return Project(tmp_path / "project")


@dataclass(frozen=True)
class Done:
    """What an update did."""

    code: int
    out: str
    err: str

    @property
    def undo(self) -> str:
        """Return the one command that takes the update back."""
        (line,) = (line for line in self.err.splitlines() if "The old state comes back by" in line)
        return line.partition(": ")[2]

    @property
    def kinds(self) -> dict[str, str]:
        """Return what became of each file."""
        return {found["path"]: found["kind"] for found in json.loads(self.out)["findings"]}

    @property
    def mended(self) -> set[str]:
        """Return the files of which Copier had lost something."""
        return {found["path"] for found in json.loads(self.out)["findings"] if not found["right"]}


def update(
    project: Project,
    releases: Template,
    *options: str,
    through: Sequence[str] = (),
    **environment: str,
) -> Done:
    """Update as `make update QUICK=1` does."""
    command: list[str | Path] = [*through, sys.executable, SCRIPT, project.path]
    command += ["--to", NEXT, "--repository", releases.path, "--no-lock", "--no-checks"]
    done = subprocess.run(
        [*command, *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=project.path.anchor,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def state(project: Project) -> tuple[str, str, str]:
    """Return branch, commit and changes: the state that an update may not change."""
    shown = git(project.path, "status", "--porcelain", "--ignored")
    assert git(project.path, "worktree", "list").count("\n") == 1
    return git(project.path, "branch"), git(project.path, "rev-parse", "HEAD"), shown


def team(project: Project) -> dict[str, str]:
    """Do a team's work, and return its own files."""
    project.append("src/my_model/features.py", "# Ours")
    project.append("README.md", "Ours")
    project.append("Makefile", "# Ours")
    (project.path / "src/my_model/images.py").write_text("# A file of the team\n")
    git(project.path, "rm", "--quiet", "-r", "config/project.yaml", ".editorconfig", "steps/ingest")
    commit(project.path, "The team's work")
    mine = ("src/my_model/features.py", "src/my_model/images.py", "steps/tune/component.py")
    return {path: project.read(path) for path in mine}


def test_an_update(project: Project, releases: Template) -> None:
    """On a branch, committed; every file is what it has to be; one command takes it back."""
    mine = team(project)
    before = state(project)
    done = update(project, releases)
    assert done.code == 0, done.err
    assert git(project.path, "branch", "--show-current").strip() == BRANCH
    assert git(project.path, "status", "--porcelain") == ""
    assert git(project.path, "rev-parse", "HEAD~1") == before[1]
    assert {path: project.read(path) for path in mine} == mine
    for path in ("config/project.yaml", ".editorconfig", "steps/ingest/Dockerfile"):
        assert not (project.path / path).exists()
    for path in ("Makefile", "README.md"):
        assert project.read(path).startswith(f"# Since {NEXT}\n")
        assert "Ours" in project.read(path)
    assert project.read("config/late.yaml") == f"# Since {NEXT}\n# An owned file\n"
    report = (project.path / f"artifacts/updates/{NEXT}.md").read_text()
    for words in (
        "`Makefile`, managed; better changed in `project.mk`",
        "`config/late.yaml`, owned",
    ):
        assert words in report
    again = update(project, releases)
    assert (again.code, f"branch {BRANCH} already" in again.err) == (1, True)

    subprocess.run(["bash", "-c", done.undo], cwd=project.path, check=True)
    shutil.rmtree(project.path / "artifacts")
    assert state(project) == before


def test_a_conflict(project: Project, releases: Template) -> None:
    """It is there to be resolved, on the branch; the exit code says so; one command undoes it."""
    (project.path / "Makefile").write_text(f"# Ours\n{project.read('Makefile')}")
    commit(project.path)
    before = state(project)
    done = update(project, releases)
    assert done.code == 1
    assert "1 file in conflict" in done.out
    assert git(project.path, "branch", "--show-current").strip() == BRANCH
    unmerged = git(project.path, "diff", "--name-only", "--diff-filter=U").split()
    assert unmerged == ["Makefile"]
    assert git(project.path, "show", ":2:Makefile").startswith("# Ours\n")
    assert git(project.path, "show", ":3:Makefile").startswith(f"# Since {NEXT}\n")
    assert project.read("tools/run.py").startswith(f"# Since {NEXT}\n")
    subprocess.run(["bash", "-c", done.undo], cwd=project.path, check=True)
    assert state(project) == before


def test_a_preview(project: Project, releases: Template) -> None:
    """It says what would be done, and nothing changes."""
    team(project)
    (project.path / "Makefile").write_text(f"# Ours\n{project.read('Makefile')}")
    commit(project.path)
    before = state(project)
    done = update(project, releases, "--preview", "--json")
    assert done.code == 1
    assert state(project) == before
    expected = {
        "Makefile": "conflict",
        "README.md": "merged",
        ".editorconfig": "deleted",
        "config/project.yaml": "deleted",
        "steps/ingest/Dockerfile": "deleted",
        "steps/ingest/component.py": "deleted",
        "src/my_model/features.py": "example",
        "src/my_model/images.py": "same",
        "config/late.yaml": "arrived",
        "tools/new_in_1000.py": "arrived",
        "tools/run.py": "changed",
    }
    assert {path: done.kinds[path] for path in expected} == expected
    assert not done.mended


def test_what_copier_loses(project: Project, draft: Template) -> None:
    """Bytes, blanks, files without lines, edits of a file that the release drops: all put right."""
    edits = {
        "README.md": b"caf\xe9\n",
        ".gitignore": b"# \x00\n",
        "tools/golden.py": b"# A blank at the end \n",
        "docs/files.md": b"Ours\n",
    }
    for path, line in edits.items():
        with (project.path / path).open("ab") as file:
            file.write(line)
    git(project.path, "config", "apply.whitespace", "fix")
    commit(project.path)
    for path in ("README.md.jinja", "tools/golden.py"):
        template = draft.path / "template" / path
        template.write_text(f"# New\n{template.read_text()}")
    (draft.path / "template/docs/files.md.jinja").unlink()
    commit(draft.path, tag=NEXT)
    source(project, draft)
    done = update(project, draft, "--json")
    assert done.code == 0, done.err
    assert done.mended == set(edits)
    assert done.kinds["docs/files.md"] == "retired"
    for path, line in edits.items():
        content = (project.path / path).read_bytes()
        assert content.endswith(line), path
        assert content.startswith(b"# New\n") == (path in ("README.md", "tools/golden.py"))


def test_what_cannot_be_merged(project: Project, draft: Template) -> None:
    """Both sides have changed a file that is not text: a conflict, with the team's in place."""
    # git looks for it in the first 8000 bytes.
    content = b"# \x00\n" + project.read("Makefile").encode()
    (project.path / "Makefile").write_bytes(content)
    commit(project.path)
    file = draft.path / "template/Makefile.jinja"
    file.write_text(f"# New\n{file.read_text()}")
    commit(draft.path, tag=NEXT)
    source(project, draft)
    done = update(project, draft, "--json")
    assert (done.code, done.kinds["Makefile"]) == (1, "conflict")
    assert (project.path / "Makefile").read_bytes() == content
    assert git(project.path, "show", ":3:Makefile").startswith("# New\n")


def source(project: Project, draft: Template) -> None:
    """Have a project come from another clone of the template."""
    answers = project.path / ".copier-answers.yml"
    lines = answers.read_text().splitlines()
    lines = [f"_src_path: {draft.path}" if line[:4] == "_src" else line for line in lines]
    answers.write_text("\n".join(lines) + "\n")
    commit(project.path, "The template has moved")


def refused(project: Project, releases: Template, *words: str, **more: Any) -> None:
    """Expect these sentences, a line each, and the project as it was."""
    before = state(project) if (project.path / ".git").exists() else None
    done = update(project, releases, *more.pop("options", ()), **more)
    problems = [line for line in done.err.splitlines() if line.startswith("✗")]
    assert done.code == 1
    assert len(problems) == len(words), done.err
    for word, problem in zip(words, problems, strict=True):
        assert word in problem
    assert "Nothing was changed." in done.err
    assert before is None or state(project) == before


def test_uncommitted_and_untracked(project: Project, releases: Template) -> None:
    """Work that is not committed could not be told from the update's; ignored files may be."""
    (project.path / ".git/info/exclude").write_text("ignored.txt\n")
    (project.path / "ignored.txt").touch()
    project.append("project.mk", "# Mine")
    (project.path / "new name.txt").touch()
    git(project.path, "mv", "README.md", "READ.md")
    words = "Not committed: READ.md, README.md, project.mk, new name.txt."
    refused(project, releases, words)


def test_no_branch(project: Project, releases: Template) -> None:
    """The way back would have no name."""
    git(project.path, "switch", "--quiet", "--detach")
    refused(project, releases, "No branch")


def test_in_the_middle_of_a_merge(project: Project, releases: Template) -> None:
    """A merge that is not finished has its own conflicts."""
    git(project.path, "switch", "--quiet", "-c", "other")
    project.append("project.mk", "# Theirs")
    commit(project.path)
    git(project.path, "switch", "--quiet", "main")
    project.append("project.mk", "# Ours")
    commit(project.path)
    git(project.path, "merge", "other", check=False)
    refused(project, releases, "A merge is not finished", "Not committed: project.mk")
    git(project.path, "merge", "--abort")
    git(project.path, "rebase", "other", check=False)
    refused(project, releases, "A rebase is not finished", "Not committed: project.mk")


def test_no_repository(project: Project, releases: Template) -> None:
    """Without git there is no telling what an update changed."""
    shutil.rmtree(project.path / ".git")
    refused(project, releases, "not in a git repository")
    git(project.path, "init", "--quiet")
    done = update(project, releases)
    assert (done.code, "no commit yet" in done.err) == (1, True)
    refused(Project(project.path / "nowhere"), releases, "not a folder")


def test_git_does_not_know_who_it_is(project: Project, releases: Template, tmp_path: Path) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tuseConfigOnly = true\n")
    refused(project, releases, "who you are", GIT_CONFIG_GLOBAL=str(config))


def test_git_is_told_not_to_look(project: Project, releases: Template) -> None:
    """What git does not see, it cannot give back."""
    git(project.path, "update-index", "--assume-unchanged", "README.md")
    git(project.path, "update-index", "--skip-worktree", "Makefile")
    project.append("README.md", "Ours")
    refused(project, releases, "not to look at Makefile, README.md")


def test_a_name_that_is_no_text(project: Project, releases: Template) -> None:
    """Copier fails on it half-way."""
    (project.path / os.fsdecode("Größe.md".encode("latin-1"))).touch()
    commit(project.path)
    refused(project, releases, r"Gr\udcf6\udcdfe.md. Rename")


def test_something_is_in_the_way(project: Project, releases: Template) -> None:
    """A file that git ignores cannot be brought back, so it is not overwritten."""
    (project.path / ".git/info/exclude").write_text("late.yaml\n")
    late = project.path / "config/late.yaml"
    late.write_text("Ours\n")
    done = update(project, releases, "--json")
    assert (done.code, done.kinds["config/late.yaml"]) == (0, "blocked")
    assert late.read_text() == "Ours\n"


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
def test_answers(project: Project, releases: Template, content: str | None, expected: str) -> None:
    """The answers say where the project comes from."""
    answers = project.path / ".copier-answers.yml"
    answers.unlink() if content is None else answers.write_text(content)
    commit(project.path)
    refused(project, releases, expected)


def test_answers_change_only_when_told(project: Project, draft: Template) -> None:
    """A new question is named; an answer that is not accepted, or not asked for, is refused."""
    questions = draft.path / "questions" / "30-platform.yml"
    question = "\nwith_ducks:\n  type: bool\n  default: false\n  help: Any ducks?\n"
    questions.write_text(questions.read_text() + question)
    models = draft.path / "questions" / "20-model.yml"
    models.write_text(models.read_text().replace("    - scikit-learn\n", ""))
    (draft.path / "template/ducks.md.jinja").write_text("{{ with_ducks }}\n")
    commit(draft.path, tag=NEXT)
    source(project, draft)
    refused(project, draft, "'duck' is not in", options=("--data=model_framework=duck",))
    refused(project, draft, "Invalid choice for 'model_framework': 'scikit-learn'")
    framework = "--data=model_framework=xgboost"
    refused(
        project, draft, "does not ask for with_geese", options=(framework, "--data=with_geese=1")
    )
    done = update(project, draft, framework, "--preview")
    assert "- `with_ducks`: `False`. Any ducks?" in done.out
    done = update(project, draft, framework, "--data=with_ducks=yes")
    assert done.code == 0, done.err
    assert project.read("ducks.md") == "True\n"
    assert "with_ducks: true" in project.read(".copier-answers.yml")
    assert "model_framework: xgboost" in project.read(".copier-answers.yml")


def test_the_release_was_edited_by_hand(project: Project, releases: Template) -> None:
    """The project would be taken for one that has undone all that its release brought."""
    answers = project.path / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace("_commit: 999.0.0", f"_commit: {NEXT}"))
    commit(project.path)
    done = update(project, releases, "--preview")
    assert f"are not those of {NEXT}.** If `_commit` was" in done.out
    answers.write_text(answers.read_text().replace(f"_commit: {NEXT}", "_commit: 999.0.0"))
    commit(project.path)
    assert "are not those of" not in update(project, releases, "--preview").out


def test_a_subfolder_and_another_answers_file(
    releases: Template, template: Template, tmp_path: Path
) -> None:
    """A project in a larger repository is updated, conflict and all, and its neighbours are not."""
    template.render(tmp_path / "mono/ml")
    project = Project(tmp_path / "mono/ml")
    (project.path / ".copier-answers.yml").rename(project.path / ".copier-answers.ml.yml")
    git(tmp_path / "mono", "init", "--quiet", "--initial-branch=main")
    (tmp_path / "mono/Makefile").write_text("# A neighbour\n")
    commit(tmp_path / "mono")
    text = project.read(".copier-answers.ml.yml")
    text = text.replace(str(template.path), str(releases.path))
    (project.path / ".copier-answers.ml.yml").write_text(text)
    commit(tmp_path / "mono")
    before = state(project)
    done = update(project, releases, "--answers-file=.copier-answers.ml.yml")
    assert done.code == 0, done.err
    changed = git(project.path, "diff", "--name-only", "HEAD~1").split()
    assert changed
    assert all(path.startswith("ml/") for path in changed)
    assert project.read("Makefile").startswith(f"# Since {NEXT}\n")
    assert project.read("config/late.yaml")

    subprocess.run(["bash", "-c", done.undo], cwd=project.path, check=True)
    (project.path / "Makefile").write_text(f"# Ours\n{project.read('Makefile')}")
    commit(tmp_path / "mono")
    done = update(project, releases, "--answers-file=.copier-answers.ml.yml")
    assert done.code == 1
    unmerged = git(project.path, "diff", "--name-only", "--diff-filter=U").split()
    assert unmerged == ["ml/Makefile"]
    assert git(project.path, "show", ":3:./Makefile").startswith(f"# Since {NEXT}\n")
    subprocess.run(["bash", "-c", done.undo], cwd=project.path, check=True)
    assert git(project.path, "branch") == before[0]


@pytest.fixture
def killer(tmp_path: Path) -> Path:
    """Make a git that kills the update, once it calls what the variable KILL says."""
    shim = tmp_path / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(f"""#!/bin/bash
if [[ "$KILL_WHEN" && "$* " = *"$KILL_AT "* && "$(ps -o args= -p $PPID)" = *hooks/update.py* ]]
then
  [[ $KILL_WHEN = after ]] && {shutil.which("git")} "$@"
  kill -KILL $PPID
  sleep 60
fi
exec {shutil.which("git")} "$@"
""")
    shim.chmod(0o755)
    return shim.parent


@pytest.mark.parametrize(
    ("when", "stage"),
    [
        ("after", "worktree add"),
        ("before", "write-tree"),
        ("before", "ls-tree"),
        ("before", "commit"),
        ("after", "commit"),
        ("before", "switch"),
        ("after", "switch"),
        ("before", "worktree remove"),
    ],
)
def test_killed(project: Project, releases: Template, killer: Path, stage: str, when: str) -> None:
    """At any stage: the old state is there or one command away, and the next try succeeds."""
    mine = team(project)
    head, branches = (git(project.path, *line.split()) for line in ("rev-parse HEAD", "branch"))
    path = f"{killer}:{os.environ['PATH']}"
    done = update(project, releases, PATH=path, KILL_WHEN=when, KILL_AT=stage)
    assert done.code == -signal.SIGKILL, done.err

    if (project.path / ".git/template-update").exists():
        again = update(project, releases)
        assert "stopped in the middle" in again.err
        undo = again.err.partition("then try again: ")[2].splitlines()[0]
        subprocess.run(["bash", "-c", undo], cwd=project.path, check=True)
    if git(project.path, "branch", "--show-current").strip() == "main":
        assert git(project.path, "rev-parse", "HEAD") == head
        assert git(project.path, "branch") == branches
        assert update(project, releases).code == 0
    # Whether it is the first try that got so far, or the second.
    assert git(project.path, "branch", "--show-current").strip() == BRANCH
    assert git(project.path, "rev-parse", "HEAD~1") == head
    assert git(project.path, "status", "--porcelain") == ""
    assert {path: project.read(path) for path in mine} == mine


def test_killed_between_two_files(project: Project, releases: Template, tmp_path: Path) -> None:
    """Git itself dies while it brings the files: the command that is shown takes them back."""
    team(project)
    kill = tmp_path / "kill"
    kill.write_text(f"""#!/bin/bash
[[ $PWD = {project.path} ]] && kill -KILL $(ps -o ppid= -p $PPID)
cat
""")
    kill.chmod(0o755)
    git(project.path, "config", "filter.kill.smudge", f"{kill}; true")
    (project.path / ".git/info/attributes").write_text("Makefile filter=kill\n")
    before = state(project)
    done = update(project, releases)
    assert done.code == 1
    assert (project.path / ".git/index.lock").exists()
    assert git(project.path, "status", "--porcelain")
    git(project.path, "config", "--unset", "filter.kill.smudge")
    subprocess.run(["bash", "-c", done.undo], cwd=project.path, check=True)
    assert state(project) == before


def test_no_room(project: Project, releases: Template) -> None:
    """Nothing more can be written, as when the disk is full."""
    before = state(project)
    done = update(project, releases, through=("bash", "-c", 'ulimit -f 16; "$@"', "bash"))
    assert done.code == 1
    assert "Nothing was changed." in done.err
    assert state(project) == before
