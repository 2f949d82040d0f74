"""How the model is served on a cluster: what becomes of each overlay, and who accepts it."""

import copy
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from apiserver import NAMESPACE, ask, kubeconfig, kubectl, kustomized, missing, require
from conftest import Template, commit
from copier import VcsRef
from projects import Generated, flavour, machine
from test_access import DOUBLE, valid
from test_docs import commands

from scripts.render import answers, online

Object = dict[str, Any]

DEPLOY = "serving/deploy"
ENVS = ["dev", "staging", "prod"]
OVERLAYS = [(name, env) for name in online() for env in ENVS]
WATCHED = [
    name for name in online() if "monitoring" in answers(name).get("kubeflow_components", [])
]
NAME = "my-model"
CORE = {"v1", "policy/v1", "networking.k8s.io/v1"}
CUSTOM = {
    "AuthorizationPolicy": "authorizationpolicies.security.istio.io",
    "InferenceService": "inferenceservices.serving.kserve.io",
    "PodMonitor": "podmonitors.monitoring.coreos.com",
    "PrometheusRule": "prometheusrules.monitoring.coreos.com",
    "ServiceMonitor": "servicemonitors.monitoring.coreos.com",
}
PATCH = "inference-service.yaml"
SETTINGS = "kustomization.yaml"
RELEASE = {
    "model_uri": "s3://ducks/models/0123456789e1",
    # It could be read as a number.
    "model": "0123456789e1",
    "sha256": "0123456789e1" + "7" * 52,
    "image": f"ghcr.io/pond/my-model-serving@sha256:{'5' * 64}",
    "run": "20261122",
    "metrics": '{"roc_auc": 0.91}',
}
CHECKOV = "checkov==3.3.30"
# What checkov asks for and is not given, and why.
EXCEPTIONS = {
    "CKV_K8S_29": "Knative takes no security context of the pod; its container has one",
    "CKV_K8S_38": "Knative mounts what the service account says: nothing",
}


def release(project: Path, env: str, **changes: str) -> None:
    """Release something in an environment, as `make release` does."""
    content = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "release",
            "annotations": {"config.kubernetes.io/local-config": "true"},
        },
        "data": RELEASE | changes,
    }
    path = project / DEPLOY / "overlays" / env / "release.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def built(project: Path, env: str) -> list[Object]:
    """Build an overlay as kubectl does."""
    return kustomized(project / DEPLOY / "overlays" / env)


def one(objects: list[Object], kind: str, name: str = "") -> Object:
    """Return the only object of a kind."""
    (found,) = (o for o in objects if o["kind"] == kind and name in (o["metadata"]["name"], ""))
    return found


def container(objects: list[Object]) -> Object:
    """Return the model server's container."""
    (found,) = one(objects, "InferenceService")["spec"]["predictor"]["containers"]
    assert found["name"] == "kserve-container"
    return dict(found)


