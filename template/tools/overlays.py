"""Overlays: how the model is served in each environment, in serving/deploy/overlays/<env>/.

kustomize merges an overlay, the release in it and serving/deploy/base into what a cluster gets.
"""

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import ProjectError
from tools import screen
from tools.access import Cluster, kubectl
from tools.project import ROOT, project

DEPLOY = ROOT / "serving" / "deploy"
RELEASE = "release.yaml"
CONTAINER = "kserve-container"
MODE = "serving.kserve.io/deploymentMode"
KNATIVE = "Knative"
# What KServe can scale on, by mode: an autoscaler of Kubernetes' own, or Knative's.
METRICS = {"Standard": ("cpu", "memory"), KNATIVE: ("concurrency", "rps")}
# KServe makes one DNS label of the model's name, this and the namespace.
BETWEEN, LABEL = "-predictor-", 63
# For an overlay in which nothing is released yet, so that it can be looked at.
NOTHING = {
    "model_uri": "s3://nothing/is/released",
    "model": "0" * 12,
    "sha256": "0" * 64,
    "image": f"nothing-is-released@sha256:{'0' * 64}",
    "run": "none",
}

Object = dict[str, Any]


def names() -> list[str]:
    """The environments that have an overlay, in alphabetical order.

    None where no model is served: the overlays of a team that has served one stay, without a base.
    """
    if not (DEPLOY / "base").exists():
        return []
    return sorted(path.parent.name for path in DEPLOY.glob("overlays/*/kustomization.yaml"))


def path(env: str) -> Path:
    """The folder of an environment's overlay.

    Raises:
        ProjectError: it has none.
    """
    if env in names():
        return DEPLOY / "overlays" / env
    there = ", ".join(names())
    raise ProjectError(
        f"the environment {env!r} has no overlay in serving/deploy/overlays: "
        + (f"ENV is one of {there}" if there else "bring one back from git")
    )


def manifests(env: str) -> str:
    """What the cluster of an environment gets, as YAML: its overlay with what is released in it.

    Raises:
        ProjectError: there is no overlay, nothing is released, or what is there breaks a rule.
    """
    folder = path(env)
    if not (folder / RELEASE).exists():
        raise ProjectError(
            f"nothing is released in {env} yet: `make release ENV={env}` releases the newest "
            "registered model"
        )
    text = _built(folder, env)
    Served.of(text, env).check(_released(folder))
    return text


