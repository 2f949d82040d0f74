"""The parts agree: one name per step, everywhere."""

import ast
import importlib
import tomllib

import pytest

from runtime.settings import Settings
from tools import images
from tools.definition import defined
from tools.imports import steps_of
from tools.project import ROOT, project
from tools.run import SETTINGS_SUFFIX

STEPS = project().steps
FILES = ("Dockerfile", "apt.txt", "component.py", "pyproject.toml", "settings.py")


def test_no_two_images_have_one_name() -> None:
    called = [images.repository(name) for name in images.names()]
    twice = sorted({name for name in called if called.count(name) > 1})
    assert not twice, f"two images are called {', '.join(twice)}: rename the step"


@pytest.mark.parametrize("pipeline", project().pipelines)
def test_the_settings_it_takes_are_of_its_steps(pipeline: str) -> None:
    taken = {
        name.removesuffix(SETTINGS_SUFFIX)
        for name in defined(pipeline).component_spec.inputs or {}
        if name.endswith(SETTINGS_SUFFIX)
    }
    others = sorted(taken - set(steps_of(pipeline)))
    assert not others, f"{pipeline} takes settings of {', '.join(others)}, and runs no such step"


@pytest.mark.parametrize("step", STEPS)
def test_the_folder_is_complete(step: str) -> None:
    missing = [name for name in FILES if not (ROOT / "steps" / step / name).exists()]
    assert not missing, f"steps/{step} lacks {', '.join(missing)}"


@pytest.mark.parametrize("step", STEPS)
def test_the_component_has_the_name_of_its_folder(step: str) -> None:
    tree = ast.parse((ROOT / "steps" / step / "component.py").read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert step in functions, f"steps/{step}/component.py must define the function {step}"
    component = getattr(importlib.import_module(f"steps.{step}.component"), step)
    image = component.component_spec.implementation.container.image
    assert f"-{step.replace('_', '-')}:" in image, f"{step} runs in {image}"


@pytest.mark.parametrize("step", STEPS)
def test_the_package_list_has_the_name_of_its_folder(step: str) -> None:
    with (ROOT / "steps" / step / "pyproject.toml").open("rb") as file:
        name = tomllib.load(file)["project"]["name"]
    assert name == f"step-{step}"


@pytest.mark.parametrize("step", STEPS)
def test_its_settings_can_be_read(step: str) -> None:
    assert isinstance(project().settings(step), Settings)
