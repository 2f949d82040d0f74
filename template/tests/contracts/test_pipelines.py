"""Every pipeline compiles to what is kept in git, and can be given what it asks for."""

from pathlib import Path

import pytest

from tools import golden, graph, run
from tools.definition import load
from tools.progress import Progress
from tools.project import project


@pytest.mark.parametrize("pipeline", project().pipelines)
def test_compiles_to_what_is_kept_in_git(pipeline: str) -> None:
    path = golden.path(pipeline)
    assert path.exists(), f"{path} is missing: run `make golden` and commit it"
    assert golden.compiled(pipeline) == path.read_text(), (
        f"the pipeline {pipeline} compiles differently: run `make golden` and read the difference"
    )


@pytest.mark.parametrize("pipeline", project().pipelines)
def test_asks_for_nothing_that_nobody_knows(pipeline: str) -> None:
    environment = project().environment("local")
    definition = load(pipeline, environment)
    known = {**run.facts(pipeline, "local", environment), "lineage": ""}
    assert run.select(definition, known).keys() <= known.keys()


@pytest.mark.parametrize("pipeline", project().pipelines)
def test_it_is_known_which_step_waits_for_which(pipeline: str, tmp_path: Path) -> None:
    definition = load(pipeline, project().environment("local"))
    steps = Progress(definition.pipeline_spec, tmp_path).steps
    assert steps
    place = graph.layers({step.name: step.after for step in steps})
    for step in steps:
        assert all(place[other] < place[step.name] for other in step.after)
