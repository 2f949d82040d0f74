"""Terraform: both modules behind one interface, what they refuse, and AWS's made for real."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from apiserver import missing
from conftest import Template, git
from projects import Done, Generated, life, restored
from pytest_copie.plugin import Copie

from scripts.render import answers, names
from scripts.repository import ROOT

MODULES = ROOT / "template/infra/modules"
CLOUDS = {"aws": "eks", "gcp": "gke"}
CHECKOV = "checkov==3.3.30"
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
# What checkov asks for and is not given, and why.
EXCEPTIONS = {
    "CKV2_AWS_11": "flow logs are paid by volume: who has to keep them adds one beside the module",
    "CKV2_AWS_61": "both buckets have a lifecycle: checkov does not follow an index of for_each",
    "CKV2_AWS_62": "nothing listens to what is written: pipelines say themselves what they did",
    "CKV2_AWS_69": "require_secure_transport is ON: checkov does not follow for_each to the group",
    "CKV_AWS_18": "CloudTrail says who read what, if the account has it for data",
    "CKV_AWS_39": "public is false unless it is asked for, and never for the whole world",
    "CKV_AWS_109": "a key's own policy: its resource is always itself, and the account decides",
    "CKV_AWS_111": "a key's own policy: its resource is always itself, and the account decides",
    "CKV_AWS_118": "metrics of a database that holds no data of users are enough by the minute",
    "CKV_AWS_133": "backup_retention_period is 1 at least: checkov does not follow for_each",
    "CKV_AWS_144": "one region: what is lost with it is made again from code and data",
    "CKV_AWS_157": "high_availability is an input: a second database costs as much again",
    "CKV_AWS_163": "scan is an input, and true unless it is said otherwise",
    "CKV_AWS_353": "not to be had on the small class, and being retired by AWS",
    "CKV_AWS_356": "a key's own policy: its resource is always itself, and the account decides",
    "CKV_AWS_358": "the repository is told by its numbers; the subject begins with its name",
    "CKV_GCP_6": "ssl_mode is ENCRYPTED_ONLY, which took the place of what checkov looks for",
    "CKV_GCP_12": "ADVANCED_DATAPATH enforces network policies by itself, and refuses this setting",
    "CKV_GCP_62": "Cloud Audit Logs take the place of a bucket's own log",
    "CKV_GCP_65": "a group needs an organisation's domain: who has one adds it to the cluster",
    "CKV_GCP_66": "what runs is decided by the digest a release names, on either cloud",
    "CKV_GCP_125": "it looks for names; the owner is told by its number, and by role the repository",
    "CKV_GCP_78": "versioning is an input, and true unless it is said otherwise",
}
# What moto does not have: exercised by `terraform test`, and listed in docs as never applied.
LEFT_OUT = {
    "aws_eks_access_entry.admins": "for_each = toset([])",
    "aws_eks_addon.before_nodes": "for_each = toset([])",
    "aws_eks_addon.after_nodes": "for_each = toset([])",
    "aws_eks_pod_identity_association.workload": "for_each = {}",
    "aws_eks_pod_identity_association.system": "for_each = {}",
    # A minute each.
    "aws_s3_bucket_lifecycle_configuration.artifact_store": "count = 0",
    "aws_s3_bucket_lifecycle_configuration.model_store": "count = 0",
}
# What it takes, and does not give back.
FORGOTTEN = {
    "aws_eks_cluster.this": "access_config, upgrade_policy",
    "aws_eks_node_group.this": "scaling_config[0].desired_size, update_config",
    "aws_launch_template.nodes": "tag_specifications",
}
PROVIDER = """
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  s3_use_path_style           = true
}
"""
BACKEND = """
terraform {
  backend "s3" {
    use_lockfile                = true
    encrypt                     = true
    skip_credentials_validation = true
    skip_metadata_api_check     = true
    skip_requesting_account_id  = true
    use_path_style              = true
  }
}
"""


def blocks(module: str, file: str) -> dict[str, str]:
    """Read the variables or outputs of a module."""
    text = (MODULES / module / file).read_text("utf-8")
    return {name: body for _, name, body in BLOCK.findall(text)}


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Terraform, which the test needs."""
    if not shutil.which("terraform"):
        missing("terraform is not installed: https://developer.hashicorp.com/terraform/install")
    command = ["terraform", arguments[0], *arguments[1:]]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy both modules and get their providers."""
    target = tmp_path_factory.mktemp("infra") / "modules"
    shutil.copytree(MODULES, target)
    for module in CLOUDS.values():
        done = terraform(target / module, "init", "-backend=false", "-input=false", "-no-color")
        if done.returncode != 0:
            missing(f"Terraform's providers cannot be had: {done.stderr}")
    return target


def test_one_interface() -> None:
    """Inputs are the same to the letter; outputs have the same names, descriptions and fields."""
    eks, gke = (MODULES / name / "variables.tf" for name in ("eks", "gke"))
    assert eks.read_text("utf-8") == gke.read_text("utf-8")
    ours, theirs = blocks("eks", "outputs.tf"), blocks("gke", "outputs.tf")
    assert list(ours) == list(theirs)
    for name, body in ours.items():
        described = re.findall(r"description = .*", body)
        assert described == re.findall(r"description = .*", theirs[name])
        fields = re.findall(r"^ +(\w+) += ", body, re.MULTILINE)
        assert fields == re.findall(r"^ +(\w+) += ", theirs[name], re.MULTILINE), name


def test_every_rule_names_its_variable() -> None:
    """Whoever is refused knows which input it is about."""
    for name, body in blocks("eks", "variables.tf").items():
        messages = re.findall(r'error_message = "(.*)"', body)
        assert len(messages) == body.count("validation {"), name
        assert all(re.match(rf"{name}[.:]", message) for message in messages), name


def test_format(modules: Path) -> None:
    """Terraform's own formatter changes nothing."""
    done = terraform(modules, "fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", CLOUDS.values())
