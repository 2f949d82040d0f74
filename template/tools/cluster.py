"""Kubeflow Pipelines on an environment's cluster: its API, and what to do when it refuses.

By KFP's generated client, not by `kfp.Client` around it: that one prints, waits without an end, and
hides what is wrong with a kubeconfig.
"""

import contextlib
import getpass
import itertools
import json
import logging
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import kfp_server_api as api
from urllib3 import exceptions as http
from urllib3.util.retry import Retry

from runtime.errors import ProjectError
from tools import screen
from tools.environment import Environment
from tools.project import ROOT, project

if TYPE_CHECKING:
    from tools.compile import Compiled

TOKEN = "KFP_TOKEN"  # noqa: S105 # the variable's name
TIMEOUT = 10
"""Seconds without an answer."""
RETRIES = 2
"""Of what may be asked twice: what only reads, and what never arrived."""
BACKOFF = 0.5
"""Seconds before the second retry; doubled before each other."""
PAGE = 100
SERVICE = "ml-pipeline:http"
BY = "started by "
"""What the description of a run begins with; the person follows."""
LONGEST = 300
"""Letters of a message from the cluster that are shown."""


class ClusterError(ProjectError):
    """What was asked of the cluster did not happen, or nobody knows whether it did."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


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
        environment.require_cluster(env)
        self.env, self.environment = env, environment
        configuration, self.at = _access(env, environment)
        configuration.retries = _Patience(
            total=RETRIES,
            backoff_factor=BACKOFF,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods={"GET"},
            raise_on_status=False,
        )
        client = api.ApiClient(configuration)
        self._pipelines = api.PipelineServiceApi(client)
        self._uploads = api.PipelineUploadServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)
        self._runs = api.RunServiceApi(client)
        self._recurring = api.RecurringRunServiceApi(client)
        self._names: dict[str, str] = {}
        self._scope = {"namespace": environment.namespace} if self._shared(client) else {}

    def _shared(self, client: Any) -> bool:
        """Whether several teams share this KFP, each in a namespace of its own."""
        health = api.HealthzServiceApi(client)
        known, _, headers = self.ask(health.healthz_service_get_healthz_with_http_info)
        if "json" not in headers.get("Content-Type", ""):
            raise ClusterError(
                f"{self.at} answers with a page, not as KFP's API does: correct `url` in "
                f"config/environments/{self.env}.yaml; or it wants a login: set {TOKEN}"
            )
        return bool(known.multi_user)

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
            description=f"{BY}{_person()}",
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

    def listed(
        self, call: Callable[..., Any], field: str, *arguments: str, **fields: str
    ) -> Iterator[Any]:
        """All of a list that comes in pages."""
        token = ""
        while True:
            answer = self.ask(call, *arguments, page_size=PAGE, page_token=token, **fields)
            yield from getattr(answer, field) or []
            token = answer.next_page_token
            if not token:
                return

    def ask(self, call: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
        """Call KFP's API.

        Raises:
            ClusterError: it cannot be reached, or said no; with the way out.
        """
        try:
            with warnings.catch_warnings():
                # A kubeconfig may say that the server's certificate is not to be verified.
                warnings.simplefilter("ignore")
                return call(*arguments, **fields, _request_timeout=(TIMEOUT, TIMEOUT))
        except api.ApiException as error:
            raise self._refused(error.status, _message(error.body)) from None
        except http.HTTPError as error:
            raise ClusterError(
                f"KFP of {self.env} cannot be reached at {self.at}: {_reason(error)}. Is it up, "
                f"and is this machine in its network? {self._look('get pods')} asks the cluster"
            ) from None

    def _refused(self, status: int, message: str) -> ClusterError:
        environment, what = self.environment, f"config/environments/{self.env}.yaml"
        said = f": {message}" if message else ""
        if status == 401 and environment.url:
            text = f"{self.at} does not know you{said}. Set {TOKEN} to a token that has not expired"
        elif status == 401:
            text = (
                f"the cluster does not know you{said}. Log in to it again: your kubeconfig's "
                f"context has expired; {self._look('get pods')} tells"
            )
        elif status == 403:
            text = (
                f"you may not do this in the namespace {environment.namespace!r} of {self.env}"
                f"{said}. Ask who runs the cluster for that right"
            )
        elif status == 404:
            text = (
                f"{self.at} has no such thing{said}. Is Kubeflow Pipelines in the namespace "
                f"{environment.namespace!r}? {self._look('get svc')} tells. {what} says where"
            )
        elif status >= 500:
            text = (
                f"KFP of {self.env} is not well: it answers {status}{said}. Try again later; "
                f"{self._look('logs deploy/ml-pipeline')} says more"
            )
        else:
            text = f"KFP of {self.env} refuses ({status}){said}"
        return ClusterError(text, status)

    def page(self, run_id: str) -> str:
        """Where a run is looked at, in KFP's pages."""
        if self.environment.url:
            return f"{self.at}/#/runs/details/{run_id}"
        forward = f"{self.kubectl} port-forward svc/ml-pipeline-ui 8081:80"
        return f"http://localhost:8081/#/runs/details/{run_id} (while `{forward}` runs)"

    def _look(self, command: str) -> str:
        return f"`{self.kubectl} {command}`"

    @property
    def kubectl(self) -> str:
        """How a person asks the cluster itself."""
        context = f" --context {self.environment.context}" if self.environment.context else ""
        return f"kubectl{context} -n {self.environment.namespace}"


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


