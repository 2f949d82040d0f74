"""MLflow: every run with its parameters, metrics, model and record; `make mlflow` opens it.

Runs go to a SQLite file below artifacts/, or to the server that MLFLOW_TRACKING_URI names.
"""

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.records import RunRecord
from tools import screen, study
from tools.project import ROOT, project

# MLflow cuts a parameter's value off beyond this.
LONGEST_VALUE = 6000


def store() -> str:
    """Where runs are tracked: a URI that MLflow understands."""
    folder = ROOT / project().environment("local").artifact_root
    folder.mkdir(parents=True, exist_ok=True)
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}/mlflow.db"


def quiet_mlflow() -> Any:
    """MLflow on this project's store, quiet: nothing is sent to its makers either."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # The migrations of a new database, one line each.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow

    mlflow.set_tracking_uri(store())
    return mlflow


def log(record: RunRecord) -> None:
    """Log a run. A tracking server that does not answer costs the run nothing but a line."""
    mlflow = quiet_mlflow()
    try:
        mlflow.set_experiment(experiment_id=_experiment(mlflow))
        with mlflow.start_run(run_name=record.run_id):
            mlflow.set_tags(tags(record))
            mlflow.log_params(parameters(record))
            mlflow.log_metrics(record.metrics)
            mlflow.log_dict(record.model_dump(mode="json"), "run.json")
            for step in record.steps.values():
                for artifact in step.artifacts.values():
                    if artifact.type == "system.Model" and Path(artifact.uri).is_dir():
                        mlflow.log_artifacts(artifact.uri, "model")
            if record.state != "succeeded":
                mlflow.end_run("KILLED" if record.state == "interrupted" else "FAILED")
    except mlflow.exceptions.MlflowException as error:
        reason = str(error).splitlines()[0]
        screen.console.print(f"MLflow at {mlflow.get_tracking_uri()} did not take it: {reason}")


def records() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The id of each run of this project that is tracked, the oldest first, and what reads it."""
    mlflow = quiet_mlflow()

    def read(uri: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = mlflow.artifacts.load_dict(uri)
        except mlflow.exceptions.MlflowException as error:
            raise OSError(str(error).splitlines()[0]) from None
        return content

    tracked = mlflow.search_runs(
        [_experiment(mlflow)], order_by=["start_time ASC"], output_format="list"
    )
    for run in tracked:
        yield run.info.run_name, partial(read, f"{run.info.artifact_uri}/run.json")


def tags(record: RunRecord) -> dict[str, str]:
    """What a run is found by."""
    found = {
        "pipeline": record.pipeline,
        "runner": record.runner,
        "environment": record.environment,
        "data_version": record.data_version,
        "champion": record.champion,
        "mlflow.source.git.commit": record.lineage.git_commit or "",
        "git_dirty": str(record.lineage.git_dirty),
        "lock_sha256": record.lineage.lock_sha256,
    }
    return {name: value for name, value in found.items() if value}


def parameters(record: RunRecord) -> dict[str, str]:
    """The settings of each step, as `step.key`; what a search found in place of what was set."""
    searches = study.searches(record.steps)
    found = {step: searches[step].found for step in searches}
    return {
        f"{step}.{key}": str(value)[:LONGEST_VALUE]
        for step, settings in record.lineage.settings.items()
        for key, value in {**settings, **found.get(step, {})}.items()
    }


def _experiment(mlflow: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", project().name)
    known = mlflow.get_experiment_by_name(name)
    if known:
        return str(known.experiment_id)
    local = mlflow.get_tracking_uri().startswith("sqlite:")
    folder = ROOT / project().environment("local").artifact_root / "mlflow"
    return str(mlflow.create_experiment(name, artifact_location=folder.as_uri() if local else None))


def serve(
    port: Annotated[int, typer.Option(envvar="PORT", help="Where it listens.")] = 5000,
) -> None:
    """Open MLflow's pages on this machine until Ctrl-C."""
    screen.what_next(f"http://127.0.0.1:{port} shows the runs in {store()}; Ctrl-C ends it.")
    command = ["mlflow", "server", "--backend-store-uri", store(), "--host", "127.0.0.1"]
    try:
        subprocess.run([*command, "--port", str(port)], cwd=ROOT, check=False)
    except KeyboardInterrupt:
        screen.what_next("MLflow has ended.")


if __name__ == "__main__":
    screen.start(serve)
