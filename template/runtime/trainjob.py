"""A TrainJob of Kubeflow Trainer: nodes as pods, each given what the pod of this step was given."""

import base64
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, NoReturn

from runtime.errors import ProjectError
from runtime.node import LINES_KEPT, PEER_LOST, failure, how_it_ended

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
# Comes with Trainer: it tells XGBoost's nodes where they meet.
RUNTIME = "xgboost-distributed"
# What Trainer calls the job of all nodes, and the container of each.
CONTAINER = "node"
JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
NODES_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"
RANK_LABEL = "batch.kubernetes.io/job-completion-index"
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# Of a step's environment, what is about its own pod, and what Trainer sets.
OWN = ("ARGO_", "KFP_", "DMLC_")
# What the pod of a node has as that of the step has it.
LIKE = (
    "affinity",
    "imagePullSecrets",
    "nodeSelector",
    "securityContext",
    "serviceAccountName",
    "tolerations",
)
# Of a step's volumes, what config/environments/ adds; the others are KFP's and Argo's.
CLAIMS = ("persistentVolumeClaim", "secret")
SCRATCH = "scratch-"
SIDECAR = "sidecar.istio.io/inject"
EVICTION = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""Whether an autoscaler may empty a node of a pod that works there."""
# KFP's own store: where it is, and which Secret has its keys.
STORE = "http://minio-service.kubeflow:9000"
STORE_SECRET = "mlpipeline-minio-artifact"  # noqa: S105
STORE_KEYS = {"AWS_ACCESS_KEY_ID": "accesskey", "AWS_SECRET_ACCESS_KEY": "secretkey"}
DRIVERS = {"s3": "runtime[s3]", "gs": "runtime[gcs]"}
# Why a container that waits will not start by itself.
STUCK = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
}
CAUSES = {"OOMKilled": "ran out of memory: raise `memory` of the step in config/environments/"}
POLL = 2.0
"""Seconds between two looks at the job."""
PATIENCE = 60
"""Seconds for which the cluster's API may be away, or Trainer idle."""
GRACE = 15
"""Seconds in which a lost node is found, and which remain before the step's own timeout."""
TIMEOUT = "the nodes are not done in time: raise `timeout` of the step in config/environments/"

Object = dict[str, Any]


def run(cluster: "Cluster", command: Sequence[str], nodes: int, name: str) -> None:
    """Run a command on every node until all have succeeded; nothing of the job is left.

    Raises:
        ProjectError: the job cannot be made, or a node fails.
    """
    job = manifest(cluster.pod, command, nodes, name, cluster.store, cluster.seconds_left())
    cluster.create(job)
    name = job["metadata"]["name"]
    print(f"TrainJob {name}: {nodes} nodes", flush=True)
    try:
        _Watch(cluster, name, nodes).wait()
    finally:
        cluster.delete(name)


def manifest(
    pod: Object,
    command: Sequence[str],
    nodes: int,
    name: str,
    store: Sequence[Object] = (),
    seconds: int | None = None,
) -> Object:
    """The TrainJob that runs a command on nodes like `pod`: its image, environment and machines.

    It belongs to the pod, so that the one does not outlive the other, and is named after it.
    """
    meta, spec = pod["metadata"], pod["spec"]
    main = next((c for c in spec["containers"] if c["name"] == "main"), spec["containers"][0])
    env = {
        each["name"]: each
        for each in [*main.get("env", []), *store]
        # What refers to a container does so by a name that a node's has not.
        if not each["name"].startswith(OWN) and "resourceFieldRef" not in each.get("valueFrom", {})
    }
    volumes = [
        each
        for each in spec.get("volumes", [])
        if each["name"].startswith(SCRATCH) or any(kind in each for kind in CLAIMS)
    ]
    names = {each["name"] for each in volumes}
    container = {
        "name": CONTAINER,
        "securityContext": main.get("securityContext"),
        "volumeMounts": [each for each in main.get("volumeMounts", []) if each["name"] in names],
    }
    like = {key: spec.get(key) for key in LIKE}
    like |= {"containers": [_given(container)], "volumes": volumes}
    about = {
        kind: {SIDECAR: meta[kind][SIDECAR]}
        for kind in ("annotations", "labels")
        if SIDECAR in meta.get(kind, {})
    }
    about["annotations"] = {**about.get("annotations", {}), EVICTION: "false"}
    template = _given({"metadata": about, "spec": _given(like)})
    patch = {"replicatedJobs": [{"name": CONTAINER, "template": {"spec": {"template": template}}}]}
    resources = {key: main.get("resources", {}).get(key) for key in ("limits", "requests")}
    trainer = {
        "image": main["image"],
        "command": list(command),
        "numNodes": nodes,
        "env": list(env.values()),
        "resourcesPerNode": _given(resources),
    }
    job = {
        "runtimeRef": {"name": RUNTIME},
        "activeDeadlineSeconds": seconds,
        "trainer": _given(trainer),
        "runtimePatches": [
            {"manager": f"{name}/step", "trainingRuntimeSpec": {"template": {"spec": patch}}}
        ],
    }
    owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": f"{name}-{meta['uid'][:8]}",
            "namespace": meta["namespace"],
            "ownerReferences": [owner],
        },
        "spec": _given(job),
    }


