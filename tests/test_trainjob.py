"""Training on several nodes of a cluster: a TrainJob, judged by a real API server.

Pods and Secrets are made up here, and the test plays Trainer's controller: it says in the status of
the TrainJob, and in the pods, what has become of it.
"""

import base64
import json
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import boto3
import pytest
from apiserver import NAMESPACE, Cluster, Object, ask, proxy, require, served, wait_for
from conftest import Template
from moto.server import ThreadedMotoServer
from projects import Done, Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie

pytestmark = [
    pytest.mark.project,
    pytest.mark.kubernetes,
    pytest.mark.parametrize("project", [flavour("xgboost-regression")], indirect=True),
]
# Another run of these tests may use the same server.
UID = str(uuid.uuid4())
JOB = f"my-model-train-{UID[:8]}"
STEP: Object = {
    "metadata": {
        "name": "my-model-training-abc-123",
        "namespace": NAMESPACE,
        "uid": UID,
        "annotations": {"sidecar.istio.io/inject": "false", "other": "x"},
        "labels": {"pipeline/runid": "42"},
    },
    "spec": {
        "serviceAccountName": "my-model-pipeline",
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "imagePullSecrets": [{"name": "registry"}],
        "securityContext": {"fsGroup": 100},
        "affinity": {},
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "examples"}},
            {"name": "scratch-0", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "kfp-launcher", "emptyDir": {}},
            {"name": "kube-api-access-x", "projected": {"sources": []}},
        ],
        "containers": [
            {"name": "wait", "image": "argoexec"},
            {
                "name": "main",
                "image": "ghcr.io/my-team/my-model-train:0123456789abcdef",
                "env": [
                    {
                        "name": "KFP_POD_NAME",
                        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                    },
                    {"name": "ARGO_TEMPLATE", "value": "{}"},
                    {"name": "REGION", "value": "eu"},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}},
                ],
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}},
                "securityContext": {"runAsNonRoot": True},
                "volumeMounts": [
                    {"name": "data", "mountPath": "/data", "readOnly": True},
                    {"name": "scratch-0", "mountPath": "/scratch"},
                    {"name": "kfp-launcher", "mountPath": "/kfp-launcher"},
                ],
            },
        ],
    },
    "status": {"startTime": "2026-11-22T00:00:00Z"},
}
# How a step's own code comes to see the cluster that a test serves.
CONNECTED = """
import os, signal, sys
from pathlib import Path
from kubernetes import client, config
from runtime import trainjob
from runtime.errors import ProjectError

def connect():
    found = client.Configuration(host={url!r})
    client.Configuration.set_default(found)

signal.alarm(120)
config.load_incluster_config = connect
Path("namespace").write_text({namespace!r})
trainjob.NAMESPACE = Path("namespace")
trainjob.POLL, trainjob.GRACE, trainjob.PATIENCE = 0.1, 1, 3
os.environ.update(KUBERNETES_SERVICE_HOST="127.0.0.1", HOSTNAME={pod!r})
os.environ.pop("KFP_POD_NAME", None)
"""
RUN = """
try:
    trainjob.run(trainjob.Cluster(), ["python", "--version"], 2, "my-model-train")
except ProjectError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give the project of a flavour, and restore it."""
    require("trainjobs.trainer.kubeflow.org")
    with restored(life(request.param, template, copie_session).project) as project:
        yield project


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Give a cluster in which a step runs, and leave no TrainJob on it."""
    with proxy() as real, served(Cluster(real=real, pods={STEP["metadata"]["name"]: STEP})) as made:
        yield made
    ask("delete", "trainjob", JOB, "--ignore-not-found")


def connected(cluster: Cluster) -> str:
    """Return the code that connects a step to a cluster."""
    pod = STEP["metadata"]["name"]
    return CONNECTED.format(url=cluster.url, namespace=NAMESPACE, pod=pod)


def trainjob() -> Object | None:
    """Return the TrainJob, if there is one."""
    done = ask("get", "trainjob", JOB, "-o", "json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def says(
    condition: str, reason: str = "JobsCompleted", message: str = "all jobs completed"
) -> None:
    """Give the TrainJob a condition, as Trainer's controller does."""
    status = {
        "conditions": [
            {
                "type": condition,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": "2026-11-22T00:00:00Z",
            }
        ]
    }
    patch = json.dumps({"status": status})
    done = ask("patch", "trainjob", JOB, "--subresource=status", "--type=merge", "--patch", patch)
    assert done.returncode == 0, done.stderr


