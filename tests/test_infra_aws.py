"""The verbs of Terraform: a stand-in for AWS made, told to the project, guarded, taken down."""

import json
import os
import re
import shutil
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto.eks.models
import pytest
import yaml
from apiserver import missing
from conftest import Template, commit, git
from moto.server import ThreadedMotoServer
from projects import Done, Generated, machine, ready, restored
from pytest_copie.plugin import Copie

pytestmark = [pytest.mark.terraform, pytest.mark.xdist_group("terraform")]

NONPROD = "infra/environments/nonprod/aws"
# What moto does not have: exercised by `terraform test`, and listed in docs as never applied.
LEFT_OUT = {
    "aws_eks_access_entry.admins": "for_each = toset([])",
    "aws_eks_access_entry.ci": "for_each = {}",
    "aws_eks_addon.before_nodes": "for_each = toset([])",
    "aws_eks_addon.after_nodes": "for_each = toset([])",
    "aws_eks_pod_identity_association.workload": "for_each = {}",
    "aws_eks_pod_identity_association.system": "for_each = {}",
    # A minute each.
    "aws_s3_bucket_lifecycle_configuration.artifact_store": "count = 0",
    "aws_s3_bucket_lifecycle_configuration.model_store": "count = 0",
}
NOT_BOOTSTRAPPED = ("aws_s3_bucket_policy", "aws_s3_bucket_versioning")
# What it takes, and does not give back.
FORGOTTEN = {
    "aws_eks_cluster.this": "access_config, upgrade_policy",
    "aws_eks_node_group.this": "scaling_config[0].desired_size, update_config",
    "aws_launch_template.nodes": "tag_specifications",
}
# As nonprod has it, and as prod does where nonprod is in another account.
PROMOTION = """
promotion = {
  readers = ["arn:aws:iam::210987654321:role/my-model-prod-ci"]
  source = {
    model_store = "s3://other-nonprod-models-210987654321"
    registry    = "210987654321.dkr.ecr.us-east-1.amazonaws.com/other-nonprod"
  }
}
"""
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
    lines.append('data "aws_eks_addon_version" "this" {\n  for_each = toset([])\n}')
    (project / "infra/modules/eks/moto_override.tf").write_text("\n".join(lines))
    # It has no TLS, which the policy asks for, and cannot empty a bucket that has versions.
    without = (f'resource "{kind}" "state" {{\n  count = 0\n}}\n' for kind in NOT_BOOTSTRAPPED)
    (project / "infra/bootstrap/aws/moto_override.tf").write_text(PROVIDER + "".join(without))
    for env in ("nonprod", "prod"):
        root = project / f"infra/environments/{env}/aws"
        (root / "moto_override.tf").write_text(PROVIDER + BACKEND)