def own_store() -> list[Object]:
    """What the environment of a pod has to say for it to reach KFP's own store."""
    keys = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": STORE_SECRET, "key": key}}}
        for variable, key in STORE_KEYS.items()
    ]
    return [{"name": "AWS_ENDPOINT_URL", "value": STORE}, *keys]


def _given(values: Object) -> Object:
    """What is not empty: an empty value may mean something else than none."""
    return {key: value for key, value in values.items() if value not in (None, [], {})}


class Cluster:
    """The cluster as the pod of this step sees it."""

    def __init__(self) -> None:
        from kubernetes import client, config

        config.load_incluster_config()
        self._core, self._jobs = client.CoreV1Api(), client.CustomObjectsApi()
        self._here = {"namespace": NAMESPACE.read_text().strip()}
        self._kind = {**self._here, "group": GROUP, "version": VERSION, "plural": PLURAL}
        self.store: list[Object] = []
        """What the environment of a node has to say besides, to reach KFP's own store."""
        self.pod: Object = {}
        """The pod of this step."""
        name = os.environ.get("KFP_POD_NAME") or os.environ["HOSTNAME"]
        self.pod = self._read("get pods", self._core.read_namespaced_pod, name=name)

    def reachable(self, uri: str) -> str:
        """The URI by which every node reaches what KFP calls `uri`.

        Raises:
            ProjectError: the step has no package for this kind of URI.
        """
        if uri.startswith("minio://"):
            uri = f"s3://{uri.removeprefix('minio://')}"
            if "AWS_ENDPOINT_URL" not in os.environ:
                self._use_own_store()
        import fsspec

        try:
            fsspec.core.url_to_fs(uri)
        except ImportError:
            driver = DRIVERS.get(uri.partition("://")[0], "the fsspec package for it")
            raise ProjectError(
                f"{uri!r} needs a driver: add {driver!r} to pyproject.toml of this step, then "
                "`make setup`"
            ) from None
        return uri

    def seconds_left(self) -> int | None:
        """Until the step's own timeout, less some to say so; None where it has none."""
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is None:
            return None
        started = datetime.fromisoformat(self.pod["status"]["startTime"])
        return max(int(limit - (datetime.now(UTC) - started).total_seconds()) - GRACE, 1)

    def create(self, job: Object) -> None:
        """Make a TrainJob; its name is this pod's own, so one that is there is this one."""
        create = self._jobs.create_namespaced_custom_object
        self._ask("create trainjobs", create, {**self._kind, "body": job}, fine=409)

    def job(self, name: str) -> Object:
        """A TrainJob as it is now."""
        get = self._jobs.get_namespaced_custom_object
        found: Object = self._ask("get trainjobs", get, {**self._kind, "name": name})
        return found

    def delete(self, name: str) -> None:
        """Delete a TrainJob, and with it its pods."""
        delete = self._jobs.delete_namespaced_custom_object
        try:
            self._ask("delete trainjobs", delete, {**self._kind, "name": name}, fine=404)
        except ProjectError as error:
            # What has happened before is what counts.
            print(f"TrainJob {name} is left over: {error}", flush=True)

    def nodes(self, job: str) -> list[Object]:
        """The pods of a TrainJob's nodes."""
        which = f"{JOB_LABEL}={job},{NODES_LABEL}={CONTAINER}"
        found = self._read("list pods", self._core.list_namespaced_pod, label_selector=which)
        pods: list[Object] = found["items"]
        return pods

    def log(self, pod: str, *, previous: bool) -> list[str]:
        """The last lines that a node said, before its container was started again if `previous`."""
        from kubernetes.client import ApiException

        with contextlib.suppress(ApiException):
            answer = self._core.read_namespaced_pod_log(
                pod,
                container=CONTAINER,
                previous=previous,
                tail_lines=LINES_KEPT,
                _preload_content=False,
                **self._here,
            )
            text: str = answer.data.decode(errors="replace")
            return text.splitlines()
        return []

    def follow(self, pod: str, since: int | None) -> Iterator[str]:
        """What a node says, while it says it, from some seconds ago on."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        with contextlib.suppress(ApiException, HTTPError):
            answer = self._core.read_namespaced_pod_log(
                pod,
                container=CONTAINER,
                follow=True,
                _preload_content=False,
                **self._here,
                **({"since_seconds": since} if since else {}),
            )
            for line in answer:
                yield line.decode(errors="replace")

    def _use_own_store(self) -> None:
        get = self._core.read_namespaced_secret
        keys = self._read("get secrets", get, name=STORE_SECRET)["data"]
        self.store = own_store()
        os.environ["AWS_ENDPOINT_URL"] = STORE
        for variable, key in STORE_KEYS.items():
            os.environ[variable] = base64.b64decode(keys[key]).decode()

    def _read(self, doing: str, call: Callable[..., Any], **options: Any) -> Any:
        answer = self._ask(doing, call, {**self._here, **options, "_preload_content": False})
        return json.loads(answer.data)

    def _ask(self, doing: str, call: Callable[..., Any], options: Object, *, fine: int = 0) -> Any:
        """Ask the API, again and again while it is away."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        end = time.monotonic() + PATIENCE
        while True:
            try:
                return call(**options, _request_timeout=30)
            except (ApiException, HTTPError) as error:
                status = getattr(error, "status", None) or 503
                if status == fine:
                    return None
                if status < 500 and status != 429:
                    raise ProjectError(self._sentence(doing, status, error)) from error
                if time.monotonic() > end:
                    raise ProjectError(f"the cluster's API does not answer: {error}") from error
            time.sleep(POLL)

    def _sentence(self, doing: str, status: int, error: Any) -> str:
        try:
            said = json.loads(error.body)["message"]
        except (TypeError, ValueError, KeyError):
            said = error.reason
        if "webhook" in said and RUNTIME in said:
            return (
                f"the cluster has no ClusterTrainingRuntime {RUNTIME!r}: install the runtimes that "
                f"come with Kubeflow Trainer ({said})"
            )
        if status == 403 and "webhook" not in said:
            return (
                f"the service account of this step may not {doing}: `make access ENV=… APPLY=1` "
                f"lets the one that is made for this project ({said})"
            )
        if status == 404 and doing == "create trainjobs":
            return "the cluster has no Kubeflow Trainer, which TrainJobs are for: install it"
        if status == 404 and doing == "get trainjobs":
            return "somebody has deleted the TrainJob of this step"
        return f"the cluster does not let this step {doing}: {said}"


