"""Terraform's roots in infra/, run by the program on the PATH; what a plan must not do."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import ProjectError
from tools import screen
from tools.project import ROOT

BOOTSTRAP = "bootstrap"
CLUSTERS = {"nonprod": ["dev", "staging"], "prod": ["prod"]}
"""Which of config/environments each cluster has."""
MODULES = {"aws": "eks", "gcp": "gke"}
OLDEST = (1, 11)
# Whoever is at work meanwhile will be for minutes: better told at once who it is.
LOCK = "-lock-timeout=5s"
PLAN = "infra.plan"
ENVIRONMENTS = ROOT / "infra" / "environments"
GUARDED = {
    "aws_eks_cluster": "the cluster",
    "aws_eks_node_group": "the pool",
    "aws_s3_bucket": "the bucket",
    "aws_db_instance": "the database",
    "google_container_cluster": "the cluster",
    "google_container_node_pool": "the pool",
    "google_storage_bucket": "the bucket",
    "google_sql_database_instance": "the database",
}
"""What holds work or data: no plan takes it away unless it is told to, by address."""
NO_CREDENTIALS = {
    "aws": re.compile(
        r"no valid credential|failed to refresh cached credentials|ExpiredToken", re.IGNORECASE
    ),
    "gcp": re.compile(r"could not find default credentials|no credentials loaded", re.IGNORECASE),
}
LOGIN = {
    "aws": "`aws sso login`, or set AWS_PROFILE",
    "gcp": "`gcloud auth application-default login`",
}
LOCKED = re.compile(r"Error acquiring the state lock")


@dataclass(frozen=True)
class Root:
    """A folder that Terraform is run in."""

    env: str
    cloud: str
    folder: Path
    own: str = ""
    """The one cluster that it is the bootstrap of, by values of its own."""

    @classmethod
    def of(cls, env: str, cloud: str) -> "Root":
        """Find the root of a cluster, or bootstrap's.

        Raises:
            ProjectError: there is none, or several clouds to choose from.
        """
        clouds = sorted(
            name
            for name, module in MODULES.items()
            if (ROOT / "infra/modules" / module / "versions.tf").is_file()
        )
        if not clouds:
            raise ProjectError(
                "this project has no Terraform: choose a cloud by "
                "`make update DATA='cloud_targets=[aws]'`"
            )
        kind, _, own = env.partition("-")
        if env not in [*CLUSTERS, BOOTSTRAP] and (kind != BOOTSTRAP or own not in CLUSTERS):
            raise ProjectError(
                f"ENV={env} is no cluster: choose {', '.join(CLUSTERS)}, or {BOOTSTRAP}"
            )
        if not cloud and len(clouds) > 1:
            raise ProjectError(f"CLOUD is missing: choose {' or '.join(clouds)}")
        cloud = cloud or clouds[0]
        if cloud not in clouds:
            raise ProjectError(f"CLOUD={cloud} is not among this project's: {', '.join(clouds)}")
        parent = ROOT / "infra" / BOOTSTRAP if kind == BOOTSTRAP else ENVIRONMENTS / env
        root = cls(env, cloud, parent / cloud, own)
        if not root.folder.is_dir():
            raise ProjectError(f"{root.place} is not there: restore it from git")
        if own and not root.values.is_file():
            raise ProjectError(
                f"{root.place}/{own}.tfvars is not there, which says where {own} has an account or "
                f"a project of its own: write it, or use ENV={BOOTSTRAP}"
            )
        if kind == BOOTSTRAP and not root.bootstraps:
            raise ProjectError(
                f"ENV={env} is for no cluster: each has a bootstrap of its own, such as "
                f"ENV={BOOTSTRAP}-prod, or its folder in infra/environments is gone"
            )
        return root

    @property
    def place(self) -> str:
        """The folder, as a person knows it."""
        return str(self.folder.relative_to(ROOT))

    @property
    def backend(self) -> Path:
        """What says where a cluster's state is."""
        return self.folder / "backend.hcl"

    @property
    def values(self) -> Path:
        """The team's values; of a bootstrap for one cluster, what is different in it."""
        return self.folder / f"{self.own or 'terraform'}.tfvars"

    @property
    def bootstraps(self) -> list[str]:
        """The clusters that a bootstrap is for: all there are that have none for themselves."""
        there = [name for name in CLUSTERS if (ENVIRONMENTS / name / self.cloud).is_dir()]
        shared = [name for name in there if not (self.folder / f"{name}.tfvars").is_file()]
        return [name for name in there if name == self.own] if self.own else shared

    def prepare(self) -> None:
        """Get the providers and, of a cluster, the state's place."""
        require_terraform()
        options = []
        if self.env in CLUSTERS:
            if not self.backend.is_file():
                raise ProjectError(
                    f"{self.place}/backend.hcl is not there, which says where the state is: "
                    f"`make infra-apply ENV={BOOTSTRAP} CLOUD={self.cloud}` writes it"
                )
            options = [f"-backend-config={self.backend.name}"]
        screen.notice(f"terraform init in {self.place}")
        self.run("init", "-input=false", *options, quiet=True)

    def plan(self, *options: str) -> "Plan":
        """Plan, show it, and keep it for `apply`."""
        values = [f"-var-file={self.values.name}"] if self.own else []
        self.run("plan", "-input=false", LOCK, f"-out={PLAN}", *values, *options)
        shown = self.run("show", "-json", PLAN, quiet=True)
        return Plan(json.loads(shown))

    def apply(self) -> None:
        """Do what was planned, and nothing else."""
        self.run("apply", "-input=false", LOCK, PLAN)

    def forget_plan(self) -> None:
        """A plan has secrets in it, and is of no use later."""
        (self.folder / PLAN).unlink(missing_ok=True)

    def outputs(self) -> dict[str, Any]:
        """What was made, by the outputs' names; empty before the first apply."""
        read = json.loads(self.run("output", "-json", quiet=True))
        return {name: output["value"] for name, output in read.items()}

    @property
    def empty(self) -> bool:
        """Whether nothing of it is there."""
        return "values" not in json.loads(self.run("show", "-json", quiet=True))

    def run(self, *arguments: str, quiet: bool = False) -> str:
        """Run Terraform to its end; quiet, it is returned what is printed.

        Raises:
            ProjectError: it failed.
        """
        # It colours what goes to a file, too.
        plain = ["-no-color"] if quiet or not sys.stdout.isatty() else []
        done = subprocess.run(
            ["terraform", arguments[0], *plain, *arguments[1:]],
            cwd=self.folder,
            # A bootstrap of one cluster's own has a state of its own, in the same folder.
            env=os.environ | ({"TF_WORKSPACE": self.own} if self.own else {}),
            check=False,
            text=True,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE,
        )
        if done.returncode != 0:
            raise ProjectError(self._sentence(arguments[0], done.stderr))
        return done.stdout or ""

    def _sentence(self, verb: str, errors: str) -> str:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", errors)
        if NO_CREDENTIALS[self.cloud].search(plain):
            return f"no credentials for {self.cloud}: {LOGIN[self.cloud]}, then again"
        if LOCKED.search(plain):
            return (
                f"someone else is changing {self.place} now, as its state is locked: wait, or if "
                f"that was broken off, `terraform force-unlock` in {self.place}\n{plain.strip()}"
            )
        return f"terraform {verb} failed in {self.place}:\n{plain.strip()}"


