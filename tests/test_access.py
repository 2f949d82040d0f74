"""What a pipeline's pods may do on a cluster: valid, narrow, and put there by `make access`."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from apiserver import Cluster, kubeconfig, kubectl, kustomized, served
from conftest import Template
from projects import Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie

ACCESS = "platform/access"
CLUSTERS = ["dev", "staging", "prod"]
# What stands in for kubectl where a real one would change a cluster: it writes down what it is
# asked, and has nothing to change once it has applied. A kustomization is still kubectl's own.
DOUBLE = """#!/usr/bin/env bash
case "$*" in
  kustomize*) exec {kubectl} "$@" ;;
  *diff*) cat > {folder}/diffed; [[ -e {folder}/applied ]] || {{ echo "+ a change"; exit 1; }} ;;
  *apply*) echo "$*" > {folder}/arguments; cat > {folder}/applied; echo "role created" ;;
esac
"""


def built(project: Path) -> list[dict[str, Any]]:
    """Build the kustomization as kubectl does."""
    return kustomized(project / ACCESS)


def valid(objects: list[dict[str, Any]]) -> None:
    """Hold objects to the schemas of Kubernetes itself, unknown keys included."""
    for each in objects:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def rules(objects: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return what the role allows: resource to verbs."""
    (role,) = (each for each in objects if each["kind"] == "Role")
    return {name: set(rule["verbs"]) for rule in role["rules"] for name in rule["resources"]}


def test_objects_are_valid(default_project: Path) -> None:
    objects = built(default_project)
    assert [each["kind"] for each in objects] == ["ServiceAccount", "Role", "RoleBinding"]
    valid(objects)


def test_a_broken_object_is_refused(default_project: Path) -> None:
    """The check above can fail."""
    role = next(each for each in built(default_project) if each["kind"] == "Role")
    role["rules"][0]["verb"] = role["rules"][0].pop("verbs")
    with pytest.raises(kubernetes_validate.ValidationError, match="verb"):
        valid([role])


def test_nothing_more_than_needed(default_project: Path) -> None:
    """No wildcard; of Secrets and ConfigMaps those with a name; nothing can be deleted."""
    objects = built(default_project)
    assert all("*" not in name and "*" not in verbs for name, verbs in rules(objects).items())
    assert "delete" not in set().union(*rules(objects).values())
    (role,) = (each for each in objects if each["kind"] == "Role")
    for rule in role["rules"]:
        assert "*" not in rule["apiGroups"]
        if set(rule["resources"]) & {"secrets", "configmaps"}:
            assert rule["resourceNames"]


def test_it_is_no_package(default_project: Path) -> None:
    """A module in platform/ would stand before Python's own `platform`."""
    assert not list((default_project / "platform").rglob("*.py"))


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give the project of a flavour, and restore it."""
    with restored(life(request.param, template, copie_session).project) as project:
        yield project


LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)


@pytest.mark.project
@LAPTOP
@pytest.mark.parametrize("env", CLUSTERS)
def test_it_is_shown(project: Generated, env: str) -> None:
    """In the environment's namespace, for the account that the environment names."""
    kubectl()
    project.edit(f"config/environments/{env}.yaml", "namespace: kubeflow", "namespace: ducks")
    said = project.make("access", f"ENV={env}").succeeded().out
    objects = list(yaml.safe_load_all(said.partition("→")[0]))
    valid(objects)
    assert {each["metadata"]["namespace"] for each in objects} == {"ducks"}
    account, _, binding = objects
    settings = yaml.safe_load((project.path / f"config/environments/{env}.yaml").read_text())
    assert account["metadata"]["name"] == settings["service_account"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": settings["service_account"], "namespace": "ducks"}
    ]


@pytest.mark.project
@LAPTOP
def test_it_is_applied(project: Generated, tmp_path: Path) -> None:
    """The difference is shown and then made, in the right context; again, there is none."""
    double = tmp_path / "kubectl"
    double.write_text(DOUBLE.format(kubectl=kubectl(), folder=tmp_path))
    double.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{machine()['PATH']}"
    project.edit("config/environments/dev.yaml", 'context: ""', "context: pond")
    done = project.make("access", "ENV=dev", "APPLY=1", PATH=path).succeeded()
    assert done.out.index("+ a change") < done.out.index("role created")
    assert "--context=pond" in (tmp_path / "arguments").read_text()
    applied = (tmp_path / "applied").read_text()
    assert applied == (tmp_path / "diffed").read_text()
    valid(list(yaml.safe_load_all(applied)))
    assert "has it all" in project.make("access", "ENV=dev", "APPLY=1", PATH=path).succeeded().out


@pytest.mark.project
@LAPTOP
def test_it_cannot_be_applied(project: Generated, tmp_path: Path) -> None:
    """Whatever is in the way is named: the environment, kubectl, the context, the cluster, you."""
    kubectl()
    apply = ["access", "ENV=dev", "APPLY=1"]
    project.make("access").failed("local", "ENV=")
    nobody = kubeconfig(tmp_path / "nobody", "http://127.0.0.1:9")
    project.make(*apply, KUBECONFIG=str(nobody)).failed("dev", "does not answer")
    with served(Cluster(refusals={"": (403, 'User "me" cannot do this')})) as cluster:
        forbidden = kubeconfig(tmp_path / "forbidden", cluster.url)
        project.make(*apply, KUBECONFIG=str(forbidden)).failed("you may not", "kubeflow")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("awk", "bash", "dirname", "git", "make", "uv"):
        found = subprocess.check_output(["which", tool], text=True, env=machine()).strip()
        (tools / tool).symlink_to(found)
    project.make("access", "ENV=dev", PATH=str(tools)).failed("kubectl", "install")
    project.edit("config/environments/dev.yaml", 'context: ""', "context: pond")
    project.make(*apply, KUBECONFIG=str(nobody)).failed("dev.yaml", "pond", "get-contexts")
    project.edit("config/environments/dev.yaml", "-pipeline", "-pipelines")
    project.make("access", "ENV=dev").failed("dev.yaml", "my-model-pipelines", "my-model-pipeline'")