def mode(objects: list[Object]) -> str:
    """Return how KServe runs the model server."""
    service = one(objects, "InferenceService")
    return str(service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"])


def pod(objects: list[Object]) -> Object:
    """Make the pod that KServe makes of an InferenceService, but for what it adds itself."""
    service = one(objects, "InferenceService")
    # What KServe reads itself; all else is a pod's.
    own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}
    own.add("canaryTrafficPercent")
    spec = {key: value for key, value in service["spec"]["predictor"].items() if key not in own}
    labels = {"serving.kserve.io/inferenceservice": NAME}
    place = {key: service["metadata"][key] for key in ("name", "namespace")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": place | {"labels": labels},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Generate each flavour, something released in all environments: read it, do not change it."""
    projects = {}
    for name in online():
        target = tmp_path_factory.mktemp("overlays") / name
        projects[name] = template.render(target, **answers(name))
        for env in ENVS:
            release(projects[name], env)
    return projects


@pytest.fixture(scope="module")
def all_objects(rendered: dict[str, Path]) -> dict[tuple[str, str], list[Object]]:
    """Build every overlay of every flavour."""
    return {(name, env): built(rendered[name], env) for name, env in OVERLAYS}


@pytest.fixture(params=OVERLAYS, ids="-".join)
def objects(
    request: pytest.FixtureRequest, all_objects: dict[tuple[str, str], list[Object]]
) -> list[Object]:
    """Give what becomes of one overlay, to be changed."""
    return copy.deepcopy(all_objects[request.param])


def test_what_is_released_is_served(objects: list[Object]) -> None:
    """Image, model and its hash are the release's, which itself stays away from the cluster."""
    server = container(objects)
    environment = {each["name"]: each["value"] for each in server["env"]}
    assert server["image"] == RELEASE["image"]
    assert environment["STORAGE_URI"] == RELEASE["model_uri"]
    assert environment["MODEL_SHA256"] == RELEASE["sha256"]
    said = one(objects, "InferenceService")["metadata"]["annotations"]
    assert (said["model"], said["run"]) == (RELEASE["model"], RELEASE["run"])
    assert "ConfigMap" not in {each["kind"] for each in objects}


def test_an_overlay_is_merged_by_name(objects: list[Object]) -> None:
    """It sets resources and a variable, and all else of the container is as in the base."""
    server = container(objects)
    assert server["resources"]["limits"].keys() == {"cpu", "memory"}
    assert {each["name"] for each in server["env"]} == {"ACCESS_LOG", "MODEL_SHA256", "STORAGE_URI"}
    for part in ("readinessProbe", "livenessProbe", "securityContext", "volumeMounts", "ports"):
        assert server[part], part


def test_everything_is_in_one_namespace_and_named(objects: list[Object]) -> None:
    """What belongs together is found together; it is for the pods of this model alone."""
    (namespace,) = {each["metadata"].get("namespace") for each in objects}
    assert namespace.startswith("models-")
    assert all(each["metadata"]["labels"]["app.kubernetes.io/part-of"] == NAME for each in objects)
    for each in objects:
        selector = each["spec"].get("selector") if "spec" in each else None
        selector = each["spec"]["podSelector"] if each["kind"] == "NetworkPolicy" else selector
        if selector and each["metadata"]["name"] != f"{NAME}-payloads":
            assert selector == {"matchLabels": {"serving.kserve.io/inferenceservice": NAME}}


def test_who_may_ask(objects: list[Object]) -> None:
    """Named namespaces, and paths of this model only, whatever else begins as its name does."""
    for rule in one(objects, "AuthorizationPolicy")["spec"]["rules"]:
        (source,) = (each["source"] for each in rule["from"])
        assert source["namespaces"]
        assert "*" not in "".join(source["namespaces"])
        for path in rule["to"][0]["operation"]["paths"]:
            if "/models/" in path:
                assert re.fullmatch(rf"/v[12]/models/{NAME}(:\w+|/\*)?", path)
            else:
                assert path in {"/healthz", "/metrics", "/wait-for-drain"}
    for policy in (each for each in objects if each["kind"] == "NetworkPolicy"):
        for way_in in policy["spec"].get("ingress", []):
            assert way_in["from"]
            assert way_in["ports"]


def test_a_node_can_be_drained(objects: list[Object]) -> None:
    """Of any number of servers one may go; where it matters, there is another one then."""
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    least = one(objects, "InferenceService")["spec"]["predictor"]["minReplicas"]
    namespace = objects[0]["metadata"]["namespace"]
    assert least >= 2 or namespace != "models-prod"


def test_core_kinds_are_valid(objects: list[Object]) -> None:
    """By the schemas of Kubernetes, unknown keys included; so is the pod that comes of it."""
    core = [each for each in objects if each["apiVersion"] in CORE]
    assert {each["kind"] for each in core} == {
        "NetworkPolicy",
        "PodDisruptionBudget",
        "ServiceAccount",
    }
    valid([*core, pod(objects)])


def misspelled(name: str) -> Callable[[Object], None]:
    """Return what misspells a key of a specification, or adds a wrong one."""

    def change(broken: Object) -> None:
        spec = broken.get("spec", broken)
        spec[f"{name}s"] = spec.pop(name, None)

    return change


BROKEN_CORE: dict[str, Callable[[Object], Any]] = {
    "NetworkPolicy": misspelled("podSelector"),
    "PodDisruptionBudget": misspelled("selector"),
    "ServiceAccount": misspelled("automountServiceAccountToken"),
    "Pod": lambda pod: pod["spec"]["containers"][0].update(image=7),
}


def test_a_broken_core_kind_is_refused(objects: list[Object]) -> None:
    """The check above can fail, for each kind."""
    for kind, spoil in BROKEN_CORE.items():
        candidates = [pod(objects)] if kind == "Pod" else objects
        broken = copy.deepcopy(next(each for each in candidates if each["kind"] == kind))
        spoil(broken)
        with pytest.raises(kubernetes_validate.ValidationError):
            valid([broken])


def judged(each: Object) -> subprocess.CompletedProcess[str]:
    """Have the API server judge an object, strictly, and keep nothing."""
    here = each | {"metadata": each["metadata"] | {"namespace": NAMESPACE}}
    strictly = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    return ask(*strictly, content=here)


known = functools.cache(require)


def custom(objects: list[Object]) -> list[Object]:
    """Return the objects of kinds that are not Kubernetes' own; a server must know all of them."""
    found = [each for each in objects if each["apiVersion"] not in CORE]
    for each in found:
        known(CUSTOM[each["kind"]])
    return found


@pytest.mark.kubernetes
def test_the_api_server_accepts_it(objects: list[Object]) -> None:
    found = custom(objects)
    assert {"AuthorizationPolicy", "InferenceService"} <= {each["kind"] for each in found}
    for each in found:
        done = judged(each)
        assert done.returncode == 0, done.stderr


BROKEN_CUSTOM: dict[str, list[Callable[[Object], Any]]] = {
    "AuthorizationPolicy": [
        misspelled("rules"),
        lambda each: each["spec"].update(action="PERHAPS"),
    ],
    "InferenceService": [
        misspelled("predictor"),
        lambda each: each["spec"]["predictor"].update(minReplicas="two"),
        lambda each: each["spec"]["predictor"].update(scaleMetric="mood"),
        lambda each: each["spec"]["predictor"]["containers"][0].update(enviroment=[]),
    ],
    "PodMonitor": [misspelled("selector")],
    "PrometheusRule": [lambda each: each["spec"]["groups"][0]["rules"][0].pop("expr")],
    "ServiceMonitor": [misspelled("endpoints")],
}


@pytest.mark.kubernetes
@pytest.mark.parametrize("name", WATCHED)
def test_the_api_server_refuses_what_is_broken(
    all_objects: dict[tuple[str, str], list[Object]], name: str
) -> None:
    for each in custom(all_objects[name, "prod"]):
        for spoil in BROKEN_CUSTOM[each["kind"]]:
            broken = copy.deepcopy(each)
            spoil(broken)
            done = judged(broken)
            assert done.returncode != 0, f"{each['kind']}: {done.stdout}"
            assert "nvalid" in done.stderr or "unknown field" in done.stderr, done.stderr


def checkov(objects: list[Object], folder: Path) -> set[str]:
    """Return the checks of checkov's that objects fail."""
    folder.mkdir(exist_ok=True)
    # What belongs together is in one file: a pod, and the policies for it.
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    # It wants older packages than these tests do: an environment of its own.
    command = ["uv", "tool", "run", "--quiet", "--from", CHECKOV, "checkov"]
    command += ["--file", "objects.yaml", "--framework", "kubernetes", "--skip-download"]
    done = subprocess.run(
        [*command, "--output", "json", "--compact", "--quiet"],
        cwd=folder,
        env=machine(),
        check=False,
        capture_output=True,
        text=True,
    )
    if not done.stdout.startswith("{"):
        missing(f"{CHECKOV} cannot be had: {done.stderr}")
    report: Object = json.loads(done.stdout)
    assert report["summary"]["passed"] > 50
    return {check["check_id"] for check in report["results"]["failed_checks"]}


@pytest.mark.xdist_group("checkov")
@pytest.mark.parametrize("name", online())
def test_checkov(
    all_objects: dict[tuple[str, str], list[Object]], name: str, tmp_path: Path
) -> None:
    """It finds nothing but what has a reason; of a server with all rights it finds more."""
    found = []
    for env in ENVS:
        objects = copy.deepcopy(all_objects[name, env])
        found += [each for each in objects if each["apiVersion"] in CORE] + [pod(objects)]
    if mode(objects) == "Standard":
        assert checkov(found, tmp_path) == set()
        return
    assert checkov(found, tmp_path) == set(EXCEPTIONS)
    found[-1]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    assert {"CKV_K8S_16", "CKV_K8S_20", "CKV_K8S_22"} <= checkov(found, tmp_path)


# Per minute, for half an hour.
SERIES = {
    'model_requests_total{job="my-model",namespace="a",status="200"}': "0+90x30",
    'model_requests_total{job="my-model",namespace="a",status="500"}': "0+10x30",
    'model_requests_total{job="my-model",namespace="c",status="200"}': "0+90x30",
    'model_requests_total{job="my-model",namespace="d",status="200"}': "0+90x30",
    'model_requests_total{job="my-model",namespace="e",status="200"}': "0+90x30",
    'model_requests_total{job="my-model",namespace="b",status="422"}': "0+90x30",
    'model_requests_total{job="other",namespace="b",status="500"}': "0+90x30",
    'request_predict_seconds_bucket{job="my-model",namespace="a",le="1.0"}': "0+10x30",
    'request_predict_seconds_bucket{job="my-model",namespace="a",le="2.5"}': "0+20x30",
    'request_predict_seconds_bucket{job="my-model",namespace="a",le="+Inf"}': "0+20x30",
    'request_predict_seconds_bucket{job="my-model",namespace="b",le="1.0"}': "0+20x30",
    'request_predict_seconds_bucket{job="my-model",namespace="b",le="+Inf"}': "0+20x30",
    'up{job="my-model",namespace="a",pod="1"}': "1x10 0x20",
    'up{job="my-model",namespace="b",pod="1"}': "1x10 0x20",
    'up{job="my-model",namespace="b",pod="2"}': "1x30",
    'up{job="my-model",namespace="c",pod="1"}': "1x10 _x20",
    # The payload log: there and silent, all well, there and gone; `d` never had one.
    'up{job="my-model-payloads",namespace="a"}': "1x30",
    'up{job="my-model-payloads",namespace="c"}': "1x30",
    'up{job="my-model-payloads",namespace="e"}': "1x3 _x27",
    'payload_events_total{job="my-model-payloads",namespace="a",outcome="taken"}': "7x30",
    'payload_events_total{job="my-model-payloads",namespace="c",outcome="not sampled"}': "0+9x30",
    'payload_write_failures_total{job="my-model-payloads",namespace="a"}': "0+1x30",
    'payload_write_failures_total{job="my-model-payloads",namespace="c"}': "0x23 1x7",
    'payload_rows_lost_total{job="my-model-payloads",namespace="a"}': "0x20 50x10",
    'payload_rows_lost_total{job="my-model-payloads",namespace="c"}': "50x30",
}


@pytest.mark.parametrize("name", WATCHED)
def test_alerts(
    all_objects: dict[tuple[str, str], list[Object]], name: str, tmp_path: Path
) -> None:
    """Each calls for the environment that has the trouble, and for no other."""
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool is not installed (Debian: apt install prometheus)")
    objects = all_objects[name, "prod"]
    rules = one(objects, "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    expected = {
        "ModelServerFailing": "a",
        "ModelServerSlow": "a",
        "ModelPayloadsMissing": "ae",
        "ModelPayloadsUnwritten": "a",
        "ModelPayloadsLost": "a",
    }
    if mode(objects) == "Standard":
        # Where servers may come and go, none is no trouble.
        expected["ModelServerAbsent"] = "ac"
    alerts = {rule["alert"]: rule for rule in rules["groups"][0]["rules"]}
    assert alerts.keys() == expected.keys()
    called = [
        {
            "eval_time": "25m",
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": {"namespace": namespace, **alerts[name]["labels"]},
                    "exp_annotations": alerts[name]["annotations"],
                }
                for namespace in namespaces
            ],
        }
        for name, namespaces in expected.items()
    ]
    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    trial = {"interval": "1m", "input_series": series, "alert_rule_test": called}
    tests = {"rule_files": ["rules.yaml"], "tests": [trial]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    command = [promtool, "test", "rules", "tests.yaml"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_model_beside_it(template: Template, tmp_path: Path) -> None:
    """A team's own InferenceService in an overlay is left as the team wrote it."""
    project = template.render(tmp_path / "project")
    release(project, "dev")
    folder = project / DEPLOY / "overlays/dev"
    other = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "duck", "annotations": {"model": "ours"}},
        "spec": {"predictor": {"containers": [{"name": "kserve-container", "image": "duck"}]}},
    }
    (folder / "duck.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    settings = yaml.safe_load((folder / SETTINGS).read_text("utf-8"))
    settings["resources"].append("duck.yaml")
    (folder / SETTINGS).write_text(yaml.safe_dump(settings), encoding="utf-8")
    objects = built(project, "dev")
    assert one(objects, "InferenceService", "duck")["spec"] == other["spec"]
    ours = one(objects, "InferenceService", NAME)["spec"]["predictor"]["containers"]
    assert ours[0]["image"] == RELEASE["image"]


def test_nothing_is_left_over(template: Template, tmp_path: Path) -> None:
    """Without a model server nothing is there; without monitoring nothing needs its operator."""
    batch = template.render(tmp_path / "batch", serving_styles=["batch"])
    assert not (batch / DEPLOY).exists()
    assert not (batch / "docs/serving.md").exists()
    plain = template.render(tmp_path / "plain")
    release(plain, "dev")
    assert not (plain / DEPLOY / "monitoring").exists()
    kinds = {each["kind"] for each in built(plain, "dev")}
    assert not kinds & {"PodMonitor", "PrometheusRule", "ServiceMonitor"}


def test_an_overlay_can_be_changed_as_documented(template: Template, tmp_path: Path) -> None:
    """Without Istio, and with a cloud's identity, as docs/serving.md says."""
    project = template.render(tmp_path / "project")
    release(project, "dev")
    page = (project / "docs/serving.md").read_text("utf-8")
    patches = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    path = project / DEPLOY / "overlays/dev/kustomization.yaml"
    settings = yaml.safe_load(path.read_text("utf-8")) | patches
    settings["components"].remove("../../istio")
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    objects = built(project, "dev")
    assert "AuthorizationPolicy" not in {each["kind"] for each in objects}
    account = one(objects, "ServiceAccount")
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
    assert container(objects)["resources"]


def test_another_mode(draft: Template, tmp_path: Path) -> None:
    """The base changes, the overlays are the team's; nor do they go when nothing is served."""
    project = draft.project(tmp_path / "project")
    changed = project.update(VcsRef.CURRENT, serving_mode="Knative")
    assert f" M {DEPLOY}/base/inference-service.yaml" in changed
    assert "?? tools/canary.py" in changed
    assert not [line for line in changed if "/overlays/" in line]
    commit(project.path)
    changed = project.update(VcsRef.CURRENT, serving_styles=["batch"])
    assert f" D {DEPLOY}/base/inference-service.yaml" in changed
    assert not [line for line in changed if "/overlays/" in line]


LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
KNATIVE = pytest.mark.parametrize("project", [flavour("knative")], indirect=True)


@pytest.mark.project
@LAPTOP
@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (PATCH, "minReplicas: 1", "minReplicas: 0", ["minReplicas", "Knative", "wake"]),
        (PATCH, "minReplicas: 1", "minReplicas: 9", ["minReplicas is 9", "maxReplicas"]),
        (PATCH, "minReplicas: 1", 'minReplicas: "1"', ["minReplicas must be a number", "'1'"]),
        (PATCH, "scaleMetric: cpu", "scaleMetric: rps", ["cpu or memory", "not rps", "autoscaler"]),
        (PATCH, "timeout: 30", "canaryTrafficPercent: 9", ["canary", "Knative", "make update"]),
        (
            PATCH,
            "        env:",
            "        image: duck\n        env:",
            ["image is 'duck'", "patches"],
        ),
        (
            PATCH,
            "        resources:",
            "        $patch: delete\n        resources:",
            ["image is None"],
        ),
        (PATCH, "ACCESS_LOG", "MODEL_SHA256", ["sha256 is 'true'", "release.yaml"]),
        (PATCH, 'name: "my-model"', "name: duck", ["dev/kustomization.yaml", "cannot be built"]),
        (SETTINGS, "namespace: models-dev\n", "", ["namespace:", "dev/kustomization.yaml"]),
        (SETTINGS, "models-dev", "models-prod", ["dev and prod", "one namespace", "context"]),
        (SETTINGS, "models-dev", "d" * 60, ["characters too long", "63"]),
        (SETTINGS, "  - ../../release\n", "", ["image is 'none'", "../../release"]),
        (SETTINGS, "  - ../../base\n", "", ["dev/kustomization.yaml", "cannot be built"]),
        ("../../base/inference-service.yaml", "Standard", "Duck", ["Standard or Knative", "Duck"]),
        ("../../base/inference-service.yaml", "Standard", "Knative", ["not cpu", "requests"]),
    ],
)
def test_check_refuses(project: Generated, file: str, old: str, new: str, words: list[str]) -> None:
    """What cannot work on a cluster, released or not, with the reason and the way out."""
    kubectl()
    project.edit(f"{DEPLOY}/overlays/dev/{file}", old, new)
    for _ in range(2):
        project.make("check").failed("overlays:", *words)
        release(project.path, "dev")