@dataclass(frozen=True)
class Plan:
    """A plan, as `terraform show -json` gives it."""

    content: Mapping[str, Any]

    def changes(self) -> Iterator[tuple[str, str, list[str]]]:
        """Address, type and actions of each resource that something happens to."""
        for change in self.content.get("resource_changes", []):
            actions = change["change"]["actions"]
            if change["mode"] == "managed" and actions not in (["no-op"], ["read"]):
                yield change["address"], change["type"], actions

    @property
    def empty(self) -> bool:
        """Whether nothing happens, to outputs either."""
        return not self.content["applyable"]

    def says(self, key: str, value: bool) -> bool:
        """Whether an input has this value, or anything has that the plan takes away."""
        given = self.content.get("variables", {}).get(key, {})
        return given.get("value") is value or any(
            (change["change"]["before"] or {}).get(key) is value
            for change in self.content.get("resource_changes", [])
            if "delete" in change["change"]["actions"]
        )

    def guard(self, allowed: list[str]) -> None:
        """Refuse to take away what holds work or data.

        Raises:
            ProjectError: it would, and was not told to.
        """
        taken = [
            f"{'replace' if 'create' in actions else 'delete'} {GUARDED[kind]} {address}"
            for address, kind, actions in self.changes()
            if kind in GUARDED and "delete" in actions and address not in allowed
        ]
        if taken:
            raise ProjectError(
                f"this plan would {' and '.join(taken)}: nothing was applied. If that is meant, "
                "name each address in ALLOW='…', separated by spaces"
            )


def require_terraform() -> None:
    """Refuse to go on without Terraform, or with an old one."""
    if not shutil.which("terraform"):
        raise ProjectError(
            "terraform is not on the PATH: install 1.11 or newer from "
            "https://developer.hashicorp.com/terraform/install"
        )
    done = subprocess.run(
        ["terraform", "version", "-json"], check=False, capture_output=True, text=True
    )
    found = re.search(r'"terraform_version": "(\d+)\.(\d+)', done.stdout)
    if not found or (int(found[1]), int(found[2])) < OLDEST:
        raise ProjectError(
            f"terraform is older than {'.'.join(map(str, OLDEST))}: install a newer one from "
            "https://developer.hashicorp.com/terraform/install"
        )
