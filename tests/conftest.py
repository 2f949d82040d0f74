"""A clean clone of this repository to generate from, and projects made from it."""

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import copier
import pytest
import yaml

from scripts.repository import no_settings
from scripts.trials import offer

if TYPE_CHECKING:
    from projects import Generated
    from pytest_copie.plugin import Copie

ROOT = Path(__file__).resolve().parent.parent


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run git in a folder and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=check, capture_output=True)
    return done.stdout.decode()


def commit(folder: Path, message: str = "A change", tag: str = "") -> None:
    """Commit everything in a repository, and tag it."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", message)
    if tag:
        git(folder, "tag", tag)


@dataclass(frozen=True)
class Project:
    """A generated project under git."""

    path: Path

    def update(
        self, ref: Any = "HEAD", answers_file: str | None = None, **answers: Any
    ) -> list[str]:
        """Update it without trust, and return what changed as `git status` lists it."""
        copier.run_update(
            str(self.path),
            answers,
            answers_file=answers_file,
            vcs_ref=ref,
            defaults=True,
            overwrite=True,
            quiet=True,
            unsafe=False,
        )
        return git(self.path, "status", "--porcelain", "-uall").splitlines()

    def read(self, path: str) -> str:
        """Read one of its files."""
        return (self.path / path).read_text(encoding="utf-8")

    def append(self, path: str, line: str) -> None:
        """Edit one of its files at the end."""
        with (self.path / path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


@dataclass(frozen=True)
class Template:
    """A clean clone of this repository."""

    path: Path

    def render(self, to: Path, ref: Any = "HEAD", **answers: Any) -> Path:
        """Generate a project without trust."""
        copier.run_copy(
            str(self.path), to, answers, vcs_ref=ref, defaults=True, quiet=True, unsafe=False
        )
        return to

    def project(self, to: Path, ref: Any = "HEAD", **answers: Any) -> Project:
        """Generate a project and commit it, so that it can be updated."""
        self.render(to, ref, **answers)
        git(to, "init", "--quiet", "--initial-branch=main")
        commit(to, "Generate")
        return Project(to)


@functools.cache
def compiled(jinja: Any, text: str) -> Any:
    """Compile a template once, as it is rendered for many answers."""
    return jinja.from_string(text)


@dataclass(frozen=True)
class Questions:
    """The shipped questions, evaluated in the shipped Jinja dialect, but fast."""

    all: dict[str, dict[str, Any]]
    jinja: Any

    @property
    def answered(self) -> list[str]:
        """List the questions of which a person decides the answer; the others are derived."""
        return [name for name in self.recorded if "{%" not in str(self.all[name]["default"])]

    @property
    def recorded(self) -> list[str]:
        """List what the answers file keeps: the answers, and what is derived once."""
        return [name for name, details in self.all.items() if details.get("when") is not False]

    def derive(self, **answers: Any) -> dict[str, Any]:
        """Evaluate the derived values, with defaults for what is not answered."""
        values = dict(answers)
        for name, details in self.all.items():
            if name not in answers:
                value = details["default"]
                if isinstance(value, str):
                    value = compiled(self.jinja, value).render(values)
                    data = details["type"] == "yaml" or details.get("multiselect")
                    value = yaml.safe_load(value) if data else value
                values[name] = value
        return values

    def complaint(self, name: str, answer: Any, **others: Any) -> str:
        """Return what the question's validator says of an answer: nothing if it accepts it.

        Those to the other questions are the defaults, save what is given here.
        """
        answers = {**self.derive(**others), name: answer}
        rendered: str = compiled(self.jinja, self.all[name]["validator"]).render(answers)
        return rendered.strip()


def pytest_configure(config: pytest.Config) -> None:
    """Copier warns that its scratch copies have no answers of a previous release."""
    config.addinivalue_line("filterwarnings", "ignore::copier.errors.MissingFileWarning")


@pytest.fixture(scope="session", autouse=True)
def _quiet_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's settings of git and Copier out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if re.match("GIT_", name)]:
            patch.delenv(name)
        for name, value in no_settings(tmp_path_factory.mktemp("settings")).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, _quiet_surroundings: None) -> Template:
    """Clone this repository, what is not committed yet included: read it, do not change it."""
    return Template(offer(tmp_path_factory.mktemp("template") / "clone"))


@pytest.fixture
def draft(template: Template, tmp_path: Path) -> Template:
    """Clone the clone, for tests that make the next release."""
    git(tmp_path, "clone", "--quiet", str(template.path), "draft")
    return Template(tmp_path / "draft")


@pytest.fixture(scope="session")
def default_project(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate a project from the defaults alone: read it, do not change it."""
    return template.render(tmp_path_factory.mktemp("default") / "project")


@pytest.fixture(scope="session")
def questions(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Questions:
    """Load the questions as Copier does."""
    worker = copier.run_copy(
        str(template.path),
        tmp_path_factory.mktemp("questions"),
        vcs_ref="HEAD",
        defaults=True,
        pretend=True,
        quiet=True,
    )
    return Questions(worker.template.questions_data, worker.jinja_env)


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: "Copie"
) -> Iterator["Generated"]:
    """Give the project of the flavour that is the parameter, and restore it."""
    from projects import life, restored

    with restored(life(request.param, template, copie_session).project) as made:
        yield made
