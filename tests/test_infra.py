"""Terraform's modules: one interface, valid, what they refuse, and what checkov would have."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from apiserver import kubectl, missing
from conftest import Template, commit, git
from copier import VcsRef
from projects import machine

from scripts import ledger, terraform_docs
from scripts.render import answers, names
from scripts.terraform_docs import MODULES, argument
from scripts.trials import HIGH

CLOUDS = {"aws": "eks", "gcp": "gke"}
CHECKOV = "checkov==3.3.30"
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
    "CKV_GCP_125": "it looks for names; whose workflows these are is told by its number",
    "CKV_GCP_78": "versioning is an input, and true unless it is said otherwise",
}


def blocks(module: str, file: str) -> dict[str, str]:
    """Read the variables or outputs of a module."""
    text = (MODULES / module / file).read_text("utf-8")
    found = terraform_docs.blocks(text, "variable", "output")
    return {block["name"]: block["body"] for block in found}


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
    for name, body in blocks("eks", "variables.tf").items():
        assert argument(body, "type"), name
        assert argument(body, "description").endswith('."'), name
    assert {
        name for name, body in blocks("eks", "variables.tf").items() if "default" not in body
    } == {
        "name",
        "environment",
        "region",
        "zones",
    }
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


@pytest.mark.parametrize("module", CLOUDS.values())
def test_readme(module: str) -> None:
    """It says what the module takes, makes and gives."""
    assert (MODULES / module / "README.md").read_text("utf-8") == terraform_docs.readme(module), (
        "run make reference"
    )


# Together, as Terraform tells all of them at once. The rule, and words that it is told by.
REFUSED = {
    'name = "a-name-of-thirty-eight-characters-in-all"': "too long for a cluster: 40 characters",
    'kubernetes_version = "1.34"': "kubernetes_version: use 1.35 or newer",
    'network = { cidr = "10.0.0.0/24", services_cidr = "100.64.0.0/20" }': (
        "network.cidr: 10.0.0.0/24 does not fit: a network takes a block from /16 to /22.",
        "network.services_cidr: 100.64.0.0/20 is not private",
        "network: cidr, pods_cidr and services_cidr overlap",
    ),
    'api_access = { public = true, authorized_cidrs = ["0.0.0.0/0"], admins = ["alice"] }': (
        "api_access.authorized_cidrs: this opens the API to the world",
        "api_access.admins: write each as in",
    ),
    """node_pools = {
      system = { min = 1, max = 1 }
      few    = { min = 3, max = 2 }
      fast   = { max = 1, gpu = { type = "gtx" } }
    }""": (
        "node_pools: min above max in few",
        "node_pools: this cloud has no GPU of type gtx: choose from",
    ),
    'ci_identity = { repository_id = "acme/ducks", repository_owner_id = "2" }': (
        "ci_identity: repository_id and repository_owner_id are numbers",
        "ci_identity.environments: name at least one",
    ),
    'metadata_db = { tier = "huge" }': "metadata_db.tier: choose small, medium or large.",
    "registry = { keep_tags = 0 }": "registry.keep_tags: keep from 1 to 1000.",
    "artifact_store = { retention_days = 0 }": "artifact_store.retention_days: use a whole number",
    'workload_identities = { nodes = { namespace = "a", service_accounts = ["b"] } }': (
        "workload_identities: ci, cluster, nodes and system-… are the cluster's own"
    ),
    'labels = { Team = "a" }': "labels: use small letters",
}


@pytest.mark.terraform
@pytest.mark.parametrize("module", CLOUDS.values())
def test_what_is_refused_is_told(module: str, modules: Path, tmp_path: Path) -> None:
    """Whoever gives what cannot be reads which input it is, and what to do instead."""
    copy = Path(shutil.copytree(modules / module, tmp_path / module, symlinks=True))
    given = (copy / "tests/defaults.tftest.hcl").read_text("utf-8").partition("\nrun ")[0]
    own = "\n".join(f"    {line}" for line in REFUSED)
    test = f'{given}\nrun "refused" {{\n  command = plan\n  variables {{\n{own}\n  }}\n}}\n'
    (copy / "tests/refused.tftest.hcl").write_text(test, encoding="utf-8")
    done = terraform(copy, "test", "-no-color", "-filter=tests/refused.tftest.hcl")
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    for words in REFUSED.values():
        for sentence in [words] if isinstance(words, str) else words:
            assert sentence in said, said


@pytest.mark.terraform
def test_format(modules: Path) -> None:
    """Terraform's own formatter changes nothing."""
    done = terraform(modules, "fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout


@pytest.mark.terraform
@pytest.mark.parametrize("module", CLOUDS.values())
def test_module(module: str, modules: Path) -> None:
    """It is valid, and its own tests pass: defaults, options, and what it refuses."""
    done = terraform(modules / module, "validate", "-no-color")
    assert done.returncode == 0, done.stderr
    done = terraform(modules / module, "test", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.stdout)


@pytest.mark.terraform
def test_roots(template: Template, tmp_path: Path) -> None:
    """A project has the roots of its clouds and no other; each is valid, in every flavour."""
    flavours = {name: answers(name)["cloud_targets"] for name in names() if on_a_cloud(name)}
    assert sorted(flavours.values()) == [["aws"], ["gcp"], ["gcp", "aws"]]
    trees = {}
    for flavour, clouds in flavours.items():
        project = template.render(tmp_path / flavour, **answers(flavour))
        files = [path for path in project.rglob("infra/**/*") if path.is_file()]
        trees[flavour] = {path.relative_to(project): path.read_bytes() for path in files}
        roots = {path.parent for path in trees[flavour] if path.name == "terraform.tfvars"}
        assert {root.name for root in roots} == set(clouds)
        assert len(roots) == 3 * len(clouds)
    # What holds for both clouds together holds for each.
    both = trees.pop("multi-cloud")
    assert all(tree.items() <= both.items() for tree in trees.values())
    assert both.keys() == set().union(*trees.values())
    project = tmp_path / "multi-cloud"
    assert terraform(project / "infra", "fmt", "-check", "-recursive").returncode == 0
    for root in {path.parent for path in both if path.name == "terraform.tfvars"}:
        done = terraform(project / root, "init", "-backend=false", "-input=false", "-no-color")
        if done.returncode != 0:
            missing(f"Terraform's providers cannot be had: {done.stderr}")
        done = terraform(project / root, "validate", "-no-color")
        assert done.returncode == 0, f"{root}: {done.stderr}"


def on_a_cloud(flavour: str) -> bool:
    """Tell whether a flavour has a cluster made."""
    return bool(answers(flavour).get("cloud_targets"))


def test_no_cloud_no_terraform(default_project: Path) -> None:
    """A project that chose none has nothing of it."""
    assert not (default_project / "infra").exists()
    assert not (default_project / "platform/eks").exists()
    assert not (default_project / "tools/terraform.py").exists()


@pytest.mark.terraform
def test_checkov() -> None:
    """It finds nothing that has no written reason, and every reason is still needed."""
    command = ["uv", "tool", "run", "--quiet", "--from", CHECKOV, "checkov", "--skip-download"]
    options = ["--framework", "terraform", "--quiet", "--compact", "--output", "json"]
    done = subprocess.run(
        [*command, *options, "--directory", str(MODULES.parent)],
        env=machine(),
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


def test_what_a_cluster_of_eks_is_given(template: Template, tmp_path: Path) -> None:
    """It is valid; disks are encrypted, nothing is privileged, names are those that AWS knows."""
    project = template.render(tmp_path / "project", cloud_targets=["aws"])
    command = [kubectl(), "kustomize", str(project / "platform/eks")]
    built = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    objects = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(built)}
    for each in objects.values():
        kubernetes_validate.validate(each, "1.35", strict=True)
    disks = objects["StorageClass", "gp3"]
    assert disks["parameters"] == {"type": "gp3", "encrypted": "true"}
    assert disks["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    # The autoscaler's account, by which AWS knows it; the label of a pool with GPUs.
    assert '"cluster-autoscaler"' in (MODULES / "eks/identities.tf").read_text("utf-8")
    assert ("ServiceAccount", "cluster-autoscaler") in objects
    assert "{ gpu = pool.gpu.type }" in (MODULES / "eks/node_pools.tf").read_text("utf-8")
    plugin = objects["DaemonSet", "nvidia-device-plugin"]["spec"]["template"]["spec"]
    (term,) = plugin["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [{"key": "gpu", "operator": "Exists"}]
    scaler = objects["Deployment", "cluster-autoscaler"]["spec"]["template"]["spec"]
    versions = (MODULES / "eks/variables.tf").read_text("utf-8")
    (oldest,) = re.findall(r'default     = "(1\.\d+)"', versions)
    assert f":v{oldest}." in scaler["containers"][0]["image"]
    for pod in (plugin, scaler):
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not security["allowPrivilegeEscalation"]
    for (kind, _), each in objects.items():
        for rule in each.get("rules", []) if kind.endswith("Role") else []:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_clouds_of_an_older_project(draft: Template, tmp_path: Path) -> None:
    """A cloud that is chosen later brings its files, one that is left takes only the platform's."""
    ledger.tag_releases(draft.path)
    project = draft.project(tmp_path / "project", ref="0.1.0")
    project.update(HIGH)
    assert not (project.path / "infra").exists()
    commit(project.path, "Update")
    roots = {
        f"?? infra/environments/{env}/aws/{name}"
        for env in ("nonprod", "prod")
        for name in ("main.tf", "outputs.tf", "terraform.tfvars", "variables.tf", "versions.tf")
    }
    arrived = set(project.update(VcsRef.CURRENT, cloud_targets=["aws"]))
    assert roots | {"?? infra/bootstrap/aws/terraform.tfvars"} <= arrived
    assert not [line for line in arrived if "gke" in line or "gcp" in line]
    commit(project.path, "On AWS")
    values = "infra/environments/nonprod/aws/terraform.tfvars"
    project.append(values, "# Ours")
    git(project.path, "rm", "--quiet", "-r", "infra/environments/prod")
    commit(project.path, "The team's work")
    assert project.update(VcsRef.CURRENT) == []
    arrived = set(project.update(VcsRef.CURRENT, cloud_targets=["aws", "gcp"]))
    assert "?? infra/environments/prod/gcp/main.tf" in arrived
    assert not [line for line in arrived if "/aws/" in line or "/eks/" in line]
    commit(project.path, "On both")
    left = project.update(VcsRef.CURRENT, cloud_targets=[])
    gone = [line for line in left if line.startswith(" D ")]
    assert " D infra/modules/eks/main.tf" in gone
    assert not [line for line in gone if "environments" in line or "tfvars" in line]
    assert project.read(values).endswith("# Ours\n")