@pytest.mark.project
@KNATIVE
def test_check_refuses_for_knative(project: Generated) -> None:
    kubectl()
    for metric in ("cpu", "memory"):
        path = f"{DEPLOY}/overlays/dev/{PATCH}"
        project.edit(path, "scaleMetric: concurrency", f"scaleMetric: {metric}")
        project.make("check").failed("concurrency or rps", metric, "requests")
        project.edit(path, f"scaleMetric: {metric}", "scaleMetric: concurrency")


@pytest.mark.project
@LAPTOP
def test_a_release_that_is_none(project: Generated) -> None:
    kubectl()
    path = project.path / DEPLOY / "overlays/dev/release.yaml"
    path.write_text("metadata: {}\n", encoding="utf-8")
    project.make("check").failed("overlays:", "dev")
    release(project.path, "dev", sha256="")
    project.edit(f"{DEPLOY}/overlays/dev/release.yaml", "data:", "dta:")
    project.make("diff", "ENV=dev").failed("dev")


@pytest.mark.project
@LAPTOP
def test_overlays_that_are_gone(project: Generated, tmp_path: Path) -> None:
    """A team may have deleted them, or serve no model any more; a machine may have no kubectl."""
    project.make("check", PATH=without_kubectl(tmp_path), CI=None).succeeded()
    project.make("check", PATH=without_kubectl(tmp_path), CI="1").failed("kubectl", "install")
    shutil.rmtree(project.path / DEPLOY / "base")
    project.make("check").succeeded()
    shutil.rmtree(project.path / DEPLOY / "overlays")
    project.make("check").succeeded()
    project.make("diff", "ENV=dev").failed("dev", "no overlay", "git")


