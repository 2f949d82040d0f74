"""`make on-kind`: the components at the versions that a project is made for, and what it applies.

On a cluster of kind that is made for this and thrown away: KServe's and Trainer's own webhooks and
controllers judge what a plain API server lets pass. No image is pulled and no model served.

This needs a cluster and the components' manifests, so it runs in .github/workflows/kind.yml; the
tests of this repository only see which commands it gives.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from scripts import screen
from scripts.render import generate
from scripts.screen import Refused

RELEASES = "https://github.com/{}/releases/download/{}/{}"
KUSTOMIZATION = "https://github.com/{}/{}?ref={}&timeout=300s"
CERT_MANAGER = "v1.17.0"
KFP = "2.17.0"
KSERVE = "v0.20.0"
TRAINER = "v2.3.0"
STANDARD = {"data": {"deploy": json.dumps({"defaultDeploymentMode": "Standard"})}}
SERVER_SIDE = ("apply", "--server-side", "--force-conflicts")
WAIT = "--timeout=600s"
# What a release would have written; nothing of it is looked for.
RELEASE = {
    "model_uri": "s3://nowhere/models/0123456789e1",
    "model": "0123456789e1",
    "sha256": "0123456789e1" + "7" * 52,
    "image": f"registry.invalid/my-model-serving@sha256:{'5' * 64}",
    "run": "none",
    "metrics": "{}",
    "released_at": "2026-11-22T00:00:00+00:00",
    "released_by": "make on-kind",
    "reason": "to be applied",
}


def on_kind(
    flavour: Annotated[str, typer.Option(envvar="FLAVOUR", help="A file of flavours/.")] = "laptop",
) -> None:
    """Install the components, and apply what a flavour generates."""
    context = kubectl("config", "current-context").strip()
    if not context.startswith("kind-"):
        raise Refused(f"The cluster is {context}: this is for one that kind makes and throws away.")
    for command in installation():
        screen.say(f"kubectl {' '.join(command)}")
        kubectl(*command)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        generate(flavour, project)
        places = [*kustomizations(project)]
        for namespace, place in places:
            screen.say(f"{place.relative_to(project)} in {namespace}")
            apply(namespace, place)
        # The controller has taken the model, and so has the webhook.
        for namespace in [namespace for namespace, place in places if "overlays" in place.parts]:
            made = ("--for=create", "deployment", "--selector=app=isvc.my-model-predictor")
            kubectl("wait", f"--namespace={namespace}", *made, WAIT)
    screen.what_next(f"The cluster of {context} took all that {flavour} applies.")


def installation() -> Iterator[tuple[str, ...]]:
    """Give the commands that install the components, each of which waits for the one before."""
    cert_manager = RELEASES.format("cert-manager/cert-manager", CERT_MANAGER, "cert-manager.yaml")
    yield (*SERVER_SIDE, f"--filename={cert_manager}")
    yield ready("cert-manager")
    pipelines = "kubeflow/pipelines", "manifests/kustomize"
    for part in ("cluster-scoped-resources", "env/platform-agnostic"):
        place = KUSTOMIZATION.format(pipelines[0], f"{pipelines[1]}/{part}", KFP)
        yield (*SERVER_SIDE, f"--kustomize={place}")
    yield ("create", "namespace", "kserve")
    for file in ("kserve-crds.yaml", "kserve.yaml"):
        yield (*SERVER_SIDE, f"--filename={RELEASES.format('kserve/kserve', KSERVE, file)}")
    patch = ("patch", "configmap", "inferenceservice-config", "--namespace=kserve")
    yield (*patch, "--type=merge", f"--patch={json.dumps(STANDARD)}")
    yield ("rollout", "restart", "deployment/kserve-controller-manager", "--namespace=kserve")
    place = KUSTOMIZATION.format("kubeflow/trainer", "manifests/overlays/manager", TRAINER)
    yield (*SERVER_SIDE, f"--kustomize={place}")
    for namespace in ("kubeflow", "kserve", "kubeflow-system"):
        yield ready(namespace)


def ready(namespace: str) -> tuple[str, ...]:
    """Give the command that waits for all of a namespace."""
    every = ("deployment", "--all", f"--namespace={namespace}")
    return ("wait", "--for=condition=Available", *every, WAIT)


def kustomizations(project: Path) -> Iterator[tuple[str, Path]]:
    """Give what a project applies, and where; overlays are given a release first.

    What is for Prometheus' operator is left out: it is not installed.
    """
    yield "kubeflow", project / "platform/access"
    for overlay in sorted(project.glob("serving/deploy/overlays/*")):
        settings = yaml.safe_load((overlay / "kustomization.yaml").read_text("utf-8"))
        (overlay / "release.yaml").write_text(release(), encoding="utf-8")
        yield settings["namespace"], overlay


def release() -> str:
    """Write a release as an overlay reads it."""
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "release",
            "annotations": {"config.kubernetes.io/local-config": "true"},
        },
        "data": RELEASE,
    }
    return yaml.safe_dump(content, sort_keys=False)


def apply(namespace: str, place: Path) -> None:
    """Apply a kustomization in a namespace, which is made if need be."""
    kubectl(*SERVER_SIDE, "--filename=-", given=namespaced(namespace))
    objects = kubectl("kustomize", str(place))
    kubectl(*SERVER_SIDE, f"--namespace={namespace}", "--filename=-", given=objects)


def namespaced(name: str) -> str:
    """Write a namespace."""
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Run kubectl, and return what it prints.

    Raises:
        Refused: it is not installed, or says no.
    """
    try:
        done = subprocess.run(
            ["kubectl", *arguments], input=given, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise Refused("kubectl is not installed: install it, then try again.") from None
    if done.returncode:
        raise Refused(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    screen.start(on_kind)
