"""`make deploy` and `make smoke`: what is released is served, and answers as it should."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiserver import Cluster, kubeconfig, kubectl, require, served
from conftest import Template, commit, git
from projects import flavour, life, machine, restored
from pytest_copie.plugin import Copie
from test_releases import Site, trained, without_hooks

from scripts.serving_proof import Running, serving

pytestmark = [
    pytest.mark.project,
    pytest.mark.kubernetes,
    pytest.mark.parametrize("site", [flavour("laptop")], indirect=True),
]
IMAGE = f"registry.invalid/team/my-model-serving@sha256:{'1' * 64}"
# Kinds that are none of KServe's are for other tests.
ALONE = """
  - target: {kind: ServiceAccount|PodDisruptionBudget|NetworkPolicy|AuthorizationPolicy}
    patch: |-
      $patch: delete
      apiVersion: v1
      kind: Any
      metadata: {name: any}
"""
# kubectl where there are pods: they are made up, all else is the cluster's.
DOUBLE = """#!/usr/bin/env bash
case "$*" in
  *"get pods"*) echo pod/old; echo pod/new ;;
  *"port-forward pod/new :8080"*) echo "Forwarding from 127.0.0.1:{port} -> 8080"; sleep 60 ;;
  *port-forward*) echo "no such pod" >&2; exit 1 ;;
  *) exec {kubectl} "$@" ;;
esac
"""


@pytest.fixture
def site(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie, tmp_path: Path
) -> Iterator[Site]:
    """Give a project whose dev is a namespace of its own; the model of its last run is released."""
    require("inferenceservices")
    namespace = f"models-{uuid.uuid4().hex[:8]}"
    with restored(life(request.param, template, copie_session).project) as project:
        without_hooks(project)
        made = Site(project, "", tmp_path / "stores")
        overlay = project.path / "serving/deploy/overlays/dev/kustomization.yaml"
        text = overlay.read_text("utf-8").replace("models-dev", namespace)
        overlay.write_text(text + ALONE.lstrip("\n"), encoding="utf-8")
        made.configure("dev", model_store=str(made.stores / "dev/models"))
        made.mount("dev")
        project.make("run").succeeded()
        release(made, trained(project))
        try:
            yield made
        finally:
            delete = ["delete", "inferenceservice", "my-model", "--ignore-not-found"]
            subprocess.run([kubectl(), f"--namespace={namespace}", *delete], check=True)
            git(project.path, "config", "--unset", "core.hooksPath")


def release(site: Site, model: str) -> None:
    """Release a model as `make release` does, with an image that no registry is asked about."""
    site.project.python(
        f"""
