"""`make step`: a step of the team's own is like the others, and nothing else changes."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import Project, Questions, Template, commit, git
from projects import Done, Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie

pytestmark = [
    pytest.mark.project,
    pytest.mark.parametrize("name", [flavour("laptop")]),
]
FOLDER = "steps/clean_text"
WHOLE = r"(?s)\A.+\Z"
FILES = {"Dockerfile", "apt.txt", "component.py", "pyproject.toml", "settings.py"}


@pytest.fixture
def project(name: str, template: Template, copie_session: Copie) -> Iterator[Generated]:
    with restored(life(name, template, copie_session).project) as project:
        yield project


def status(project: Generated) -> set[str]:
    return set(git(project.path, "status", "--porcelain", "-uall").splitlines())


def answers(project: Generated, old: str, new: str) -> None:
    """Edit the answers file by hand, and commit that."""
    text, edits = re.subn(old, lambda _: new, (project.path / ".copier-answers.yml").read_text())
    assert edits == 1
    (project.path / ".copier-answers.yml").write_text(text)
    commit(project.path)


def refused(project: Generated, *words: str, step: str = "clean_text", **more: str) -> Done:
    """Expect a sentence, and not a file to change."""
    before = status(project)
    done = project.make("step", f"NAME={step}", **more).failed(*words)
    assert status(project) == before
    assert git(project.path, "worktree", "list").count("\n") == 1
    return done


def sh_lines(page: str) -> list[str]:
    """List the commands of a page."""
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return "".join(blocks).splitlines()


def wire(project: Generated, said: str) -> None:
    """Put the lines that `make step` printed where it says, and use the result to train."""
    imported, parameter, call = re.findall(r"^    (\S.*)$", said, re.MULTILINE)
    pipeline = "pipelines/training.py"
    project.edit(pipeline, "from steps.evaluate", f"{imported}\nfrom steps.evaluate")
    project.edit(pipeline, "    train_settings", f"    {parameter}\n    train_settings")
    project.edit(pipeline, "    candidate = train", f"    {call}\n    candidate = train")
    result = call.partition(" ")[0]
    project.edit(pipeline, "train(train_data=train_data", f"train(train_data={result}")


def test_like_the_others(project: Generated, draft: Template) -> None:
    """Checked, tested, compiled and run as its page says; its image has a tag; an update comes."""
    page = (project.path / "docs/steps.md").read_text()
    first, *then = (line.partition("#")[0].split()[1:] for line in sh_lines(page))
    said = project.make(*first).succeeded().out
    files = {f"?? {FOLDER}/{file}" for file in FILES | {"test_clean_text.py"}}
    assert status(project) == {" M .copier-answers.yml", " M uv.lock", *files}
    assert all(line.split()[1] in said for line in files)
    wire(project, said)
    (project.path / "config/project.yaml").open("a").write("clean_text:\n  max_rows: 100\n")
    project.make("format").succeeded()
    for verbs in then:
        project.make(*verbs).succeeded()
    assert project.states["clean-text"] == "ran"
    rows = project.last_run["steps"]["clean-text"]["artifacts"]["result"]["metadata"]["rows"]
    assert rows == 100
    tag = re.search(
        r"my-model-clean-text:(\w+)", project.last_run["lineage"]["images"]["clean_text"]
    )
    assert tag
    assert len(tag[1]) == 16

    project.make("step", "NAME=tidy").failed("not committed", ".copier-answers.yml")
    commit(project.path, "make step NAME=clean_text")
    refused(project, "steps/clean_text is there already")
    project.make("step", "NAME=tidy").succeeded()
    commit(project.path, "make step NAME=tidy")
    recorded = yaml.safe_load((project.path / ".copier-answers.yml").read_text())
    assert recorded["extra_steps"] == ["clean_text", "tidy"]

    git(project.path, "rm", "--quiet", "-r", "steps/tidy")
    project.make("setup", "golden", "check").succeeded()
    commit(project.path, "No step tidy any more")

    (dockerfile,) = (draft.path / "template/steps").rglob("Dockerfile.jinja")
    dockerfile.write_text(f"# Of the next release\n{dockerfile.read_text()}")
    commit(draft.path, tag="1000.0.0")
    answers(project, r"_src_path: .*", f"_src_path: {draft.path}")
    changed = Project(project.path).update()
    assert f" M {FOLDER}/Dockerfile" in changed
    assert not [line for line in changed if "component.py" in line or "tidy" in line]


# What cannot be a step's name, and a word of the sentence that says so.
REFUSED = {
    "": "NAME=clean_text",
    "images": "config/project.yaml",
    "serving": "model server",
    "pd": "the test that comes with a new step",
    "candidate": "pipelines/training.py",
    **dict.fromkeys(["Clean", "clean-text", "a b", "7days", "a__b", "a_", "x" * 31], "snake_case"),
}


@pytest.mark.parametrize("step", REFUSED)
def test_its_name_is_refused(project: Generated, step: str) -> None:
    """What is wrong with it is said, and what to type instead."""
    refused(project, REFUSED[step], step=step)


def test_its_name_is_refused_as_the_question_does(project: Generated, questions: Questions) -> None:
    """The verb lets no name through that the template would refuse."""
    validator = questions.all["extra_steps"]["validator"]
    candidates = sorted({*re.findall(r"[a-z]+", validator), "Clean", "a__b", "a1", "x" * 31})
    code = f"""