class _Watch:
    """What becomes of a TrainJob."""

    def __init__(self, cluster: Cluster, job: str, nodes: int) -> None:
        self._cluster, self._job, self._nodes = cluster, job, nodes
        self._told: dict[int, str] = {}
        self._reader: Thread | None = None
        self._heard: float | None = None

    def wait(self) -> None:
        """Say how the nodes are and what node 0 says, until all are done.

        Raises:
            ProjectError: a node failed or cannot start, or the time is over.
        """
        begun, left, lost = time.monotonic(), self._cluster.seconds_left(), None
        while left is None or time.monotonic() < begun + left:
            conditions = self._cluster.job(self._job).get("status", {}).get("conditions", [])
            reached = {each["type"]: each for each in conditions if each["status"] == "True"}
            pods = sorted(self._cluster.nodes(self._job), key=_rank)
            self._tell(pods, idle=time.monotonic() > begun + PATIENCE)
            failed = [(pod, end) for pod in pods if (end := _failure(pod))]
            culprits = [each for each in failed if each[1].code != PEER_LOST]
            lost = lost or (time.monotonic() if failed else None)
            if culprits or (lost and time.monotonic() > lost + GRACE):
                self._give_up(*(culprits or failed)[0])
            if "Complete" in reached:
                self._listen(pods)
                if self._reader:
                    self._reader.join(timeout=GRACE)
                return
            if "Failed" in reached and not failed:
                reason, message = reached["Failed"]["reason"], reached["Failed"]["message"]
                said = f"the TrainJob failed: {reason}: {message}"
                raise ProjectError(TIMEOUT if reason == "DeadlineExceeded" else said)
            time.sleep(POLL)
        raise ProjectError(TIMEOUT)

    def _tell(self, pods: list[Object], *, idle: bool) -> None:
        states = {_rank(pod): _state(pod) for pod in pods}
        if idle and not pods:
            states = {0: "is not there yet: does the controller of Trainer run?"}
        for rank, state in states.items():
            if self._told.get(rank) != state:
                self._told[rank] = state
                print(f"node {rank} of {self._nodes} {state}", flush=True)
        self._listen(pods)

    def _listen(self, pods: list[Object]) -> None:
        if not pods or _rank(pods[0]) != 0 or (self._reader and self._reader.is_alive()):
            return
        state = _container(pods[0]).get("state", {})
        # The connection may end before the node does; one that is done is read once.
        if "running" in state or ("terminated" in state and self._heard is None):
            self._reader = Thread(target=self._read, args=[pods[0]], daemon=True)
            self._reader.start()

    def _read(self, pod: Object) -> None:
        since = int(time.monotonic() - self._heard) + 1 if self._heard else None
        for line in self._cluster.follow(pod["metadata"]["name"], since):
            self._heard = time.monotonic()
            print(line, end="", flush=True)

    def _give_up(self, pod: Object, end: "_End") -> NoReturn:
        lines = self._cluster.log(pod["metadata"]["name"], previous=end.previous)
        if _rank(pod) != 0:
            print(*lines, sep="\n", flush=True)
        raise ProjectError(failure(_rank(pod), self._nodes, end.cause, lines))