def manifest(data: Mapping[str, str]) -> Object:
    """A release as kustomize reads it: an object that never reaches a cluster."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "release",
            "annotations": {"config.kubernetes.io/local-config": "true"},
        },
        "data": data,
    }


@dataclass(frozen=True)
class Served:
    """The InferenceService of an environment, as the cluster gets it."""

    env: str
    service: Object

    @classmethod
    def of(cls, text: str, env: str) -> "Served":
        """Find it among all objects.

        Raises:
            ProjectError: there is none of the project's name.
        """
        for each in yaml.safe_load_all(text):
            if (each["kind"], each["metadata"]["name"]) == ("InferenceService", project().name):
                return cls(env, each)
        raise ProjectError(
            f"{file(env)}: without `../../base` among the resources, no InferenceService "
            f"{project().name!r} is made"
        )

    @property
    def namespace(self) -> str:
        """Where it is on the cluster; empty if the overlay does not say."""
        namespace: str = self.service["metadata"].get("namespace", "")
        return namespace

    @property
    def cluster(self) -> Cluster:
        """Where it is served: the environment's cluster, and the namespace on it."""
        context = project().environment(self.env).context
        return Cluster(self.env, context, self.namespace, namespace_in=file(self.env))

    @property
    def mode(self) -> str:
        """How KServe runs it: Standard or Knative."""
        mode: str = self.service["metadata"].get("annotations", {}).get(MODE, "Standard")
        return mode

    def check(self, release: Object) -> None:
        """Hold it to what KServe can do, and to the release.

        Raises:
            ProjectError: one of them is not so; why, and what to write instead.
        """
        self._check_place()
        self._check_mode()
        self._check_release(release)

    def _check_place(self) -> None:
        if not self.namespace:
            raise ProjectError(
                f"{file(self.env)}: add `namespace:`, where the model is served on the cluster"
            )
        label = f"{project().name}{BETWEEN}{self.namespace}"
        if len(label) > LABEL:
            raise ProjectError(
                f"{file(self.env)}: the namespace {self.namespace!r} is {len(label) - LABEL} "
                f"characters too long: KServe makes a host's name of {label!r}, of {LABEL} at most"
            )

    def _check_mode(self) -> None:
        predictor = self.service["spec"]["predictor"]
        where = file(self.env, "inference-service.yaml")
        if self.mode not in METRICS:
            modes = " or ".join(METRICS)
            raise ProjectError(f"{where}: {MODE} must be {modes}, not {self.mode!r}")
        if self.mode != KNATIVE:
            way_out = "or `make update DATA='serving_mode=Knative'`"
            if "canaryTrafficPercent" in predictor or "canary" in self.service["spec"]:
                raise ProjectError(
                    f"{where}: a canary needs Knative, as in mode {self.mode} KServe splits no "
                    f"requests: take it out, {way_out}"
                )
            if predictor.get("minReplicas") == 0:
                raise ProjectError(
                    f"{where}: `minReplicas: 0` needs Knative, as in {self.mode} nothing would "
                    f"wake a server: write 1, {way_out}"
                )
        metric, known = predictor.get("scaleMetric"), METRICS[self.mode]
        if metric and metric not in known:
            reason = (
                "Knative scales on requests, not on what a container uses"
                if self.mode == KNATIVE
                else "Kubernetes' autoscaler sees what a container uses, not requests"
            )
            raise ProjectError(
                f"{where}: in mode {self.mode} `scaleMetric` is {' or '.join(known)}, not "
                f"{metric}: {reason}"
            )
        least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
        for name, value in (("minReplicas", least), ("maxReplicas", most)):
            if not isinstance(value, int):
                raise ProjectError(f"{where}: {name} must be a number, not {value!r}")
        if most and least > most:
            raise ProjectError(f"{where}: minReplicas is {least}, and maxReplicas only {most}")

    def _check_release(self, release: Object) -> None:
        containers = self.service["spec"]["predictor"]["containers"]
        container: Object = next((each for each in containers if each["name"] == CONTAINER), {})
        told = {each["name"]: each.get("value") for each in container.get("env", [])}
        found = {
            "image": container.get("image"),
            "model_uri": told.get("STORAGE_URI"),
            "sha256": told.get("MODEL_SHA256"),
        }
        for key, value in found.items():
            if value != release.get(key):
                raise ProjectError(
                    f"{file(self.env)}: {key} is {value!r}, not {release.get(key)!r} as in "
                    f"{RELEASE}: take it out of the patches, and keep `../../release` among the "
                    "components"
                )


def check() -> None:
    """Hold every overlay to what KServe can do, released or not.

    Raises:
        ProjectError: one of them cannot work.
    """
    if not names():
        return
    if not shutil.which("kubectl") and not os.environ.get("CI"):
        screen.notice("The overlays are not looked at: kubectl is not on the PATH.")
        return
    places = defaultdict(list)
    for env in names():
        folder = path(env)
        if (folder / RELEASE).exists():
            text, release = _built(folder, env), _released(folder)
        else:
            text, release = _imagined(env), NOTHING
        served = Served.of(text, env)
        served.check(release)
        context = project().environment(env).context if env in project().environments else env
        places[context, served.namespace].append(env)
    for (_, namespace), envs in places.items():
        if len(envs) > 1:
            raise ProjectError(
                f"{file(envs[-1])}: {' and '.join(envs)} are one namespace, {namespace!r}, of one "
                "cluster, and so one model: give each its own, or its own `context` in "
                "config/environments"
            )


def _built(folder: Path, env: str) -> str:
    done = kubectl("kustomize", str(folder))
    if done.returncode != 0:
        reason = done.stderr.strip().removeprefix("error: ")
        raise ProjectError(f"{file(env)} cannot be built: {reason}")
    return done.stdout


def _imagined(env: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        copy = shutil.copytree(DEPLOY, Path(name).resolve() / "deploy")
        folder = copy / "overlays" / env
        (folder / RELEASE).write_text(yaml.safe_dump(manifest(NOTHING)))
        return _built(folder, env)


def _released(folder: Path) -> Object:
    try:
        release: Object = yaml.safe_load((folder / RELEASE).read_text())["data"]
    except (yaml.YAMLError, KeyError, TypeError):
        raise ProjectError(
            f"{file(folder.name, RELEASE)} is no release: `make release` writes it"
        ) from None
    return release


def file(env: str, name: str = "kustomization.yaml") -> str:
    """Where a file of an environment's overlay is, as a person is told."""
    return f"serving/deploy/overlays/{env}/{name}"
