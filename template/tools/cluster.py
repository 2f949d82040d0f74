"""What is kept and run of this project on an environment's Kubeflow Pipelines."""

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kfp_server_api as api

from runtime.errors import ProjectError
from tools.commit import author
from tools.connection import ClusterError, Connection
from tools.environment import Environment
from tools.project import project

if TYPE_CHECKING:
    from tools.compile import Compiled

BY = "started by "
"""What the description of a run begins with; the person follows."""


class Recurring(NamedTuple):
    """What starts runs by itself."""

    name: str
    description: str
    cron: str
    """With the seconds first."""
    enabled: bool
    catch_up: bool


class Cluster:
    """An environment's Kubeflow Pipelines."""

    def __init__(self, env: str, environment: Environment) -> None:
        self.env, self.environment = env, environment
        self.connection = Connection(env, environment)
        self.ask, self.listed = self.connection.ask, self.connection.listed
        client = self.connection.client
        self._pipelines = api.PipelineServiceApi(client)
        self._uploads = api.PipelineUploadServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)
        self._runs = api.RunServiceApi(client)
        self._recurring = api.RecurringRunServiceApi(client)
        self._names: dict[str, str] = {}
        self._scope = {"namespace": environment.namespace} if self.connection.shared else {}

    @property
    def experiment_name(self) -> str:
        """What holds the runs of this project in this environment."""
        return f"{project().name}-{self.env}"

    def experiment(self) -> str:
        """The id of the experiment, which is made if it is not there."""
        name = self.experiment_name
        experiment = api.V2beta1Experiment(display_name=name, **self._scope)
        call = self._experiments.experiment_service_create_experiment
        known, _ = _ensure(self._known_experiment, lambda: self.ask(call, experiment))
        found: str = known.experiment_id
        return found

    def upload(self, made: "Compiled") -> tuple[Any, bool]:
        """The reference of a pipeline's version, and whether it was uploaded now.

        A version is named after its content: what is there under that name is not uploaded again.
        """
        pipeline = api.V2beta1Pipeline(display_name=made.name, name=made.name, **self._scope)
        pipelines = self._pipelines.pipeline_service_list_pipelines
        parent, _ = _ensure(
            lambda: self._first(pipelines, "pipelines", made.name),
            lambda: self.ask(self._pipelines.pipeline_service_create_pipeline, pipeline),
        )
        ours = {"name": made.version, "pipelineid": parent.pipeline_id}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{made.version}.yaml"
            file.write_text(made.text)
            version, new = _ensure(
                lambda: self._version(parent.pipeline_id, made.version),
                lambda: self.ask(self._uploads.upload_pipeline_version, str(file), **ours),
            )
        reference = api.V2beta1PipelineVersionReference(
            pipeline_id=parent.pipeline_id, pipeline_version_id=version.pipeline_version_id
        )
        return reference, new

    def start(self, name: str, reference: Any, arguments: Mapping[str, str]) -> Any:
        """Start a run; its name is given to no other of this environment."""
        experiment = self.experiment()
        run = api.V2beta1Run(
            display_name=name,
            description=f"{BY}{author()}",
            experiment_id=experiment,
            pipeline_version_reference=reference,
            runtime_config=self._runtime(arguments),
            service_account=self.environment.service_account or None,
        )
        started, _ = _ensure(
            lambda: self._run_named(name, experiment),
            lambda: self.ask(self._runs.run_service_create_run, run),
        )
        return started

    def run(self, run_id: str) -> Any:
        """A run as it now is."""
        return self.ask(self._runs.run_service_get_run, run_id)

    def find_run(self, name: str) -> Any:
        """A run of this project by its name or its id.

        Raises:
            ProjectError: there is none.
        """
        experiment = self._known_experiment()
        found = experiment and self._run_named(name, experiment.experiment_id)
        if found:
            return found
        try:
            return self.run(name)
        except ClusterError as error:
            if error.status not in (400, 404):
                raise
        raise ProjectError(
            f"there is no run {name!r} in {self.env}: `make runs ENV={self.env}` shows those "
            "that there are"
        )

    def runs(self, last: int) -> list[Any]:
        """The newest runs of this project in this environment."""
        experiment = self._known_experiment()
        if experiment is None:
            return []
        newest_first = self.listed(
            self._runs.run_service_list_runs,
            "runs",
            experiment_id=experiment.experiment_id,
            sort_by="created_at desc",
        )
        return list(itertools.islice(newest_first, last))

    def pipeline_name(self, run: Any) -> str:
        """The pipeline of a run, without the project's name in front; empty when it is gone."""
        reference = run.pipeline_version_reference
        if not reference:
            return ""
        if reference.pipeline_id not in self._names:
            call = self._pipelines.pipeline_service_get_pipeline
            try:
                name = self.ask(call, reference.pipeline_id).display_name
            except ClusterError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                name = ""
            self._names[reference.pipeline_id] = name.removeprefix(f"{project().name}-")
        return self._names[reference.pipeline_id]

    def recurring(self) -> list[Any]:
        """The recurring runs in this project's experiment, whoever made them."""
        experiment = self._known_experiment()
        if experiment is None:
            return []
        call = self._recurring.recurring_run_service_list_recurring_runs
        return list(self.listed(call, "recurring_runs", experiment_id=experiment.experiment_id))

    def schedule(self, wanted: Recurring, made: "Compiled", arguments: Mapping[str, str]) -> None:
        """Have a pipeline run by itself; its description is given to no other."""
        reference, _ = self.upload(made)
        mode = api.RecurringRunMode
        recurring = api.V2beta1RecurringRun(
            display_name=wanted.name,
            description=wanted.description,
            experiment_id=self.experiment(),
            pipeline_version_reference=reference,
            runtime_config=self._runtime(arguments),
            service_account=self.environment.service_account or None,
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=wanted.cron)),
            mode=mode.ENABLE if wanted.enabled else mode.DISABLE,
            no_catchup=not wanted.catch_up,
            max_concurrency=1,
        )
        call = self._recurring.recurring_run_service_create_recurring_run

        def known() -> Any:
            alike = (each for each in self.recurring() if each.description == wanted.description)
            return next(alike, None)

        _ensure(known, lambda: self.ask(call, recurring))

    def switch(self, recurring_run_id: str, *, on: bool) -> None:
        """Have a recurring run go on, or pause."""
        service = self._recurring
        on_call = service.recurring_run_service_enable_recurring_run
        off_call = service.recurring_run_service_disable_recurring_run
        self.ask(on_call if on else off_call, recurring_run_id)

    def unschedule(self, recurring_run_id: str) -> None:
        """Remove a recurring run; the runs that it started stay."""
        self.ask(self._recurring.recurring_run_service_delete_recurring_run, recurring_run_id)

    def spec(self, reference: Any) -> dict[str, Any]:
        """The pipeline of an uploaded version, as KFP keeps it."""
        version = self.ask(
            self._pipelines.pipeline_service_get_pipeline_version,
            reference.pipeline_id,
            reference.pipeline_version_id,
        )
        found: dict[str, Any] = version.pipeline_spec
        return found

    def stop(self, run_id: str) -> None:
        """End a run."""
        self.ask(self._runs.run_service_terminate_run, run_id)

    def _known_experiment(self) -> Any:
        return self._first(
            self._experiments.experiment_service_list_experiments,
            "experiments",
            self.experiment_name,
        )

    def _run_named(self, name: str, experiment: str) -> Any:
        call = self._runs.run_service_list_runs
        return next(self.listed(call, "runs", experiment_id=experiment, filter=_named(name)), None)

    def _version(self, pipeline_id: str, name: str) -> Any:
        call = self._pipelines.pipeline_service_list_pipeline_versions
        found = self.listed(call, "pipeline_versions", pipeline_id, filter=_named(name))
        return next(found, None)

    def _runtime(self, arguments: Mapping[str, str]) -> Any:
        return api.V2beta1RuntimeConfig(
            parameters=dict(arguments), pipeline_root=self.environment.artifact_root or None
        )

    def _first(self, call: Callable[..., Any], field: str, name: str) -> Any:
        return next(self.listed(call, field, filter=_named(name), **self._scope), None)

    def page(self, run_id: str) -> str:
        """Where a run is looked at, in KFP's pages."""
        if self.environment.url:
            return f"{self.connection.at}/#/runs/details/{run_id}"
        forward = f"{self.connection.kubectl} port-forward svc/ml-pipeline-ui 8081:80"
        return f"http://localhost:8081/#/runs/details/{run_id} (while `{forward}` runs)"


def _ensure(find: Callable[[], Any], make: Callable[[], Any]) -> tuple[Any, bool]:
    """What goes by a name, and whether it was made now, because nothing did.

    Someone else may make it in between, or the answer may be lost on its way: so when making fails,
    what counts is whether it is there. That is why nothing is ever made twice.
    """
    if found := find():
        return found, False
    try:
        return make(), True
    except ClusterError:
        if found := find():
            return found, True
        raise


def _named(name: str) -> str:
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})