class _Patience(Retry):
    """Says that it asks once more, so that nobody stares at a screen where nothing moves."""

    def increment(self, *arguments: Any, **keywords: Any) -> Self:
        left = super().increment(*arguments, **keywords)
        answer = keywords.get("response")
        if answer is None or answer.status >= HTTPStatus.BAD_REQUEST:
            screen.console.print("KFP does not answer as it should; asking again …", style="dim")
        return left


class _Passed(api.Configuration):
    """KFP's API as a cluster's own API server passes requests on to it.

    A kubeconfig's login sets the host to the cluster's whenever it is renewed.
    """

    def __init__(self, namespace: str) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/services/{SERVICE}/proxy"
        super().__init__()

    @property
    def host(self) -> str:
        """Where requests go to."""
        return self._server + self._path

    @host.setter
    def host(self, server: str) -> None:
        self._server = server


def _access(env: str, environment: Environment) -> tuple[Any, str]:
    """How KFP's API is reached, and what that is called."""
    if environment.url:
        configuration = api.Configuration()
        configuration.host = environment.url.rstrip("/")
        if os.environ.get(TOKEN):
            configuration.api_key["authorization"] = os.environ[TOKEN]
            configuration.api_key_prefix["authorization"] = "Bearer"
        return configuration, configuration.host
    from kubernetes import config

    configuration = _Passed(environment.namespace)
    where = f"config/environments/{env}.yaml"
    try:
        contexts, current = config.list_kube_config_contexts()
        context = environment.context or current["name"]
        known = [each["name"] for each in contexts]
        if context not in known:
            raise ProjectError(
                f"{where}: your kubeconfig has no context {context!r}; it has {', '.join(known)}"
            )
        with _errors_logged() as said:
            config.load_kube_config(client_configuration=configuration, context=context)
    except config.ConfigException as error:
        raise ProjectError(
            f"no cluster is known on this machine ({error}): log in to it, which writes a "
            f"kubeconfig; or give `url` in {where}"
        ) from None
    if said:
        raise ProjectError(f"the login of the kubeconfig's context {context!r} failed: {said[-1]}")
    return configuration, f"the cluster {context!r}"


@contextlib.contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """What is logged meanwhile: how the client of Kubernetes says that a login's program failed."""
    said: list[str] = []
    handler, root = logging.NullHandler(), logging.getLogger()
    # With a handler there, logging makes none of its own that would write on the screen.
    root.addHandler(handler)

    def keep(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    root.addFilter(keep)
    try:
        yield said
    finally:
        root.removeFilter(keep)
        root.removeHandler(handler)


def _person() -> str:
    """Who works here, as commits say it."""
    command = ["git", "config", "user.name"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or getpass.getuser()


def _named(name: str) -> str:
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})


def _message(body: str | None) -> str:
    """What an answer's body says: Kubernetes' and KFP's have a `message`, an upload's an error."""
    try:
        content = json.loads(body or "")
        text = str(content.get("message") or content.get("error_message") or "")
    except (ValueError, AttributeError):
        text = ""
    return f"{text[:LONGEST]} …" if len(text) > LONGEST else text.rstrip(".")


def _reason(error: http.HTTPError) -> str:
    """Why there was no answer."""
    cause = getattr(error, "reason", None) or error
    match cause:
        case http.NameResolutionError():
            return "its name is unknown"
        case http.NewConnectionError():
            return str(cause).rpartition("] ")[2].lower()
        case http.ConnectTimeoutError() | http.ReadTimeoutError():
            return f"no answer in {TIMEOUT} seconds"
        case http.SSLError():
            return f"its certificate is not trusted ({cause})"
        case _:
            return str(cause)
