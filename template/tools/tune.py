"""`make tune`: search for hyper-parameters on an environment's cluster, by Katib, several at once.

The Experiment is made of `space` in search.py of the package. Its trials are pods like that of the
step `train`: its image, and what config/environments/ gives it.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
import yaml
from rich.table import Table

from runtime import trial as trials_of
from runtime.errors import ProjectError
from runtime.trainjob import EVICTION, SCRATCH, SIDECAR, own_store
from runtime.trial import VARIABLE, Task
from tools import images, pages, preflight, screen, submit
from tools.access import Cluster
from tools.environment import Environment
from tools.execution import SECONDS, Execution
from tools.imports import closure
from tools.project import ROOT, project

if TYPE_CHECKING:
    from runtime.trial import Drawn

GROUP, VERSION = "kubeflow.org", "v1beta1"
EXPERIMENTS, TRIALS = f"experiments.{GROUP}", f"trials.{GROUP}"
OF_EXPERIMENT = "katib.kubeflow.org/experiment"
INJECTION = "katib.kubeflow.org/metrics-collector-injection"
CONTAINER = "trial"
STEP = "train"
# Katib takes 40 characters; the time has 14 of them.
LONGEST_NAME = 26
MOST_TRIALS, AT_ONCE = 20, 2
SHOWN = 10
PAUSE = 2
UNAVAILABLE = "unavailable"
"""What Katib has for a metric that a trial did not say."""
# What needs no quotes in a shell, by which Katib starts a trial.
PLAIN = re.compile(r"[\w.+:/-]+")

Object = dict[str, Any]


def tune(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    data: Annotated[str, typer.Option(help="URI of the training data.")] = "",
    trials: Annotated[int | None, typer.Option(min=1, help="How many at most.")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="How many at once.")] = AT_ONCE,
    run: Annotated[str, typer.Option(help="Follow this Experiment; nothing is started.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Only show it.")] = False,
) -> None:
    """Start a Katib Experiment, follow it, and show what was best."""
    environment = project().environment(env)
    environment.require_cluster(env)
    task = project_task()
    cluster = Cluster(env, environment.context, environment.namespace)
    if not run:
        made = experiment(environment, task, data, trials, parallel)
        if check:
            screen.console.out(yaml.safe_dump(made, sort_keys=False), end="", highlight=False)
            screen.what_next(f"`make tune ENV={env} DATA={data}` starts it.")
            return
        submit.require_images({STEP: image(environment)}, env, environment)
        with screen.console.status("Asking the cluster"):
            require_katib(cluster)
            cluster.ask("create", "--filename=-", objects=json.dumps(made))
        run = made["metadata"]["name"]
    screen.console.print(f"experiment {run}")
    again = f"`make tune ENV={env} RUN={run}` follows it"
    try:
        ended = follow(cluster, run)
    except KeyboardInterrupt:
        screen.what_next(f"It goes on without you: {again}.")
        raise
    except ProjectError as error:
        if "(NotFound)" in str(error):
            raise ProjectError(
                f"there is no Experiment {run!r} in namespace {cluster.namespace!r}: somebody has "
                f"deleted it, or it has another name; `kubectl --namespace={cluster.namespace} get "
                f"{EXPERIMENTS}` lists them"
            ) from None
        raise ProjectError(f"{error}\nWhat was started goes on: {again}") from None
    conclude(ended, results(cluster, run), task)


def project_task() -> Task:
    """What is searched, as search.py of the package says.

    Raises:
        ProjectError: the step `train`, whose image trials are run in, does not use it.
    """
    if ROOT / "src" / project().package / "search.py" not in closure(f"steps.{STEP}.component"):
        raise ProjectError(
            f"steps/{STEP}/component.py does not search, so its image lacks what a trial is made "
            "of: docs/tuning.md has the lines to add"
        )
    task: Task = project().science("search").TASK
    return task


def image(environment: Environment) -> str:
    """The image of the trials."""
    return images.image(STEP, environment.registry)


def experiment(
    environment: Environment, task: Task, data: str, trials: int | None, parallel: int
) -> Object:
    """The Experiment that searches the space of a task on a data set.

    Raises:
        ProjectError: Katib, or a pod, could not do with what is given.
    """
    settings = project().settings(STEP)
    decides = getattr(project().settings("evaluate"), "metric", "")
    metric = getattr(settings, "metric", "") or decides
    options = settings.model_dump()
    space = parameters(trials_of.distributions(task.space))
    most = trials or getattr(settings, "trials", 0) or MOST_TRIALS
    now = datetime.now(UTC)
    job = {
        "task": f"{project().package}.search:TASK",
        "data": reachable(data),
        "metric": metric,
        "options": options,
    }
    env = {VARIABLE: json.dumps(job)}
    names = [each["name"] for each in space]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Experiment",
        "metadata": {
            "name": f"{project().name[:LONGEST_NAME].rstrip('-')}-{now:%y%m%d-%H%M%S}",
            "namespace": environment.namespace,
            "labels": {"app.kubernetes.io/part-of": project().name},
        },
        "spec": {
            "objective": {
                "type": "minimize" if metric in task.lower_is_better else "maximize",
                "objectiveMetricName": metric,
            },
            "algorithm": {
                "algorithmName": "tpe",
                "algorithmSettings": [
                    {"name": "random_state", "value": str(options.get("seed", 0))}
                ],
            },
            "maxTrialCount": most,
            "parallelTrialCount": min(parallel, most),
            "maxFailedTrialCount": max(most // 2, 1),
            "resumePolicy": "Never",
            "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
            "parameters": space,
            "trialTemplate": {
                "primaryContainerName": CONTAINER,
                "trialParameters": [{"name": name, "reference": name} for name in names],
                "trialSpec": trial_job(environment, env, names, own_store() if minio(data) else []),
            },
        },
    }


def parameters(space: "Mapping[str, Drawn]") -> list[Object]:
    """A space in Katib's terms, where every value is a text.

    Raises:
        ProjectError: a value, or a name, would not reach a trial as it is.
    """
    from optuna.distributions import CategoricalDistribution, IntDistribution

    found = []
    for name, drawn in space.items():
        if isinstance(drawn, CategoricalDistribution):
            texts = [str(choice) for choice in drawn.choices]
            _require_plain(name, [name, *texts])
            if len(set(texts)) < len(texts):
                raise ProjectError(
                    f"{name} in search.py has two choices that are written alike, and Katib knows "
                    f"them as text only ({', '.join(texts)}): give them other names"
                )
            found.append(
                {
                    "name": name,
                    "parameterType": "categorical",
                    "feasibleSpace": {"list": texts},
                }
            )
            continue
        _require_plain(name, [name])
        low, high, step = drawn.low, drawn.high, drawn.step
        whole = isinstance(drawn, IntDistribution)
        feasible = {"min": str(low), "max": str(high)}
        if step and not (whole and step == 1):
            feasible["step"] = str(step)
        if drawn.log:
            feasible["distribution"] = "logUniform"
        kind = "int" if whole else "double"
        found.append({"name": name, "parameterType": kind, "feasibleSpace": feasible})
    return found


def trial_job(
    environment: Environment, env: Mapping[str, str], names: Iterable[str], store: list[Object]
) -> Object:
    """The Job of a trial, whose pod is given what the step is given."""
    execution = environment.execution(STEP)
    volumes, mounts = _volumes(execution)
    variables = {**execution.env, **env}
    container = {
        "name": CONTAINER,
        "image": image(environment),
        "command": ["python", "-m", "runtime.trial"],
        "args": [f"{name}=${{trialParameters.{name}}}" for name in names],
        "env": [
            *({"name": name, "value": value} for name, value in variables.items()),
            *(
                {"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
                for secret in execution.secrets
                for name, key in secret.env.items()
            ),
            *(each for each in store if "AWS_ENDPOINT_URL" not in execution.env),
        ],
        "resources": _resources(execution),
        # Not of the pod: Katib puts a container of its own beside it, which runs as root.
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "serviceAccountName": environment.service_account,
        "imagePullSecrets": [{"name": name} for name in environment.pull_secrets],
        "nodeSelector": execution.node_selector,
        "tolerations": [
            toleration.model_dump(exclude_none=True) for toleration in execution.tolerations
        ],
        "containers": [container],
        "volumes": volumes,
    }
    # With Istio's proxy beside it, a pod would not end; moved to another node, it would begin anew.
    alone = {SIDECAR: "false"}
    spec: Object = {
        "backoffLimit": execution.retries,
        "template": {
            "metadata": {"annotations": {**alone, EVICTION: "false"}, "labels": alone},
            "spec": {key: value for key, value in pod.items() if value not in ("", [], {})},
        },
    }
    if execution.timeout:
        seconds = int(execution.timeout[:-1]) * SECONDS[execution.timeout[-1]]
        spec["activeDeadlineSeconds"] = seconds
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": spec}


def minio(data: str) -> bool:
    """Whether data are in KFP's own store."""
    return data.startswith("minio://")