def node(rank: int, state: Object, **status: Any) -> Object:
    """Make up the pod of a node."""
    labels = {
        "jobset.sigs.k8s.io/jobset-name": JOB,
        "jobset.sigs.k8s.io/replicatedjob-name": "node",
        "batch.kubernetes.io/job-completion-index": str(rank),
    }
    return {
        "metadata": {"name": f"{JOB}-node-0-{rank}", "labels": labels},
        "spec": {"nodeName": f"machine-{rank}"},
        "status": {"containerStatuses": [{"name": "node", "state": state}], **status},
    }


@contextmanager
def controller(plays: Callable[[Object], object]) -> Iterator[None]:
    """Play Trainer's controller as soon as there is a TrainJob."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            plays(wait_for("TrainJob", trainjob))
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(timeout=60)
    assert not errors, errors


def run(project: Generated, cluster: Cluster, change: str = "") -> Done:
    """Have a step run two nodes, after a change to what it knows."""
    return project.python(connected(cluster) + change + RUN)


def manifest(project: Generated) -> Object:
    """Return the TrainJob that a step would make."""
    call = f"trainjob.manifest({STEP!r}, ['python', '-m', 'x'], 4, 'my-model-train', (), 600)"
    done = project.python(f"import json; from runtime import trainjob; print(json.dumps({call}))")
    made: Object = json.loads(done.succeeded().out)
    return made


def test_the_server_takes_it(project: Generated) -> None:
    """Every field of it is known to Trainer, and is kept as it was sent."""
    sent = manifest(project)
    created = ask("create", "--validate=strict", "-o", "json", "-f", "-", content=sent)
    try:
        assert created.returncode == 0, created.stderr
        kept = json.loads(created.stdout)
        assert {key: kept["spec"][key] for key in sent["spec"] if key != "runtimeRef"} == {
            key: value for key, value in sent["spec"].items() if key != "runtimeRef"
        }
        assert kept["spec"]["runtimeRef"]["name"] == "xgboost-distributed"
    finally:
        ask("delete", "trainjob", JOB, "--ignore-not-found")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("numNodes", "four", "numNodes"), ("nodes", 4, "unknown field"), ("command", "x", "command")],
)
def test_the_server_refuses_a_broken_one(
    project: Generated, key: str, value: object, words: str
) -> None:
    """The check above can fail."""
    sent = manifest(project)
    sent["spec"]["trainer"][key] = value
    done = ask("create", "--validate=strict", "-f", "-", content=sent)
    assert done.returncode != 0
    assert words in done.stderr


def test_nodes_are_like_the_step(project: Generated) -> None:
    """Image, resources, environment, machines and volumes are its own; what is KFP's is not."""
    spec = manifest(project)["spec"]
    main = STEP["spec"]["containers"][1]
    assert spec["trainer"]["image"] == main["image"]
    assert spec["trainer"]["resourcesPerNode"] == main["resources"]
    assert [each["name"] for each in spec["trainer"]["env"]] == ["REGION", "KEY"]
    (patch,) = spec["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = job["template"]["spec"]["template"]
    assert template["metadata"] == {
        "annotations": {
            "sidecar.istio.io/inject": "false",
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        }
    }
    for key in ("serviceAccountName", "nodeSelector", "tolerations", "imagePullSecrets"):
        assert template["spec"][key] == STEP["spec"][key]
    assert [each["name"] for each in template["spec"]["volumes"]] == ["data", "scratch-0"]
    (container,) = template["spec"]["containers"]
    assert [each["name"] for each in container["volumeMounts"]] == ["data", "scratch-0"]


def test_pods_train_the_model(project: Generated, cluster: Cluster) -> None:
    """What a TrainJob asks for trains the model that processes train, through KFP's own store."""
    store = ThreadedMotoServer(port=0)
    store.start()
    # By name, as on a cluster: a bucket must not become part of it.
    url = f"http://localhost:{store.get_host_and_port()[1]}"
    keys = {"accesskey": "somebody", "secretkey": "hush"}
    data = {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()}
    cluster.secrets["mlpipeline-minio-artifact"] = {"data": data}
    bucket = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=keys["accesskey"],
        aws_secret_access_key=keys["secretkey"],
    )
    examples = project.last_run["steps"]["ingest"]["artifacts"]["train_data"]["uri"]
    bucket.create_bucket(Bucket="mlpipeline")
    bucket.upload_file(examples, "mlpipeline", "run/train_data")

    def trainer(job: Object) -> None:
        assert "hush" not in json.dumps(job)
        said = job["spec"]["trainer"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        environment = {"DMLC_TRACKER_URI": "localhost", "DMLC_TRACKER_PORT": port}
        for each in said["env"]:
            key = each.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
            environment[each["name"]] = each.get("value") or keys.get(key, "")
        started = [
            subprocess.Popen(
                [project.path / ".venv/bin/python", *said["command"][1:]],
                cwd=project.path,
                env={**machine(), **environment, "DMLC_TASK_ID": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(said["numNodes"])
        ]
        for rank, process in enumerate(started):
            log, _ = process.communicate(timeout=120)
            assert process.returncode == 0, log
            pod = node(rank, {"terminated": {"exitCode": 0}})
            cluster.logs[pod["metadata"]["name"]] = log.splitlines()
            cluster.pods[pod["metadata"]["name"]] = pod
        says("Complete")

    launch = f"""
trainjob.STORE = {url!r}
from runtime import distributed
from my_model.distributed import train_jointly
from tools.project import project
def launch(data, model, folder):
    options = project().settings("train").model_dump()
    return distributed.launch(
        train_jointly, nodes=2, data=data, options=options, model=model, folder=Path(folder)
    )
print("pods", launch("minio://mlpipeline/run/train_data", "minio://mlpipeline/run/model", "pods"))
del os.environ["KUBERNETES_SERVICE_HOST"]
print("processes", launch({examples!r}, "processes", "processes"))
"""
    try:
        with controller(trainer):
            done = project.python(connected(cluster) + launch).succeeded()
    finally:
        store.stop()
    words = dict(line.split() for line in done.out.splitlines() if line.count(" ") == 1)
    assert words["pods"] == words["processes"]
    assert "node 0 of 2: " in done.out
    assert trainjob() is None


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (
            [{"running": {}}, {"terminated": {"exitCode": 1}}],
            ["node 1 of 2 failed (exit code 1)", "ducks do not fit"],
        ),
        (
            [
                {"terminated": {"exitCode": 75}},
                {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            ],
            ["node 1 of 2 ran out of memory", "config/environments"],
        ),
        (
            [{"running": {}}, {"terminated": {"exitCode": 137, "reason": "Error"}}],
            ["node 1 of 2 was ended by SIGKILL"],
        ),
        (
            [{"running": {}}, {"waiting": {"reason": "ImagePullBackOff", "message": "denied"}}],
            ["node 1 of 2 cannot start", "ImagePullBackOff", "denied"],
        ),
        ([{"terminated": {"exitCode": 75}}, {"running": {}}], ["node 0 of 2 failed"]),
    ],
    ids=["an error", "memory", "killed", "image", "left alone"],
)
def test_a_node_that_fails(
    project: Generated, cluster: Cluster, states: list[Object], words: list[str]
) -> None:
    """It is named, with its cause and its last lines; the TrainJob is taken away."""

    def trainer(_: Object) -> None:
        for rank, state in enumerate(states):
            pod = node(rank, state)
            cluster.logs[pod["metadata"]["name"]] = [f"node {rank} speaks", "ducks do not fit"]
            cluster.pods[pod["metadata"]["name"]] = pod

    with controller(trainer):
        done = run(project, cluster).failed(*words)
    # The log of the step has that of node 0, or of the one that failed.
    assert "speaks" in done.out or "waiting" in states[1]
    assert trainjob() is None


def test_a_node_that_was_started_again(project: Generated, cluster: Cluster) -> None:
    """A container that has failed is not given another try: the step is what is tried again."""

    def trainer(_: Object) -> None:
        pod = node(0, {"running": {}})
        ended = {"terminated": {"exitCode": 1}}
        pod["status"]["containerStatuses"][0]["lastState"] = ended
        cluster.pods["first"] = pod

    with controller(trainer):
        run(project, cluster).failed("node 0 of 2 failed")


def test_a_node_that_is_evicted(project: Generated, cluster: Cluster) -> None:
    """What the cluster says of it is passed on."""

    def trainer(_: Object) -> None:
        pod = node(1, {}, phase="Failed", reason="Evicted", message="disk pressure")
        cluster.pods["evicted"] = pod

    with controller(trainer):
        run(project, cluster).failed("node 1 of 2", "Evicted", "disk pressure")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("DeadlineExceeded", ["not done in time", "timeout"]),
        ("TrainingRuntimeNotSupported", ["TrainingRuntimeNotSupported", "no such thing"]),
    ],
)
def test_a_job_that_fails(
    project: Generated, cluster: Cluster, reason: str, words: list[str]
) -> None:
    """What Trainer says is passed on."""
    with controller(lambda _: says("Failed", reason, "no such thing")):
        run(project, cluster).failed(*words)


