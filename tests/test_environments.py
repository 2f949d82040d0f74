"""Environments: each setting reaches the compiled pipeline, and a wrong one is named."""

from typing import Any

import pytest
import yaml
from projects import Generated, flavour

pytestmark = pytest.mark.project

LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
DEV = "config/environments/dev.yaml"

TRAIN = """\
steps:
  train:
    cpu: 2
    cpu_limit: 3.5
    memory: 4Gi
    accelerator: {type: nvidia.com/gpu, count: 2}
    node_selector: {pool: gpu, spot: "true"}
    tolerations:
      - {key: nvidia.com/gpu, effect: NoSchedule}
      - {key: team, operator: Equal, value: ours}
    retries: 3
    timeout: 2h
    env: {LOG_LEVEL: debug, THREADS: 4}
    secrets:
      - {name: warehouse, env: {DB_PASSWORD: password}}
      - {name: certificates, mount: /certificates}
    volumes:
      - {claim: features, mount: /features}
      - {scratch: 10Gi, mount: /scratch}
    cache: false
pull_secrets: [registry]
"""


def compiled(project: Generated, env: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compile the training pipeline for an environment: its specification and its platform's."""
    target = project.path / "artifacts" / "compiled.yaml"
    code = f"""
from kfp.compiler import Compiler
from tools.definition import load
from tools.project import project
Compiler().compile(load("training", project().environment({env!r})), {str(target)!r})
"""
    project.python(code).succeeded()
    pipeline, platform = yaml.safe_load_all(target.read_text("utf-8"))
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def replace_steps(project: Generated, text: str) -> None:
    """Put other settings of the steps into dev.yaml."""
    path = project.path / DEV
    head, _, tail = path.read_text("utf-8").partition("steps:\n")
    rest = tail.partition("\n\n")[2]
    path.write_text(f"{head}{text}\n{rest}", encoding="utf-8")


@LAPTOP
def test_each_setting_reaches_the_pipeline(project: Generated) -> None:
    """Of the step it is set for, and of no other."""
    replace_steps(project, TRAIN)
    pipeline, platform = compiled(project, "dev")
    executors = pipeline["deploymentSpec"]["executors"]
    # Beside these, KFP writes the same as numbers, for backends of before 2.4.
    asked = executors["exec-train"]["container"]["resources"]
    assert asked["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert asked["accelerator"]["resourceCount"] == "2"
    assert (asked["resourceCpuRequest"], asked["resourceCpuLimit"]) == ("2", "3.5")
    assert asked["resourceMemoryRequest"] == asked["resourceMemoryLimit"] == "4Gi"
    variables = {v["name"]: v["value"] for v in executors["exec-train"]["container"]["env"]}
    assert variables == {"LOG_LEVEL": "debug", "THREADS": "4"}
    task = pipeline["root"]["dag"]["tasks"]["train"]
    assert task["retryPolicy"]["maxRetryCount"] == 3
    assert not task["cachingOptions"].get("enableCache")
    given = platform["exec-train"]
    assert given["nodeSelector"]["labels"] == {"pool": "gpu", "spot": "true"}
    assert given["tolerations"] == [
        {"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "ours"},
    ]
    assert given["activeDeadlineSeconds"] == "7200"
    (secret,) = given["secretAsEnv"]
    assert secret["secretName"] == "warehouse"
    assert secret["keyToEnv"] == [{"envVar": "DB_PASSWORD", "secretKey": "password"}]
    assert given["secretAsVolume"][0]["mountPath"] == "/certificates"
    assert given["pvcMount"][0]["mountPath"] == "/features"
    assert given["emptyDirMounts"][0]["sizeLimit"] == "10Gi"
    assert platform["exec-ingest"].keys() == {"activeDeadlineSeconds", "imagePullSecret"}
    ingest = executors["exec-ingest"]["container"]
    assert ingest["resources"]["resourceCpuRequest"] == "500m"
    assert ingest["image"].startswith("ghcr.io/my-team/my-model-ingest:")


@LAPTOP
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("memory: 2Gi", "memory: 2 Gb", ["steps.train.memory", "2 Gb", "2Gi"]),
        ("cpu: 1\n", "cpu: -1\n", ["steps.train.cpu", "500m"]),
        ("cpu: 1\n", "cpus: 1\n", ["steps.train.cpus", "cpu"]),
        ("timeout: 1h", "timeout: 1 hour", ["every_step.timeout", "30m"]),
        ("retries: 1", "retries: many", ["every_step.retries"]),
        ("  train:", "  trian:", ["steps", "trian", "train"]),
        ("schedules: {}", "schedules: {retraining: {cron: 0 3 * * *}}", ["retraining", "training"]),
        ("schedules: {}", "schedules: {training: {cron: nightly}}", ["training.cron", "weekday"]),
        ("retries: 1", "secrets: [{name: db}]", ["secrets.0", "env", "mount"]),
        ("retries: 1", "volumes: [{mount: data, scratch: 1Gi}]", ["volumes.0.mount", "from /"]),
        ("retries: 1", "volumes: [{mount: /data}]", ["volumes.0", "claim", "scratch"]),
        ("namespace: kubeflow", "namespaces: kubeflow", ["namespaces", "namespace"]),
    ],
)
def test_a_wrong_value(project: Generated, old: str, new: str, words: list[str]) -> None:
    """`make check` names it, and says what to write instead."""
    project.edit(DEV, old, new)
    project.make("check").failed(DEV, *words)


@LAPTOP
def test_an_older_project(project: Generated) -> None:
    """The one environment of the first releases is all that is needed."""
    for name in ("dev", "staging", "prod"):
        (project.path / f"config/environments/{name}.yaml").unlink()
    (project.path / "config/environments/local.yaml").write_text(
        "artifact_root: artifacts\nmodel_store: artifacts/models\n", encoding="utf-8"
    )
    project.make("check", "run").succeeded()


@LAPTOP
def test_a_step_that_is_not_there(project: Generated) -> None:
    """A pipeline that imports it is told how to make one, and nothing runs."""
    project.edit("pipelines/training.py", "steps.train.component", "steps.fit.component")
    before = len(list(project.path.glob("artifacts/runs/*")))
    project.make("run").failed("pipelines/training.py", "steps.fit", "make step NAME=fit")
    assert len(list(project.path.glob("artifacts/runs/*"))) == before


@LAPTOP
def test_contracts_name_what_does_not_agree(project: Generated) -> None:
    """The failing name is printed."""
    project.edit("pipelines/training.py", "register_settings", "registry_settings")
    said = project.make("test", "ARGS=tests/contracts/test_steps.py")
    assert said.code != 0
    assert "registry" in said.said