class Site:
    """A project on both clouds, and an AWS that has nothing yet."""

    def __init__(self, project: Generated, aws: dict[str, str]) -> None:
        """Begin with the project as it was generated, but for what moto does not have."""
        self.project = project
        self.aws = aws
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.typed: set[str] = set()
        override(project.path)

    def make(self, verb: str, *arguments: str, **environment: str | None) -> Done:
        """Run a verb of Terraform."""
        self.typed.add(" ".join([f"make infra-{verb}", *(a for a in arguments if a != "YES=1")]))
        start = time.monotonic()
        done = self.project.make(f"infra-{verb}", *arguments, **self.aws | environment)
        self.seconds[verb] += time.monotonic() - start
        return done

    def client(self, service: str) -> Any:
        """Return a client of AWS."""
        return boto3.client(
            service,
            endpoint_url=self.aws["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106
        )

    def left(self) -> dict[str, list[str]]:
        """Return what there is at AWS that costs or lets somebody in."""
        ec2, kms = self.client("ec2"), self.client("kms")
        keys = [kms.describe_key(KeyId=k["KeyId"]) for k in kms.list_keys()["Keys"]]
        found = {
            "buckets": [b["Name"] for b in self.client("s3").list_buckets()["Buckets"]],
            "clusters": self.client("eks").list_clusters()["clusters"],
            "roles": [r["RoleName"] for r in self.client("iam").list_roles()["Roles"]],
            "trust": self.client("iam").list_open_id_connect_providers()[
                "OpenIDConnectProviderList"
            ],
            "networks": [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]],
            "addresses": [a["AllocationId"] for a in ec2.describe_addresses()["Addresses"]],
            "gateways": [
                gateway["NatGatewayId"]
                for gateway in ec2.describe_nat_gateways()["NatGateways"]
                if gateway["State"] != "deleted"
            ],
            "templates": ec2.describe_launch_templates()["LaunchTemplates"],
            "logs": self.client("logs").describe_log_groups()["logGroups"],
            "images": self.client("ecr").describe_repositories()["repositories"],
            # A key that goes is kept for a month, in case.
            "keys": [k["KeyMetadata"] for k in keys if k["KeyMetadata"]["Enabled"]],
        }
        return {what: [str(each) for each in them] for what, them in found.items() if them}


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """Give a stand-in for AWS on this machine."""
    if not shutil.which("terraform"):
        missing("terraform is not installed: https://developer.hashicorp.com/terraform/install")
    server = ThreadedMotoServer(port=0)
    with pytest.MonkeyPatch.context() as patch:
        # Without these a policy of AWS's own cannot be attached, and every node group, which is
        # given a way in that nobody asked for, would be replaced.
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        patch.setattr(moto.eks.models, "DEFAULT_REMOTE_ACCESS", None)
        server.start()
        url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        # All such servers of a process have one memory.
        forget = urllib.request.Request(f"{url}/moto-api/reset", method="POST")  # noqa: S310
        urllib.request.urlopen(forget).close()  # noqa: S310
        keys = dict.fromkeys(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], "test")
        yield {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", **keys}
        urllib.request.urlopen(forget).close()  # noqa: S310
        server.stop()


@pytest.fixture
def site(aws: dict[str, str], template: Template, copie_session: Copie) -> Iterator[Site]:
    """Give the project of both clouds."""
    with restored(ready("multi-cloud", template, copie_session)) as project:
        yield Site(project, aws)
        git(project.path, "clean", "--quiet", "-fdx", "infra")


def test_what_is_missing_is_named(site: Site, tmp_path: Path) -> None:
    """Neither cloud, cluster, tools, places nor credentials are guessed."""
    site.make("plan").failed("CLOUD is missing: choose aws or gcp")
    site.make("plan", "CLOUD=azure").failed("CLOUD=azure", "aws, gcp")
    site.make("plan", "ENV=dev", "CLOUD=aws").failed("ENV=dev is no cluster", "nonprod, prod")
    site.make("config", "ENV=bootstrap", "CLOUD=aws").failed("ENV=bootstrap has no environments")
    site.make("plan", "CLOUD=aws").failed("backend.hcl is not there", "ENV=bootstrap CLOUD=aws")
    own = site.make("apply", "ENV=bootstrap-prod", "CLOUD=aws")
    own.failed("infra/bootstrap/aws/prod.tfvars is not there", "ENV=bootstrap")
    site.make("destroy", "ENV=prod", "CLOUD=aws").failed("prod goes by NAME=my-model only")
    site.make("destroy", "ENV=prod", "CLOUD=aws", "NAME=other", "YES=1").failed("NAME=other")

    without = tmp_path / "without"
    without.mkdir()
    folders = machine()["PATH"].split(os.pathsep)
    for program in (file for folder in reversed(folders) for file in Path(folder).glob("*")):
        (without / program.name).unlink(missing_ok=True)
        if program.name != "terraform":
            (without / program.name).symlink_to(program)
    bootstrap = ("ENV=bootstrap", "CLOUD=aws")
    site.make("plan", *bootstrap, PATH=str(without)).failed("terraform is not on the PATH", "1.11")
    old = without / "terraform"
    old.write_text('#!/bin/sh\necho \'{"terraform_version": "1.10.5"}\'\n')
    old.chmod(0o755)
    site.make("plan", *bootstrap, PATH=str(without)).failed("terraform is older than 1.11")

    nobody: dict[str, str | None] = dict.fromkeys(site.aws.keys() - {"AWS_REGION"})
    nobody |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    site.make("plan", *bootstrap, **nobody).failed("no credentials for aws: `aws sso login`")
    place = site.project.path / "infra/environments/nonprod/gcp/backend.hcl"
    place.write_text('bucket = "ducks"\nprefix = "nonprod"\n')
    gcp = site.make("plan", "CLOUD=gcp", **{**nobody, "GOOGLE_APPLICATION_CREDENTIALS": None})
    gcp.failed("no credentials for gcp: `gcloud auth application-default login`")


def test_before_a_cloud_is_asked(template: Template, copie_session: Copie) -> None:
    """`make infra-check`: every folder is looked at, in a copy; what is wrong is told together."""
    if not shutil.which("terraform"):
        missing("terraform is not installed: https://developer.hashicorp.com/terraform/install")
    with restored(ready("multi-cloud", template, copie_session)) as project:
        # These take a minute, and are run by tests/test_infra.py.
        for tests in project.path.glob("infra/modules/*/tests"):
            shutil.rmtree(tests)
        commit(project.path, "Without tests")
        told = project.make("infra-check").succeeded()
        folders = {path.parent for path in project.path.glob("infra/**/*.tf")}
        assert told.out.count("good") == len(folders) + 1
        project.edit(f"{NONPROD}/main.tf", "  source ", "  sauce = 1\n  source ")
        told = project.make("infra-check").failed("✗ infra:", f"{NONPROD}:", "sauce")
        assert told.out.count("wrong") == 2
        git(project.path, "reset", "--quiet", "--hard", "HEAD~1")
        assert git(project.path, "status", "--porcelain", "--ignored", "infra") == ""


def test_aws(site: Site) -> None:
    """A cluster is made, is as it says, is guarded, tells the environments, and goes."""
    project = site.project
    assert site.left() == {}
    numbers = '\nci_identity = { repository_id = "1", repository_owner_id = "2" }\n'
    values = project.path / NONPROD / "terraform.tfvars"
    values.write_text(values.read_text("utf-8") + numbers + PROMOTION, encoding="utf-8")
    # As with the component `monitoring`, which this flavour has not.
    payloads = project.path / "platform/payloads/Dockerfile"
    payloads.parent.mkdir(parents=True)
    payloads.write_text("FROM scratch\n", encoding="utf-8")
    for env in ("dev", "staging"):
        project.edit(f"config/environments/{env}.yaml", 'context: ""', 'context: ""  # ours')
    project.edit("config/environments/staging.yaml", "  retries: 1", "  node_selector: {a: b}")
    site.make("apply", "ENV=bootstrap", "CLOUD=aws", "YES=1").succeeded()
    site.make("config", "ENV=nonprod", "CLOUD=aws").failed("nothing to tell", "infra-apply")

    applied = site.make("apply", "ENV=nonprod", "CLOUD=aws", "YES=1").succeeded()
    again = site.make("plan", "ENV=nonprod", "CLOUD=aws").succeeded()
    assert "No changes." in again.out
    assert "nothing to apply" in again.out
    extra = project.path / NONPROD / "outputs.tf"
    extra.write_text(f'{extra.read_text("utf-8")}\noutput "more" {{ value = "ducks" }}\n')
    told = site.make("apply", "ENV=nonprod", "CLOUD=aws", "YES=1").succeeded()
    assert "nothing to apply" not in told.out
    git(project.path, "checkout", "--quiet", f"{NONPROD}/outputs.tf")
    assert "nothing to apply" not in site.make("plan", "ENV=nonprod", "CLOUD=aws").succeeded().out
    site.make("apply", "ENV=nonprod", "CLOUD=aws", "YES=1").succeeded()
    git(project.path, "add", "--all")

    told = site.make("config", "ENV=nonprod", "CLOUD=aws").succeeded()
    assert "aws eks update-kubeconfig --region us-east-1 --name my-model-nonprod" in told.out
    assert "--from-literal=name=my-model-nonprod --from-literal=region=us-east-1" in told.out
    for env in ("dev", "staging"):
        text = (project.path / f"config/environments/{env}.yaml").read_text("utf-8")
        assert 'context: "my-model-nonprod"  # ours' in text
        said = yaml.safe_load(text)
        assert said["registry"].endswith(".dkr.ecr.us-east-1.amazonaws.com/my-model-nonprod")
        assert re.match(rf"s3://my-model-nonprod-models-\d+/{env}/models", said["model_store"])
        assert re.match(rf"s3://my-model-nonprod-artifacts-\d+/{env}", said["artifact_root"])
        steps = said["every_step"]
        if env == "dev":
            assert steps["node_selector"] == {"pool": "cpu"}
            (toleration,) = steps["tolerations"]
            assert toleration.items() > {("key", "pool"), ("value", "cpu")}
        else:
            assert steps["node_selector"] == {"a": "b"}
            assert "tolerations" not in steps
    changed = git(project.path, "diff", "--name-only").split()
    assert changed == [f"config/environments/{env}.yaml" for env in ("dev", "staging")]
    written = git(project.path, "diff")
    site.make("config", "ENV=nonprod", "CLOUD=aws").succeeded()
    assert git(project.path, "diff") == written
    outputs(site)
    guarded(site)
    locked(site)
    taken_down(site)
    as_the_pages_say(site)

    (resources,) = re.findall(r"(\d+) added", applied.out)
    assert int(resources) > 70
    seconds = ", ".join(f"{verb} {took:.0f} s" for verb, took in site.seconds.items())
    left_out = [*LEFT_OUT, *(f"{kind}.state" for kind in NOT_BOOTSTRAPPED)]
    print(f"\nAWS: {resources} resources; {seconds}; left out: {', '.join(left_out)}")


def outputs(site: Site) -> None:
    """Hold the outputs to the shapes that docs and other tools rely on."""
    root = "from tools.terraform import Root; root = Root.of('nonprod', 'aws')"
    code = f"import json; {root}; print(json.dumps(root.outputs()))"
    given = json.loads(site.project.python(code, **site.aws).succeeded().out)
    who = "arn:aws:iam::210987654321:role/my-model-prod-ci"
    bucket = site.client("s3").get_bucket_policy(Bucket=given["model_store"]["name"])["Policy"]
    images = site.client("ecr").get_repository_policy(
        repositoryName="my-model-nonprod/my-model-serving"
    )
    for policy in (bucket, images["policyText"]):
        readers = [each["Action"] for each in json.loads(policy)["Statement"] if who in str(each)]
        assert len(readers) == 1, policy
        assert not re.search("Put|Delete|Upload|[*]", str(readers))
    assert given["cluster"]["name"] == given["cluster"]["context"] == "my-model-nonprod"
    assert given["cluster"]["endpoint"].startswith("https://")
    assert given["cluster"]["version"] == "1.35"
    made = {"my-model-train", "my-model-serving", "my-model-payloads"}
    assert made <= set(given["registry"]["repositories"])
    # What is null is not told.
    assert "metadata_db" not in given
    assert re.fullmatch(r"arn:aws:iam::\d+:role/my-model-nonprod-ci", given["ci"]["identity"])
    assert {name: pool["selector"] for name, pool in given["node_pools"].items()} == {
        name: {"pool": name} for name in ("cpu", "gpu", "system")
    }
    assert given["node_pools"]["gpu"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    # As serving/deploy and config/environments have them.
    overlays = site.project.path / "serving/deploy/overlays"
    account = yaml.safe_load((overlays.parent / "base/service-account.yaml").read_text("utf-8"))[
        "metadata"
    ]["name"]
    for env in ("dev", "staging"):
        overlay = yaml.safe_load((overlays / env / "kustomization.yaml").read_text("utf-8"))
        server = given["workload_identities"][f"serving-{env}"]
        assert (server["namespace"], server["service_accounts"]) == (
            overlay["namespace"],
            [account],
        )
        steps = yaml.safe_load(
            (site.project.path / f"config/environments/{env}.yaml").read_text("utf-8")
        )
        pipelines = given["workload_identities"]["pipelines"]
        assert pipelines["namespace"] == steps["namespace"]
        assert steps["service_account"] in pipelines["service_accounts"]


def guarded(site: Site) -> None:
    """No plan takes a cluster, pool or bucket away, unless it is told to by name."""
    project, main, values = site.project, f"{NONPROD}/main.tf", f"{NONPROD}/terraform.tfvars"
    nonprod = ("ENV=nonprod", "CLOUD=aws")
    kept = "  deletion_protection ="
    fewer = "  node_pools = { system = { min = 1, max = 2 } }\n"
    moved = '  network = { services_cidr = "172.21.0.0/20" }\n'
    project.edit(main, kept, fewer + moved + kept)
    refused = site.make("apply", *nonprod, "YES=1")
    pool = 'module.cluster.aws_eks_node_group.this["gpu"]'
    refused.failed("replace the cluster module.cluster.aws_eks_cluster.this", "nothing was applied")
    assert f"delete the pool {pool}" in refused.err
    project.edit(main, moved, "")
    both = f"{pool} {pool.replace('gpu', 'cpu')}"
    site.make("plan", *nonprod, f"ALLOW={both}").succeeded()
    project.edit(main, fewer, "")
    project.edit(values, 'name   = "my-model"', 'name   = "other"')
    renamed = site.make("plan", *nonprod).failed("replace the cluster", "replace the bucket")
    assert 'aws_s3_bucket.this["model_store"]' in renamed.err
    project.edit(values, 'name   = "other"', 'name   = "my-model"')


def locked(site: Site) -> None:
    """While somebody else is at work nothing is done, and it is said who that is."""
    bucket = f"my-model-terraform-{site.client('sts').get_caller_identity()['Account']}"
    key = "nonprod/aws/terraform.tfstate.tflock"
    lock = {"ID": "0b1c", "Operation": "OperationTypeApply", "Who": "ann@pond", "Version": "1.11.4"}
    lock |= {"Info": "", "Created": "2026-11-22T10:00:00Z", "Path": f"{bucket}/{key}"}
    site.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(lock).encode())
    done = site.make("plan", "ENV=nonprod", "CLOUD=aws")
    done.failed("someone else is changing", "ann@pond", "terraform force-unlock")
    site.client("s3").delete_object(Bucket=bucket, Key=key)


def taken_down(site: Site) -> None:
    """What is protected stays, a bootstrap under a cluster too; then nothing is left."""
    project, nonprod = site.project, ("ENV=nonprod", "CLOUD=aws")
    before = site.left()
    site.make("destroy", *nonprod, "YES=1").failed("deletion_protection = false")
    bootstrap = ("ENV=bootstrap", "CLOUD=aws")
    under = site.make("destroy", *bootstrap, "NAME=my-model")
    under.failed("nothing was destroyed", "infra-destroy ENV=nonprod CLOUD=aws` comes first")
    git(project.path, "mv", "infra/environments/nonprod/aws/backend.hcl", "backend.hcl")
    site.make("destroy", *bootstrap, "NAME=my-model").failed("force_destroy = true")
    git(project.path, "mv", "backend.hcl", "infra/environments/nonprod/aws/backend.hcl")
    assert site.left() == before
    for root, line in (
        (NONPROD, "deletion_protection = false"),
        ("infra/bootstrap/aws", "force_destroy = true"),
    ):
        values = project.path / root / "terraform.tfvars"
        values.write_text(f"{values.read_text('utf-8')}\n{line}\n", encoding="utf-8")
    site.make("apply", *nonprod, "YES=1").succeeded()
    site.make("destroy", *nonprod, "YES=1").succeeded()
    assert site.left().keys() == {"buckets", "keys", "trust"}
    site.make("apply", *bootstrap, "YES=1").succeeded()
    site.make("destroy", *bootstrap, "NAME=my-model").succeeded()
    assert site.left() == {}


def as_the_pages_say(site: Site) -> None:
    """Hold the pages to what was typed here: of both clouds the verbs are the same."""
    said = set()
    for page in site.project.path.glob("docs/cluster-*.md"):
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            said |= set(block.replace("CLOUD=gcp", "CLOUD=aws").splitlines())
    assert len(said) > 4
    assert said <= site.typed


def test_an_account_for_prod_alone(site: Site) -> None:
    """A cluster may have a bootstrap for itself, whose state is kept apart."""
    values = site.project.path / "infra/bootstrap/aws/prod.tfvars"
    values.write_text('region = "us-west-2"\n', encoding="utf-8")
    done = site.make("apply", "ENV=bootstrap-prod", "CLOUD=aws", "YES=1").succeeded()
    assert "infra-apply ENV=prod CLOUD=aws" in done.out
    places = site.project.path / "infra/environments"
    assert 'region = "us-west-2"' in (places / "prod/aws/backend.hcl").read_text("utf-8")
    assert not (places / "nonprod/aws/backend.hcl").exists()
    plan = site.make("plan", "ENV=bootstrap", "CLOUD=aws").succeeded()
    assert "0 to change, 0 to destroy" in plan.out
    (values.parent / "nonprod.tfvars").touch()
    site.make("plan", "ENV=bootstrap", "CLOUD=aws").failed("ENV=bootstrap is for no cluster")
    site.project.edit("infra/bootstrap/aws/prod.tfvars", "us-west-2", "mars")
    site.make("plan", "ENV=bootstrap-prod", "CLOUD=aws").failed("region: write it as in us-east-1")


CHANGED = {
    "registry: a  # ours\n": 'registry: "r"  # ours\n',
    "registry:\n": 'registry: "r"\n',
    "registry: >-\n  a\n  b\nurl: u\n": 'registry: "r"\nurl: u\n',
    "# Ours\nurl: u": "# Ours\nurl: u\n",
    "registry: a\nevery_step: {cpu: 1}\n": 'registry: "r"\nevery_step: {cpu: 1}\n',
    "registry: a\nevery_step:\n    # Ours\n    cpu: 1\n": (
        'registry: "r"\nevery_step:\n    # Ours\n    node_selector: {pool: cpu}\n    cpu: 1\n'
    ),
    "registry: a\nevery_step:\n  tolerations: []\n": (
        'registry: "r"\nevery_step:\n  tolerations: []\n'
    ),
}


def test_what_a_team_wrote_stays(site: Site) -> None:
    """Only a value changes, in whatever style it stands there; no comment goes."""
    code = f"""
import json
from tools.infra_config import written
pool = {{"node_selector": {{"pool": "cpu"}}}}
print(json.dumps([written(text, {{"registry": "r"}}, pool) for text in {list(CHANGED)!r}]))
"""
    found = json.loads(site.project.python(code).succeeded().out)
    for text, (old, new) in zip(found, CHANGED.items(), strict=True):
        assert text.startswith(new), f"{old!r} became {text!r}"
        assert yaml.safe_load(text)["registry"] == "r"
    refused = "from tools.infra_config import written; written('{a: 1}', {'b': '2'}, {})"
    assert "not a key to a line" in site.project.python(refused).err