def reachable(data: str) -> str:
    """The URI by which a trial reads the training data.

    Raises:
        ProjectError: none was given, or the image of `train` cannot read it.
    """
    if "://" not in data:
        raise ProjectError(
            "say by DATA= what the trials are trained on: the URI of `train_data`, which the step "
            "`ingest` wrote in a run on this cluster; KFP's page of the run shows it"
            + (f" ({data!r} is none)" if data else "")
        )
    uri = f"s3://{data.removeprefix('minio://')}" if minio(data) else data
    preflight.require_drivers([(STEP, "DATA", uri)])
    return uri


def require_katib(cluster: Cluster) -> None:
    """Refuse to go on where Katib is not, or would not be told the metrics.

    Raises:
        ProjectError: it is not installed, or does not look at this namespace.
    """
    known = cluster.ask("api-resources", f"--api-group={GROUP}", "--output=name")
    if EXPERIMENTS not in known.split():
        raise ProjectError(
            f"the cluster of {cluster.env!r} has no Katib: have it installed, or search in "
            "`make run`, by `trials` in config/project.yaml"
        )
    # Whoever may make an Experiment may not always look at its namespace.
    seen = cluster.ask("get", "namespace", cluster.namespace, "--output=json", good=(0, 1))
    labels = json.loads(seen)["metadata"].get("labels", {}) if seen else {INJECTION: "enabled"}
    if labels.get(INJECTION) != "enabled":
        raise ProjectError(
            f"Katib reads no metrics in namespace {cluster.namespace!r}: have whoever administers "
            f"the cluster run `kubectl label namespace {cluster.namespace} {INJECTION}=enabled`"
        )


