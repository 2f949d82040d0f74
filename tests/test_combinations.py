"""All combinations of answers, lightly: generated, parsed, linted, nothing of Jinja left."""

import itertools
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Questions, Template

from scripts.render import answers, names

# GitHub has ${{ … }}, an f-string may have {{{.
JINJA = re.compile(r"(?<!\$)\{\{ .*|\{%.*|\{#.*")


def combinations() -> list[Any]:
    """Combine all choices about the model, with little beside it and with all there is."""
    text = (Path(__file__).parent.parent / "questions/20-model.yml").read_text("utf-8")
    questions = yaml.safe_load(text)
    choices = {}
    for name, question in questions.items():
        given = question.get("choices", [])
        choices[name] = list(given.values()) if isinstance(given, dict) else given
    choices["extra_steps"] = [[], ["clean_text"]]
    choices["parts"] = ["few", "all"]
    combined = []
    for values in itertools.product(*choices.values()):
        answers = dict(zip(choices, values, strict=True))
        answers["with_github_actions"] = answers["with_workshop"] = answers["parts"] == "all"
        if answers.pop("parts") == "all":
            answers["cloud_targets"] = ["gcp", "aws"]
            several = ["training"] if answers["model_framework"] == "xgboost" else []
            answers["kubeflow_components"] = [
                "pipelines",
                "serving",
                *several,
                "tuning",
                "monitoring",
                "mlflow",
            ]
        else:
            answers["kubeflow_components"] = ["pipelines"]
        combined.append(pytest.param(answers, id="-".join(map(str, values))))
    return combined


@pytest.mark.parametrize("answers", combinations())
def test_combination(answers: dict[str, Any], template: Template, tmp_path: Path) -> None:
    """Every file is what its name says, and in the project's own style."""
    project = template.render(tmp_path / "project", **answers)
    for path in (path for path in project.rglob("*") if path.is_file()):
        text = path.read_text("utf-8")
        assert JINJA.findall(text) == [] or path.suffix == ".j2", path
        if path.suffix == ".py":
            compile(text, path, "exec")
        elif path.suffix in {".yaml", ".yml"}:
            list(yaml.safe_load_all(text))
        elif path.suffix == ".toml":
            tomllib.loads(text)
    ruff("check", project)
    ruff("format", project, "--check")


def ruff(verb: str, project: Path, *options: str) -> None:
    """Run ruff by the project's settings."""
    command = ["ruff", verb, "--no-cache", *options, "."]
    done = subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_choice_has_a_flavour(questions: Questions) -> None:
    """What is offered is run in full somewhere."""
    run = [questions.derive(**answers(name)) for name in names()]
    for name, question in questions.all.items():
        given = question.get("choices", [])
        for choice in given.values() if isinstance(given, dict) else given:
            chosen = [choice in values[name] for values in run if values[name]]
            assert any(chosen), f"{name}: {choice}"