def test_module(module: str, modules: Path) -> None:
    """It is valid, and its own tests pass: defaults, options, and what it refuses."""
    done = terraform(modules / module, "validate", "-no-color")
    assert done.returncode == 0, done.stderr
    done = terraform(modules / module, "test", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.stdout)


@pytest.mark.parametrize("flavour", [n for n in names() if answers(n).get("cloud_targets")])
def test_roots(flavour: str, template: Template, tmp_path: Path) -> None:
    """A project has the roots of its clouds and no other; each is valid."""
    project = template.render(tmp_path / "project", **answers(flavour))
    chosen = answers(flavour)["cloud_targets"]
    roots = sorted(path.parent for path in project.glob("infra/*/**/versions.tf"))
    roots = [root for root in roots if "modules" not in root.parts]
    assert sorted({root.name for root in roots}) == sorted(chosen)
    assert len(roots) == 3 * len(chosen)
    assert terraform(project / "infra", "fmt", "-check", "-recursive").returncode == 0
    for root in roots:
        done = terraform(root, "init", "-backend=false", "-input=false", "-no-color")
        if done.returncode != 0:
            missing(f"Terraform's providers cannot be had: {done.stderr}")
        done = terraform(root, "validate", "-no-color")
        assert done.returncode == 0, f"{root}: {done.stderr}"


def test_no_cloud_no_terraform(default_project: Path) -> None:
    """A project that chose none has nothing of it."""
    assert not (default_project / "infra").exists()
    assert not (default_project / "tools/terraform.py").exists()
    assert "infra-plan" not in (default_project / "Makefile").read_text("utf-8")


def test_checkov() -> None:
    """It finds nothing that has no written reason, and every reason is still needed."""
    command = ["uv", "tool", "run", "--quiet", "--from", CHECKOV, "checkov", "--skip-download"]
    options = ["--framework", "terraform", "--quiet", "--compact", "--output", "json"]
    done = subprocess.run(
        [*command, *options, "--directory", str(MODULES.parent)],
        check=False,
        capture_output=True,
        text=True,
    )
    if not done.stdout.strip().startswith(("{", "[")):
        missing(f"{CHECKOV} cannot be had: {done.stderr}")
    failed = json.loads(done.stdout)["results"]["failed_checks"]
    found = {check["check_id"]: check for check in failed}
    assert {name: f["resource"] for name, f in found.items() if name not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) <= set(found), "a reason that nothing needs"


def override(project: Path) -> None:
    """Leave out what moto does not have."""
    lines = [
        f'resource "{kind}" "{name}" {{\n  {how}\n}}'
        for each, how in LEFT_OUT.items()
        for kind, name in [each.split(".")]
    ]
    lines += [
        f'resource "{kind}" "{name}" {{\n  lifecycle {{\n    ignore_changes = [{what}]\n  }}\n}}'
        for each, what in FORGOTTEN.items()
        for kind, name in [each.split(".")]
    ]
    (project / "infra/modules/eks/moto_override.tf").write_text("\n".join(lines))
    # It has no TLS, which the policy asks for.
    policy = 'resource "aws_s3_bucket_policy" "state" {\n  count = 0\n}\n'
    (project / "infra/bootstrap/aws/moto_override.tf").write_text(PROVIDER + policy)
    for env in ("nonprod", "prod"):
        root = project / f"infra/environments/{env}/aws"
        (root / "moto_override.tf").write_text(PROVIDER + BACKEND)


