"""Batch prediction: the same answers as the pipeline's own, in whole files, safe to repeat."""

import subprocess

import pytest
from projects import Generated, flavour, machine

pytestmark = [
    pytest.mark.project,
    pytest.mark.parametrize(
        "project", [flavour("batch-only"), flavour("xgboost-regression")], indirect=True
    ),
]
BATCH = "PIPELINE=batch_prediction"
# Run by the project's own Python: what is asked for one by one must equal what batch answered.
COMPARE = """
import glob, json
import numpy as np
import pandas as pd

folder = "artifacts/predictions"
answers = pd.concat(pd.read_parquet(path) for path in glob.glob(f"{folder}/*/*/*.parquet"))
run = max(path for path in glob.glob("artifacts/runs/*/run.json")
          if "evaluate" in json.load(open(path))["steps"])
own = pd.read_parquet(json.load(open(run))["steps"]["evaluate"]["artifacts"]["predictions"]["uri"])
same = answers.loc[own.index]
assert len(answers) > len(own) > 0 and answers.index.is_unique
if own["answer"].dtype == object:
    assert (same["answer"] == own["answer"]).all()
    columns = [name for name in own if name.startswith("probability ")]
    assert columns
else:
    columns = ["answer"]
np.testing.assert_allclose(same[columns], own[columns], rtol=1e-6)
print(answers["model"].unique().item())
"""


def test_the_same_answers_and_safe_to_repeat(project: Generated) -> None:
    """First it says that nothing is released; then each row is answered as the pipeline did."""
    if not (project.path / "artifacts/models/champion.json").exists():
        project.make("run", BATCH).failed("make release")
        assert project.states["predict"] == "failed"
    project.make("release", "ENV=local").succeeded()
    project.edit("config/project.yaml", "rows: 10000", "rows: 150")
    project.make("run", BATCH).succeeded()
    files = sorted(project.path.glob("artifacts/predictions/*/*/*"))
    contents = [file.read_bytes() for file in files]
    assert len(files) > 1
    model = subprocess.run(
        [project.path / ".venv/bin/python", "-c", COMPARE],
        cwd=project.path,
        env=machine(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert files[0].parent.name == model

    project.make("run", BATCH).succeeded()
    assert project.states == {"partition": "cached", "predict": "ran"}
    again = sorted(project.path.glob("artifacts/predictions/*/*/*"))
    assert [file.read_bytes() for file in again] == contents
