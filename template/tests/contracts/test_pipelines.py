"""Every pipeline compiles to what is kept in git, and can be given what it asks for."""

import pytest

from tools import golden, run
from tools.project import project


@pytest.mark.parametrize("pipeline", golden.names())
def test_compiles_to_what_is_kept_in_git(pipeline: str) -> None:
    path = golden.path(pipeline)
    assert path.exists(), f"{path} is missing: run `make golden` and commit it"
    assert golden.compiled(pipeline) == path.read_text(), (
        f"the pipeline {pipeline} compiles differently: run `make golden` and read the difference"
    )


@pytest.mark.parametrize("pipeline", golden.names())
def test_asks_for_nothing_that_nobody_knows(pipeline: str) -> None:
    environment = project().environment("local")
    definition = run.load(pipeline, environment)
    known = {**run.facts(pipeline, environment), "lineage": ""}
    assert run.select(definition, known).keys() <= known.keys()