class _End(NamedTuple):
    """How a node failed."""

    cause: str
    code: int = 1
    previous: bool = False
    """Whether its container has been started again since."""


def _failure(pod: Object) -> _End | None:
    container, status = _container(pod), pod.get("status", {})
    for key in ("state", "lastState"):
        ended = container.get(key, {}).get("terminated") or {}
        code = ended.get("exitCode")
        if code:
            cause = CAUSES.get(ended.get("reason", ""), how_it_ended(code))
            return _End(cause, code, previous=key == "lastState")
    waiting = container.get("state", {}).get("waiting") or {}
    if waiting.get("reason") in STUCK:
        return _End(f"cannot start: {waiting['reason']}: {waiting.get('message', '')}")
    if status.get("phase") == "Failed":
        return _End(f"was ended by the cluster: {status.get('reason')}: {status.get('message')}")
    return None


def _state(pod: Object) -> str:
    state, status = _container(pod).get("state", {}), pod.get("status", {})
    if "running" in state:
        return f"runs on {pod['spec'].get('nodeName')}"
    if "terminated" in state:
        return "has ended"
    unplaced = [
        each.get("message", "")
        for each in status.get("conditions", [])
        if each["type"] == "PodScheduled" and each["status"] == "False"
    ]
    return f"waits for a machine: {unplaced[0]}" if unplaced else "starts"


def _container(pod: Object) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((each for each in statuses if each["name"] == CONTAINER), {})


def _rank(pod: Object) -> int:
    meta = pod["metadata"]
    return int({**meta.get("annotations", {}), **meta.get("labels", {})}[RANK_LABEL])