import sys
from tools import release
release.image_of = lambda *_: {IMAGE!r}
release.release("dev", {model!r}, "")
"""
    ).succeeded()


def ready(site: Site, url: str = "", **condition: str) -> None:
    """Say what KServe would say of the InferenceService."""
    status: dict[str, Any] = {"conditions": [{"type": "Ready", "status": "True", **condition}]}
    if url:
        status["url"] = url
    patch = ["patch", "inferenceservice", "my-model", "--subresource=status", "--type=merge"]
    subprocess.run(
        [kubectl(), f"--namespace={namespace(site)}", *patch, "-p", json.dumps({"status": status})],
        check=True,
        capture_output=True,
    )


def namespace(site: Site) -> str:
    """Return the namespace of the overlay."""
    text = (site.project.path / "serving/deploy/overlays/dev/kustomization.yaml").read_text("utf-8")
    return text.partition("namespace: ")[2].split()[0]


def url_of(server: Running) -> str:
    """Return where a server listens."""
    return f"http://127.0.0.1:{server.port}"


def champion(site: Site) -> str:
    """Return the model that the store of dev says is in use."""
    file = site.stores / "dev/models/champion.json"
    if not file.exists():
        return ""
    content: dict[str, str] = json.loads(file.read_text("utf-8"))
    return content["model_id"]


def test_a_deployment(site: Site, tmp_path: Path) -> None:
    """The overlay is applied, KServe waited for, the server asked, and its model the champion."""
    model = trained(site.project)
    site.make("smoke", "ENV=dev").failed("nothing is deployed in dev", "make deploy ENV=dev")
    first = site.make("deploy", "ENV=dev", "WAIT=1").failed("KServe has not looked")
    assert "no release before it" in first.err
    assert champion(site) == ""
    found = json.loads(
        subprocess.check_output(
            [
                kubectl(),
                f"--namespace={namespace(site)}",
                "get",
                "inferenceservice",
                "-ojson",
                "--show-managed-fields",
            ]
        )
    )["items"]
    (container,) = found[0]["spec"]["predictor"]["containers"]
    assert container["image"] == IMAGE
    assert found[0]["metadata"]["managedFields"][0]["manager"] == "my-model"
    ready(site, status="False", message="no ducks here")
    site.make("deploy", "ENV=dev", "WAIT=1").failed("Ready: no ducks here", "describe")
    with serving(site.project.path, "--env", "dev", "--run", model) as server:
        ready(site, url_of(server))
        done = site.make("deploy", "ENV=dev").succeeded()
        assert f"serves model {model}" in done.out
        assert champion(site) == model
        site.make("smoke", "ENV=dev").succeeded()
        assert "yes" in site.make("releases").succeeded().out

        answers(site, model, probability=0.5)
        done = site.make("smoke", "ENV=dev")
        done.failed(f"serves model {model}, and does not answer as it should", "row 0", "0.5")

        other = site.retrain(2.0)
        release(site, other)
        done = site.make("deploy", "ENV=dev", "WAIT=1")
        done.failed(f"serves model {model}, and {other} is released", "make rollback ENV=dev")
        # KServe was ready all the time, with the model before.
        assert champion(site) == model

        ready(site, "http://127.0.0.1:9")
        git(site.project.path, "revert", "--no-edit", "HEAD")
        (site.stores / f"dev/models/{model}/answers-{'1' * 12}.json").unlink()
        double = tmp_path / "kubectl"
        double.write_text(DOUBLE.format(port=server.port, kubectl=kubectl()), encoding="utf-8")
        double.chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{machine()['PATH']}"
        done = site.project.make("smoke", "ENV=dev", PATH=path).succeeded()
        assert "newest pod" in done.err
        assert "this checkout's are expected" in done.err
        double.write_text(
            DOUBLE.replace("pod/new :", "pod/newer :").format(port=1, kubectl=kubectl())
        )
        site.project.make("smoke", "ENV=dev", PATH=path).failed("no such pod", "URL=")


def answers(site: Site, model: str, probability: float) -> None:
    """Change what is kept of the model's answers."""
    (file,) = (site.stores / f"dev/models/{model}").glob("answers-*.json")
    content = json.loads(file.read_text("utf-8"))
    name = next(key for key in content["predictions"][0] if key != "answer")
    content["predictions"][0][name] = probability
    file.write_text(json.dumps(content), encoding="utf-8")


def test_a_canary(site: Site) -> None:
    """Its model is no champion before it gets all requests; with none of them, nobody asks it."""
    model = trained(site.project)
    overlay = "serving/deploy/overlays/dev/inference-service.yaml"
    mode = "metadata:\n  annotations: {serving.kserve.io/deploymentMode: Knative}"
    site.project.edit(overlay, "metadata:", mode)
    site.project.edit(overlay, "scaleMetric: cpu", "scaleMetric: concurrency")
    site.project.edit(overlay, "  predictor:", "  predictor:\n    canaryTrafficPercent: 0")
    commit(site.project.path, "A canary")
    site.make("deploy", "ENV=dev", "WAIT=1").failed("KServe has not looked")
    ready(site, "http://127.0.0.1:9")
    assert "0 of 100" in site.make("deploy", "ENV=dev").succeeded().out
    site.project.edit(overlay, "canaryTrafficPercent: 0", "canaryTrafficPercent: 20")
    commit(site.project.path, "Some requests")
    with serving(site.project.path, "--env", "dev", "--run", model) as server:
        done = site.make("deploy", "ENV=dev", f"URL={url_of(server)}").succeeded()
    assert f"serves model {model}" in done.out
    assert "20 of 100" in done.out
    assert champion(site) == ""


