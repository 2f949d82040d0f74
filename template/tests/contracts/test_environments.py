"""What config/environments/ says is what the compiled pipelines ask the cluster for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp.compiler import Compiler

from tools.definition import load
from tools.imports import steps_of
from tools.project import project

BOTH = [(env, name) for env in project().environments for name in project().pipelines]


@pytest.mark.parametrize("env", project().environments)
def test_it_can_be_read(env: str) -> None:
    environment = project().environment(env)
    assert environment.model_store, f"config/environments/{env}.yaml: model_store is empty"


@pytest.mark.parametrize(("env", "pipeline"), BOTH)
def test_each_step_asks_for_what_its_environment_says(
    env: str, pipeline: str, tmp_path: Path
) -> None:
    environment = project().environment(env)
    compiled = tmp_path / "compiled.yaml"
    Compiler().compile(load(pipeline, environment), str(compiled))
    executors = next(yaml.safe_load_all(compiled.read_text()))["deploymentSpec"]["executors"]
    for step in steps_of(pipeline):
        name = re.compile(rf"exec-{step.replace('_', '-')}(-\d+)?")
        asked = [e["container"] for key, e in executors.items() if name.fullmatch(key)]
        assert asked, f"{step} is in no container of {pipeline}"
        execution = environment.execution(step)
        for container in asked:
            resources: dict[str, Any] = container.get("resources", {})
            assert resources.get("resourceCpuRequest") == execution.cpu, f"{step}: cpu"
            assert resources.get("resourceMemoryLimit") == execution.memory, f"{step}: memory"