@pytest.fixture(scope="module")
def aws(request: pytest.FixtureRequest) -> dict[str, str]:
    """The AWS API that the surroundings name, which must not be a real one."""
    url = os.environ.get("AWS_ENDPOINT_URL", "") or os.environ.get("AWS_API", "")
    if not re.match(r"http://(127\.0\.0\.1|localhost)[:/]", url):
        missing("AWS_ENDPOINT_URL names no stand-in for AWS on this machine")
    keys = dict.fromkeys(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], "test")
    config = {k: os.environ[k] for k in ["TF_CLI_CONFIG_FILE"] if k in os.environ}
    return {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", **keys, **config}


@pytest.fixture
def eks(template: Template, copie: Copie) -> Iterator[Generated]:
    """Give a project on AWS, with what moto does not have left out."""
    with restored(life("eks", template, copie).project) as project:
        override(project.path)
        yield project


@pytest.mark.project
@pytest.mark.xdist_group("eks")
def test_what_is_missing_is_named(eks: Generated, aws: dict[str, str]) -> None:
    """Neither tools, places, names nor credentials are guessed."""
    eks.make("infra-plan", "ENV=nonprod", **aws).failed("backend.hcl")
    eks.make("infra-plan", "ENV=dev", **aws).failed("ENV=dev")
    eks.make("infra-plan", "CLOUD=azure", **aws).failed("CLOUD=azure")
    eks.make("infra-destroy", "ENV=prod", "NAME=other", **aws).failed("NAME=other")


@pytest.mark.project
@pytest.mark.xdist_group("eks")
def test_aws(eks: Generated, aws: dict[str, str]) -> None:
    """A cluster is made, is as it says, is guarded, tells the environments, and goes."""
    project = eks
    made: dict[str, float] = {}

    def verb(name: str, env: str, *more: str) -> Done:
        start = time.monotonic()
        done = project.make(f"infra-{name}", f"ENV={env}", *more, **aws)
        made[f"{name} {env}"] = time.monotonic() - start
        return done

    verb("apply", "bootstrap", "YES=1").succeeded()
    applied = verb("apply", "nonprod", "YES=1").succeeded()
    assert "nothing to apply" in verb("plan", "nonprod").succeeded().out
    verb("config", "nonprod").succeeded()
    for env in ("dev", "staging"):
        file = project.path / f"config/environments/{env}.yaml"
        values = yaml.safe_load(file.read_text("utf-8"))
        assert values["context"] == "my-model-nonprod"
        assert values["registry"].endswith(".dkr.ecr.us-east-1.amazonaws.com/my-model-nonprod")
        assert re.match(rf"s3://my-model-nonprod-models-\d+/{env}/models", values["model_store"])
    main = "infra/environments/nonprod/aws/main.tf"
    given = '  network = { services_cidr = "172.21.0.0/20" }\n  deletion_protection ='
    project.edit(main, "  deletion_protection =", given)
    for name in ("plan", "apply"):
        refused = verb(name, "nonprod", "YES=1").failed("replace the cluster")
        assert "module.cluster.aws_eks_cluster.this" in refused.err
    fewer = given.replace(given.splitlines()[0], "  node_pools = { system = { min = 1, max = 2 } }")
    project.edit(main, given, fewer)
    verb("plan", "nonprod").failed("delete the pool", 'aws_eks_node_group.this["gpu"]')
    verb("destroy", "prod").failed("NAME=my-model")
    git(project.path, "checkout", "--quiet", "--", main)
    verb("destroy", "nonprod", "YES=1").succeeded()
    left = project.path / "infra/environments/nonprod/aws"
    listed = subprocess.run(
        ["terraform", "state", "list"],
        cwd=left,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | aws,
    )
    assert listed.stdout == ""
    resources = re.search(r"(\d+) added", applied.out)
    assert resources
    assert int(resources[1]) > 50
    seconds = ", ".join(f"{name} {took:.0f} s" for name, took in made.items())
    print(f"\nAWS: {resources[1]} resources; {seconds}; left out: {', '.join(LEFT_OUT)}")