def test_the_steps_own_timeout(project: Generated, cluster: Cluster) -> None:
    """It is the nodes' too, and there is time left to say so."""
    soon = """
from datetime import UTC, datetime
begin = trainjob.Cluster.__init__
def limited(self):
    begin(self)
    self.pod["spec"]["activeDeadlineSeconds"] = 4
    self.pod["status"]["startTime"] = datetime.now(UTC).isoformat()
trainjob.Cluster.__init__ = limited
"""
    deadlines = []
    with controller(lambda job: deadlines.append(job["spec"]["activeDeadlineSeconds"])):
        run(project, cluster, soon).failed("not done in time", "config/environments")
    assert 1 <= deadlines[0] <= 3
    assert trainjob() is None


@pytest.mark.parametrize(
    ("what", "status", "message", "words"),
    [
        ("POST .*/trainjobs", 403, "forbidden", ["may not create trainjobs", "make access"]),
        ("GET .*/pods$", 403, "forbidden", ["may not list pods", "make access"]),
        ("GET .*/pods/", 403, "forbidden", ["may not get pods", "make access"]),
        ("POST .*/trainjobs", 404, "not found", ["no Kubeflow Trainer"]),
        (
            "POST .*/trainjobs",
            403,
            'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: '
            'ClusterTrainingRuntime "xgboost-distributed" not found',
            ["no ClusterTrainingRuntime 'xgboost-distributed'"],
        ),
        ("POST .*/trainjobs", 422, "spec.trainer is wrong", ["spec.trainer is wrong"]),
        ("GET .*/trainjobs/", 503, "away", ["does not answer"]),
    ],
)
def test_what_the_cluster_refuses(
    project: Generated, cluster: Cluster, what: str, status: int, message: str, words: list[str]
) -> None:
    """It is said who lacks what, and nothing is left."""
    cluster.refusals[what] = (status, message)
    run(project, cluster).failed(*words)
    assert trainjob() is None


