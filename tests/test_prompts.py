"""The questions as a person meets them: `copier copy` in a terminal."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
import yaml
from conftest import Template

ENTER = "\r"
DOWN = "\x1b[B"
CTRL_C = "\x03"

Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def start(template: Template, tmp_path: Path) -> Iterator[Start]:
    """Give a function that runs `copier copy` of the template to tmp_path / "project"."""
    started: list[pexpect.spawn[str]] = []

    def run(*options: str) -> "pexpect.spawn[str]":
        arguments = ["-m", "copier", "copy", "--vcs-ref=HEAD", *options]
        child = pexpect.spawn(
            sys.executable,
            [*arguments, str(template.path), str(tmp_path / "project")],
            # The second keeps the prompts from asking the terminal where the cursor is.
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            dimensions=(40, 200),
            encoding="utf-8",
            timeout=30,
        )
        started.append(child)
        return child

    yield run
    for child in started:
        child.close(force=True)


def answers(project: Path) -> dict[str, object]:
    """Read what the project remembers."""
    read: dict[str, object] = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    return {name: value for name, value in read.items() if not name.startswith("_")}


def replace(child: "pexpect.spawn[str]", text: str) -> None:
    """Type over the default that stands at a prompt."""
    child.send("\x05\x15")  # to the end of the line, delete to its start
    child.send(text + ENTER)


def test_all_questions(start: Start, tmp_path: Path) -> None:
    """Each question is asked once, in order; a bad answer gets advice and another try."""
    child = start()
    child.expect("What is the project called")
    replace(child, "???")
    child.expect("Type a name with at least one letter")
    replace(child, "Duck counter")
    child.expect("What does the model do")
    replace(child, "Counts ducks.")
    child.expect("Which GitHub organisation or user")
    replace(child, "my pond")
    child.expect("Type the organisation or user as in its GitHub address")
    replace(child, "my-pond")
    child.expect("What kind of prediction")
    child.send(DOWN + ENTER)
    child.expect("Which library")
    child.send(DOWN + ENTER)
    child.expect("Which clouds")
    child.send(DOWN + " " + ENTER)
    child.expect("Which components")
    child.send(DOWN + " " + ENTER)
    child.expect("on GitHub")
    child.send("n")
    child.expect("to learn")
    child.send("n")
    child.expect("cd .*project")
    child.expect("make setup run")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert answers(tmp_path / "project") == {
        "project_name": "Duck counter",
        "project_description": "Counts ducks.",
        "project_owner": "my-pond",
        "model_task": "regression",
        "model_framework": "xgboost",
        "extra_steps": [],
        "cloud_targets": ["aws"],
        "kubeflow_components": ["pipelines"],
        "with_github_actions": False,
        "with_workshop": False,
        "package_name": "duck_counter",
    }
    assert (tmp_path / "project/src/duck_counter").is_dir()


def test_enter_is_always_right(start: Start, tmp_path: Path) -> None:
    """The defaults that stand at the prompts are those of --defaults."""
    child = start()
    for question in (
        "called",
        "one sentence",
        "owns",
        "kind of prediction",
        "library",
        "clouds",
        "components",
        "asked",
        "run the model server",
        "on GitHub",
        "to learn",
    ):
        child.expect(question)
        child.send(ENTER)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    asked = answers(tmp_path / "project")

    (tmp_path / "project").rename(tmp_path / "asked")
    child = start("--defaults")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert answers(tmp_path / "project") == asked


def test_an_answer_that_another_one_rules_out(start: Start, tmp_path: Path) -> None:
    """What does not go together is not accepted, and can be mended at once."""
    child = start()
    for question in ("called", "one sentence", "owns", "kind of prediction", "library", "clouds"):
        child.expect(question)
        child.send(ENTER)
    child.expect("Which components")
    child.send(DOWN + DOWN + " " + ENTER)
    # The reason is not drawn here: for it the terminal would have to say where the cursor is.
    child.send(" " + ENTER)
    for question in ("asked", "run the model server", "on GitHub", "to learn"):
        child.expect(question)
        child.send(ENTER)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    given = answers(tmp_path / "project")
    assert given["kubeflow_components"] == ["pipelines", "serving"]
    assert given["serving_styles"] == ["online", "batch"]


def test_stopping_leaves_nothing(start: Start, tmp_path: Path) -> None:
    """Ctrl-C in the middle writes nothing and is no success."""
    child = start()
    child.expect("What is the project called")
    child.send(ENTER)
    child.expect("What does the model do")
    child.send(CTRL_C)
    child.expect("stopped by user")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert not (tmp_path / "project").exists()
    assert "Traceback" not in str(child.before)