def without_kubectl(folder: Path) -> str:
    """Return a PATH with what the verbs need, and no kubectl."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for tool in ("awk", "bash", "dirname", "git", "make", "uv"):
        found = subprocess.check_output(["which", tool], text=True, env=machine()).strip()
        if not (tools / tool).exists():
            (tools / tool).symlink_to(found)
    return str(tools)


@pytest.mark.project
@LAPTOP
def test_a_release_does_not_change_the_image(project: Generated) -> None:
    """The image's tag is of what it holds; what is released says which image, and is not in it."""
    tag = "from tools import images; print(images.tag('serving'))"
    before = project.python(tag).succeeded().out
    release(project.path, "prod")
    assert project.python(tag).succeeded().out == before
    held = "from tools import images; print(*images.context('serving'))"
    assert "deploy/" not in project.python(held).succeeded().out


@pytest.mark.project
@LAPTOP
def test_diff(project: Generated, tmp_path: Path) -> None:
    """It shows what a deployment would change, where the environment says, and changes nothing."""
    double = tmp_path / "kubectl"
    double.write_text(DOUBLE.format(kubectl=kubectl(), folder=tmp_path))
    double.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{machine()['PATH']}"
    project.make("diff", "ENV=dev", PATH=path).failed("nothing is released in dev", "make release")
    release(project.path, "dev")
    done = project.make("diff", "ENV=dev", PATH=path).succeeded()
    assert "+ a change" in done.out
    assert "make deploy ENV=dev" in done.out
    compared = yaml.safe_load_all((tmp_path / "diffed").read_text("utf-8"))
    assert list(compared) == built(project.path, "dev")
    assert not (tmp_path / "applied").exists()
    (tmp_path / "applied").touch()
    assert "Nothing to do" in project.make("diff", "ENV=dev", PATH=path).succeeded().out