def test_a_job_that_somebody_deletes(project: Generated, cluster: Cluster) -> None:
    with controller(lambda _: ask("delete", "trainjob", JOB)):
        run(project, cluster).failed("somebody has deleted")


def test_an_api_that_is_away_for_a_moment(project: Generated, cluster: Cluster) -> None:
    """The job goes on, and so does the step."""

    def trainer(_: Object) -> None:
        cluster.refusals["GET"] = (503, "away")
        time.sleep(1)
        del cluster.refusals["GET"]
        says("Complete")

    with controller(trainer):
        run(project, cluster).succeeded()


def test_a_step_that_is_stopped(project: Generated, cluster: Cluster) -> None:
    """A request to end takes the TrainJob away."""
    code = connected(cluster) + "from runtime import distributed\n"
    code += "with distributed._ended_in_order():\n"
    code += "    trainjob.run(trainjob.Cluster(), ['sleep', '1'], 2, 'my-model-train')\n"
    step = subprocess.Popen(
        [project.path / ".venv/bin/python", "-c", code], cwd=project.path, env=machine()
    )
    try:
        wait_for("TrainJob", trainjob)
        step.send_signal(signal.SIGTERM)
        assert step.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        step.kill()
    assert trainjob() is None


def test_no_driver(project: Generated, cluster: Cluster) -> None:
    """An URI that the step cannot open is named, with what to install."""
    done = project.python(
        connected(cluster)
        + "\ntry:\n    trainjob.Cluster().reachable('gs://bucket/data')\n"
        + "except ProjectError as error:\n    sys.exit(str(error))\n"
    )
    done.failed("gs://bucket/data", "runtime[gcs]", "make setup")