from runtime.errors import ProjectError
from tools.step import refuse_name
for name in {candidates}:
    try:
        refuse_name(name)
    except ProjectError:
        print(name)
"""
    says_no = set(project.python(code).succeeded().out.split())
    expected = {name for name in candidates if questions.complaint("extra_steps", [name])}
    assert {"drift", "train", "lambda", "a__b"} <= expected <= says_no
    assert says_no - expected <= {"list"}


def test_the_project_is_not_as_committed(project: Generated) -> None:
    """Uncommitted, deleted from git, or without git: said before anything is asked."""
    (project.path / "notes.txt").touch()
    project.edit("README.md", "## Words", "## Our words")
    refused(project, "not committed: README.md, notes.txt")
    git(project.path, "add", "--all")
    refused(project, "not committed: README.md, notes.txt")
    commit(project.path)
    (project.path / ".git").rename(project.path / ".git-elsewhere")
    try:
        project.make("step", "NAME=clean_text").failed("not in git")
    finally:
        (project.path / ".git-elsewhere").rename(project.path / ".git")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (WHOLE, "", "holds no answers"),
        (WHOLE, "a: [", "cannot be read"),
        (WHOLE, "\x00", "cannot be read"),
        (r"_commit: .*", "", "_commit does not say"),
        (r"_commit: .*", "_commit: --upload-pack=id", "_commit does not say"),
        (r"_commit: .*", "_commit: 0.0.7", "has no 0.0.7 any more"),
        (r"_src_path: .*", "", "_src_path does not say"),
        (r"_src_path: .*", "_src_path: ../nowhere", "is relative to where Copier was started"),
        (r"_src_path: .*", "_src_path: /nowhere", "/nowhere cannot be reached"),
        (r"_src_path: .*", "_src_path: https://nowhere.invalid/x.git", "cannot be reached"),
        (r"extra_steps: .*", "extra_steps: tidy", "extra_steps is not a list"),
    ],
)
def test_its_answers(project: Generated, old: str, new: str, word: str) -> None:
    """The answers file is broken, edited by hand, or its template is out of reach."""
    answers(project, old, new)
    refused(project, word)


def test_its_answers_are_missing_or_there_twice(project: Generated) -> None:
    file = project.path / ".copier-answers.yml"
    file.with_name(".copier-answers.old.yml").write_text(file.read_text())
    commit(project.path)
    refused(project, "there are .copier-answers.old.yml, .copier-answers.yml")
    git(project.path, "rm", "--quiet", "--cached", ".copier-answers*.yml")
    file.with_name(".copier-answers.old.yml").unlink()
    (project.path / ".gitignore").open("a").write(".copier-answers.yml\n")
    commit(project.path)
    refused(project, "git add --force .copier-answers.yml")
    file.unlink()
    refused(project, "there is no .copier-answers")


def test_the_step_was_deleted(project: Generated) -> None:
    answers(project, r"extra_steps: .*", "extra_steps: [clean_text]")
    refused(project, "has been deleted", "git log -- steps/clean_text")


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("settings.py.jinja", "X = {{ nothing_known }}\n", "Copier says"),
        ("pyproject.toml.jinja", "dependencies = [\n", "uv says: error: Failed to parse"),
    ],
)
def test_the_template_is_broken(
    project: Generated, draft: Template, file: str, content: str, word: str
) -> None:
    """Copier ends in the middle, or uv cannot lock what it wrote."""
    (folder,) = (draft.path / "template/steps").glob("*extra_step*")
    (folder / file).write_text(content)
    commit(draft.path, tag="1000.0.0")
    answers(project, r"_src_path: .*", f"_src_path: {draft.path}")
    answers(project, r"_commit: .*", "_commit: 1000.0.0")
    refused(project, "nothing was changed", word)


def test_more_than_a_step_would_change(project: Generated, draft: Template) -> None:
    (draft.path / "template/docs/all-steps.md.jinja").write_text("{{ extra_steps }}\n")
    commit(draft.path, tag="1000.0.0")
    answers(project, r"_src_path: .*", f"_src_path: {draft.path}")
    Project(project.path).update()
    commit(project.path)
    refused(project, "nothing was changed", "more than a step would have been: docs/all-steps.md")


def test_copier_cannot_be_had(project: Generated, tmp_path: Path) -> None:
    """For the first time, and without a network."""
    refused(
        project,
        "is the network there?",
        UV_CACHE_DIR=str(tmp_path / "cache"),
        UV_OFFLINE="1",
        UV_TOOL_DIR=str(tmp_path / "tools"),
    )


def test_a_template_elsewhere(project: Generated, template: Template, tmp_path: Path) -> None:
    """Of one that is not on this disk a clone is kept; a broken clone is made anew."""
    answers(project, r"_src_path: .*", f"_src_path: git+file://{template.path}")
    uv_cache = subprocess.check_output(["uv", "cache", "dir"], env=machine(), text=True).strip()
    caches = {"XDG_CACHE_HOME": str(tmp_path), "UV_CACHE_DIR": uv_cache}
    for _ in ("made", "known"):
        project.make("step", "NAME=tidy", **caches).succeeded()
        assert "?? steps/tidy/component.py" in status(project)
        git(project.path, "stash", "--quiet", "--include-untracked")
        (clone,) = tmp_path.glob("kubeflow-template/*.git")
    shutil.rmtree(clone / "objects")
    project.make("step", "NAME=tidy", **caches).succeeded()


def test_a_subfolder_and_another_answers_file(
    name: str, template: Template, tmp_path: Path
) -> None:
    """A project in a larger repository gets its step too, whatever goes on beside it."""
    project = Generated(template.render(tmp_path / "mono/ml"))
    (project.path / ".copier-answers.yml").rename(project.path / ".copier-answers.ml.yml")
    git(tmp_path / "mono", "init", "--quiet")
    project.make("setup").succeeded()
    commit(tmp_path / "mono")
    (tmp_path / "mono/notes.txt").touch()
    project.make("step", "NAME=clean_text").succeeded()
    changed = {line for line in status(project) if "steps/" not in line}
    assert changed == {" M ml/.copier-answers.ml.yml", " M ml/uv.lock", "?? notes.txt"}
    assert f"?? ml/{FOLDER}/component.py" in status(project)
    project.make("test", f"ARGS={FOLDER} tests/contracts/test_steps.py").succeeded()