@pytest.mark.project
@LAPTOP
def test_there_is_nothing_to_compare_with(project: Generated, tmp_path: Path) -> None:
    """An environment without an overlay, a cluster that does not answer, or lacks a kind."""
    kubectl()
    project.make("diff").failed("local", "dev, prod, staging")
    project.make("diff", "ENV=duck").failed("duck", "dev")
    release(project.path, "dev")
    nobody = kubeconfig(tmp_path / "nobody", "http://127.0.0.1:9")
    project.make("diff", "ENV=dev", KUBECONFIG=str(nobody)).failed("dev", "does not answer")
    double = tmp_path / "kubectl"
    said = 'error: no matches for kind "AuthorizationPolicy"\\nensure CRDs are installed first\\n'
    double.write_text(
        f'#!/usr/bin/env bash\n[[ $* == kustomize* ]] && exec {kubectl()} "$@"\n'
        f"[[ $* == *diff* ]] || exit 0\nprintf '{said}' >&2; exit 2\n"
    )
    double.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{machine()['PATH']}"
    project.make("diff", "ENV=dev", PATH=path).failed("AuthorizationPolicy", "docs/serving.md")


@pytest.mark.project
@KNATIVE
def test_canary(project: Generated) -> None:
    """A part of the requests, promoted, aborted: each a line of the overlay, for git to know."""
    kubectl()
    path = project.path / DEPLOY / "overlays/prod" / PATCH
    before = path.read_text("utf-8")
    for percent in (20, 100, 0):
        done = project.make("canary", "ENV=prod", f"PERCENT={percent}").succeeded()
        assert "make deploy ENV=prod" in done.out
        line = f"canaryTrafficPercent: {percent}"
        assert path.read_text("utf-8") == before.replace("canaryTrafficPercent: 100", line)
        release(project.path, "prod")
        predictor = one(built(project.path, "prod"), "InferenceService")["spec"]["predictor"]
        assert predictor["canaryTrafficPercent"] == percent
        project.make("check").succeeded()
    assert "already" in project.make("canary", "ENV=prod", "PERCENT=0").succeeded().out
    # An overlay of the time before the team chose Knative has no such line yet.
    path.write_text(before.replace("    canaryTrafficPercent: 100\n", ""), encoding="utf-8")
    project.make("canary", "ENV=prod", "PERCENT=5").succeeded()
    assert yaml.safe_load(path.read_text("utf-8"))["spec"]["predictor"] == {
        **yaml.safe_load(before)["spec"]["predictor"],
        "canaryTrafficPercent": 5,
    }