def follow(cluster: Cluster, name: str) -> Object:
    """Say how an Experiment goes until it has ended, and return it as it then is."""
    said = ""
    with screen.console.status("Waiting for Katib") as shown:
        while True:
            found: Object = json.loads(_get(cluster, EXPERIMENTS, name))
            status = found.get("status", {})
            if (progress := _progress(status)) != said:
                said = progress
                screen.notice(said)
                shown.update(said)
            if _reached(found, "Succeeded") or _reached(found, "Failed"):
                return found
            time.sleep(PAUSE)


class Result(NamedTuple):
    """A trial that Katib made."""

    value: float | None
    texts: dict[str, str]
    """What was chosen for each parameter."""


def results(cluster: Cluster, name: str) -> list[Result]:
    """All trials of an Experiment."""
    listed = json.loads(_get(cluster, TRIALS, f"--selector={OF_EXPERIMENT}={name}"))["items"]
    found = []
    for each in listed:
        metrics = each.get("status", {}).get("observation", {}).get("metrics", [])
        wanted = each["spec"]["objective"]["objectiveMetricName"]
        values = [
            float(metric["latest"])
            for metric in metrics
            if metric["name"] == wanted and metric["latest"] != UNAVAILABLE
        ]
        texts = {given["name"]: given["value"] for given in each["spec"]["parameterAssignments"]}
        found.append(Result(values[0] if values else None, texts))
    return found


