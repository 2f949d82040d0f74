"""What an update rewrites in every project is held to the standard of this repository."""

import subprocess
from pathlib import Path

import pytest
from conftest import Template
from projects import flavour, life, machine
from pytest_copie.plugin import Copie

CONFIG = Path(__file__).with_name("managed-mypy.ini")
MYPY = ("uv", "run", "--no-sync", "--with", "mypy", "--with", "pandas-stubs")
STUBS = ("--with", "types-PyYAML")


@pytest.mark.project
@pytest.mark.parametrize("name", [flavour("laptop"), flavour("xgboost-regression")])
def test_python_is_typed(name: str, template: Template, copie_session: Copie) -> None:
    done = subprocess.run(
        [*MYPY, *STUBS, "mypy", "--config-file", str(CONFIG), "-p", "runtime", "-p", "tools"],
        cwd=life(name, template, copie_session).project.path,
        env=machine(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfiles_are_clean(template: Template, tmp_path: Path) -> None:
    project = template.render(tmp_path / "project", extra_steps=["clean_text"])
    files = sorted(project.rglob("Dockerfile"))
    assert {file.parent.name for file in files} >= {"clean_text", "train"}
    done = subprocess.run(
        ["hadolint", *map(str, files)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