def test_a_laptop_is_asked(site: Site) -> None:
    """Without a cluster: the server of `make serve`, by its URL; what is released, is compared."""
    model = trained(site.project)
    site.make("smoke").failed("make release")
    site.make("release", f"RUN={model}").succeeded()
    site.make("smoke", "URL=http://127.0.0.1:9").failed("nothing answers", "127.0.0.1:9")
    site.make("smoke", "URL=duck").failed("duck", "http://")
    with serving(site.project.path) as server:
        done = site.make("smoke", f"URL={url_of(server)}").succeeded()
        assert f"serves model {model}" in done.out
    (site.project.path / f"artifacts/models/{model}/sample.json").rename(site.stores / "sample")
    try:
        site.make("smoke").failed(model, "without a sample", "steps/evaluate")
    finally:
        (site.stores / "sample").rename(site.project.path / f"artifacts/models/{model}/sample.json")


def test_a_deployment_that_cannot_be(site: Site, tmp_path: Path) -> None:
    """What is not committed, a store without the model, a cluster that says no or nothing."""
    deploy = ("deploy", "ENV=dev", "WAIT=1")
    nobody = kubeconfig(tmp_path / "nobody", "http://127.0.0.1:9")
    site.project.make(*deploy, KUBECONFIG=str(nobody)).failed("dev", "does not answer")
    with served(Cluster(refusals={"": (403, 'User "me" cannot do this')})) as cluster:
        forbidden = kubeconfig(tmp_path / "forbidden", cluster.url)
        site.project.make(*deploy, KUBECONFIG=str(forbidden)).failed("you may not")
    ready_to_conflict(site)
    site.make(*deploy).failed("conflict", "make diff ENV=dev")
    site.project.edit(
        "serving/deploy/overlays/dev/inference-service.yaml", "timeout: 30", "timeout: 31"
    )
    site.make(*deploy).failed("not committed", "dev/inference-service.yaml")
    commit(site.project.path)
    (site.stores / f"dev/models/{trained(site.project)}/record.json").unlink()
    site.make(*deploy).failed(
        trained(site.project), "not in its model store", "make release ENV=dev"
    )
    site.make("deploy", "ENV=prod").failed("nothing is released in prod")


def ready_to_conflict(site: Site) -> None:
    """Have somebody else set what the overlay sets."""
    objects = subprocess.check_output(
        [kubectl(), "kustomize", site.project.path / "serving/deploy/overlays/dev"], text=True
    )
    subprocess.run(
        [kubectl(), "apply", "--server-side", "--field-manager=somebody", "--filename=-"],
        input=objects.replace("timeout: 30", "timeout: 60"),
        check=True,
        capture_output=True,
        text=True,
    )


def test_a_release_that_does_not_serve(site: Site, tmp_path: Path) -> None:
    """What was before is deployed again, at once; git is told by a pull request."""
    model = trained(site.project)
    first = site.make("deliver", "ENV=dev", "WAIT=1")
    first.failed(model, "does not serve in dev", "no release is before it", "KServe has not looked")
    assert not site.project.proposal
    with serving(site.project.path, "--env", "dev", "--run", model) as server:
        ready(site, url_of(server))
        site.make("deliver", "ENV=dev").succeeded()
        other = site.retrain(2.0)
        base = site.head.strip()
        release(site, other)
        site.make("deliver", "ENV=dev", "SINCE=nowhere").failed("no commit 'nowhere'", "SINCE")
        # As on main: what was released just now is a commit that nobody else has.
        done = site.make("deliver", "ENV=dev", "WAIT=1", f"SINCE={base}")
        done.failed(f"{other} does not serve in dev, which is back at {model}")
        assert f"serves model {model}" in done.out
    assert site.released("dev")["takes_back"] == other
    said = site.project.proposal
    assert said["title"] == f"Roll back dev to {model}\n"
    assert f"{other} was deployed in dev and did not serve" in said["body.md"]
    released, back = site.project.unpack(base, tmp_path / "clone").splitlines()
    assert released.startswith(f"Release {other}")
    assert back == f"Roll back dev to {model}"

    # Nobody is there to go back to: nothing is committed, and nothing is proposed.
    release(site, other)
    head = site.head
    done = site.make("deliver", "ENV=dev", "WAIT=1")
    done.failed(f"{other} does not serve in dev", "going back failed too")
    site.nothing_happened(head)
    assert not site.project.proposal