def conclude(ended: Object, found: list[Result], task: Task) -> None:
    """Show the best trials, and what to do with the best one.

    Raises:
        ProjectError: no trial has a metric.
    """
    objective = ended["spec"]["objective"]
    metric, sign = objective["objectiveMetricName"], 1 if objective["type"] == "minimize" else -1
    judged = [each for each in found if each.value is not None]
    judged.sort(key=lambda each: sign * (each.value or 0.0))
    if not judged:
        name, namespace = ended["metadata"]["name"], ended["metadata"]["namespace"]
        failed = _reached(ended, "Failed")
        said = f" ({failed['message']})" if failed and failed.get("message") else ""
        raise ProjectError(
            f"no trial of {name} said its {metric}{said}: `kubectl --namespace={namespace} get "
            f"{TRIALS},jobs,pods --selector={OF_EXPERIMENT}={name}` shows what became of them"
        )
    chosen = [trials_of.chosen(task.space, each.texts) for each in judged[:SHOWN]]
    table = Table(metric, *chosen[0], box=None, pad_edge=False, header_style="dim")
    for each, values in zip(judged, chosen, strict=False):
        table.add_row(f"{each.value:.6g}", *map(pages.short, values.values()))
    screen.console.print(table)
    lost = len(found) - len(judged)
    besides = f"; {lost} more failed or were not judged" if lost else ""
    screen.console.print(f"The best of {len(judged)} trials{besides}.")
    screen.what_next("Write what was best to config/project.yaml, then `make run`:")
    lines = yaml.safe_dump({STEP: chosen[0]}, sort_keys=False)
    screen.console.out(lines, end="", highlight=False)


def _require_plain(name: str, texts: Iterable[str]) -> None:
    for text in texts:
        if not PLAIN.fullmatch(text):
            raise ProjectError(
                f"{text!r} of {name} in search.py would not reach a trial on the cluster as it is: "
                "use letters, digits and ._+:/- only"
            )


def _resources(execution: Execution) -> Object:
    requests = {"cpu": execution.cpu, "memory": execution.memory}
    limits = {"cpu": execution.cpu_limit, "memory": execution.memory}
    if execution.accelerator:
        limits[execution.accelerator.type] = str(execution.accelerator.count)
    both = {"requests": requests, "limits": limits}
    return {kind: {key: value for key, value in of.items() if value} for kind, of in both.items()}


def _volumes(execution: Execution) -> tuple[list[Object], list[Object]]:
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {}}]
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    for number, volume in enumerate(execution.volumes):
        name = f"{SCRATCH}{number}" if volume.scratch else f"claim-{number}"
        of: Object = {"emptyDir": {"sizeLimit": volume.scratch}}
        if volume.claim:
            of = {"persistentVolumeClaim": {"claimName": volume.claim}}
        volumes.append({"name": name, **of})
        mounts.append({"name": name, "mountPath": volume.mount})
    for number, secret in enumerate(each for each in execution.secrets if each.mount):
        name = f"secret-{number}"
        volumes.append({"name": name, "secret": {"secretName": secret.name}})
        mounts.append({"name": name, "mountPath": secret.mount, "readOnly": True})
    return volumes, mounts


def _get(cluster: Cluster, *what: str) -> str:
    return cluster.ask("get", f"--namespace={cluster.namespace}", "--output=json", *what)


def _reached(found: Object, condition: str) -> Object | None:
    conditions: list[Object] = found.get("status", {}).get("conditions", [])
    true = (each for each in conditions if each["type"] == condition and each["status"] == "True")
    return next(true, None)


def _progress(status: Object) -> str:
    if not status.get("conditions"):
        return "Katib has not looked at it yet"
    counts = {
        "running": status.get("trialsRunning", 0),
        "done": status.get("trialsSucceeded", 0),
        "failed": status.get("trialsFailed", 0),
        "without a metric": status.get("trialMetricsUnavailable", 0),
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none yet"
    best = status.get("currentOptimalTrial", {}).get("observation", {}).get("metrics", [])
    return f"trials: {said}" + (f"; best {best[0]['name']} {best[0]['latest']}" if best else "")


if __name__ == "__main__":
    screen.start(tune)