@pytest.mark.project
@KNATIVE
def test_no_canary(project: Generated) -> None:
    """Without a number, with one that is none, and where the line cannot be written."""
    project.make("canary", "ENV=prod").failed("PERCENT=20")
    for percent in ("101", "-1", "all"):
        project.make("canary", "ENV=prod", f"PERCENT={percent}").failed("percent")
    project.make("canary", "PERCENT=20").failed("local", "dev, prod, staging")
    path = project.path / DEPLOY / "overlays/prod" / PATCH
    for text in ("", "spec: {predictor: {}}\n", "a: [\n"):
        path.write_text(text, encoding="utf-8")
        project.make("canary", "ENV=prod", "PERCENT=20").failed("canaryTrafficPercent: 20", PATCH)
        assert path.read_text("utf-8") == text


@pytest.fixture
def followed(project: Generated, tmp_path: Path) -> tuple[Generated, str]:
    """Give a project with something released, and a cluster that answers."""
    double = tmp_path / "kubectl"
    double.write_text(DOUBLE.format(kubectl=kubectl(), folder=tmp_path))
    double.chmod(0o755)
    for env in ENVS:
        release(project.path, env)
    return project, f"{tmp_path}{os.pathsep}{machine()['PATH']}"


@pytest.mark.project
@pytest.mark.parametrize("project", [flavour("laptop"), flavour("knative")], indirect=True)
def test_the_page(followed: tuple[Generated, str]) -> None:
    """The commands of docs/serving.md, one after the other."""
    project, path = followed
    for line in filter(None, commands(project.path / "docs/serving.md").splitlines()):
        verb, *arguments = line.partition("#")[0].split()
        assert verb == "make"
        project.make(*arguments, PATH=path).succeeded()
