"""The way to Kubeflow Pipelines' API, and what to do when it is closed.

By KFP's generated client, not by `kfp.Client` around it: that one prints, waits without an end, and
hides what is wrong with a kubeconfig.
"""

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Self

import kfp_server_api as api
from urllib3 import exceptions as http
from urllib3.util.retry import Retry

from runtime.errors import ProjectError
from tools import screen
from tools.environment import Environment

TOKEN = "KFP_TOKEN"  # noqa: S105 # the variable's name
TIMEOUT = 10
"""Seconds without an answer."""
RETRIES = 2
"""Of what may be asked twice: what only reads, and what never arrived."""
BACKOFF = 0.5
"""Seconds before the second retry; doubled before each other."""
PAGE = 100
"""Of a list, so much at once."""
SERVICE = "ml-pipeline:http"
LONGEST = 300
"""Letters of a message from the cluster that are shown."""


class ClusterError(ProjectError):
    """What was asked of the cluster did not happen, or nobody knows whether it did."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """KFP's API of an environment."""

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
        self.client = api.ApiClient(configuration)
        health = api.HealthzServiceApi(self.client)
        with screen.console.status(f"Asking {self.at}"):
            known, _, headers = self.ask(health.healthz_service_get_healthz_with_http_info)
        if "json" not in headers.get("Content-Type", ""):
            raise ClusterError(
                f"{self.at} answers with a page, not as KFP's API does: correct `url` in "
                f"config/environments/{env}.yaml; or it wants a login: set {TOKEN}"
            )
        self.shared = bool(known.multi_user)
        """Whether several teams share this KFP, each in a namespace of its own."""

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

    def _look(self, command: str) -> str:
        return f"`{self.kubectl} {command}`"

    @property
    def kubectl(self) -> str:
        """How a person asks the cluster itself."""
        context = f" --context {self.environment.context}" if self.environment.context else ""
        return f"kubectl{context} -n {self.environment.namespace}"


class _Patience(Retry):
    """Says that it asks once more, so that nobody stares at a screen where nothing moves."""

    def increment(self, *arguments: Any, **keywords: Any) -> Self:
        left = super().increment(*arguments, **keywords)
        answer = keywords.get("response")
        if answer is None or answer.status >= HTTPStatus.BAD_REQUEST:
            screen.warn("KFP does not answer as it should: asking again")
        return left


class _Passed(api.Configuration):  # type: ignore[misc] # it comes without types
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


def _message(body: str | None) -> str:
    """What an answer's body says: most have a `message`, uploads an error or a plain text."""
    text = (body or "").strip()
    try:
        content = json.loads(text)
        text = str(content.get("message") or content.get("error_message") or "")
    except (ValueError, AttributeError):
        text = "" if text.startswith("<") else text.partition("\n")[0]
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
            return f"TLS fails ({cause})"
        case _:
            return str(cause)
