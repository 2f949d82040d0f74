"""`make login`: log in to an environment's registry and cluster, as its file names them.

By the cloud's own program and whoever is logged in to it: a person, or a workflow by OIDC. On
GitHub's own registry, with the token in GITHUB_TOKEN.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import released, screen
from tools.engine import ENGINES, find, registry
from tools.environment import Environment
from tools.project import project
from tools.published import GITHUB

ECR = re.compile(r"\d+\.dkr\.ecr\.(?P<region>[\w-]+)\.amazonaws\.com(\.cn)?")
GOOGLE = re.compile(r"([\w-]+-docker\.pkg|([\w-]+\.)?gcr)\.(dev|io)")
GKE = re.compile(r"gke_(?P<project>[^_]+)_(?P<place>[^_]+)_(?P<name>[^_]+)")
SECONDS = 120
# What a kubeconfig asks gcloud by, for a token of whoever is logged in there: when there is none
# yet, or the last is about to expire, so that what outlives one goes on.
PLUGIN = "client.authentication.k8s.io/v1"
ASKS = f"""
set -e
known=$(gcloud config config-helper --min-expiry=15m \\
  --format='value(credential.access_token,credential.token_expiry)')
printf '{{"apiVersion":"%s","kind":"ExecCredential",' {PLUGIN}
printf '"status":{{"token":"%s","expirationTimestamp":"%s"}}}}' $known
""".strip()


def login(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    program: Annotated[str, typer.Option("--engine", help="docker or podman.")] = "",
    promote: Annotated[bool, typer.Option(help="Also where a release is copied from.")] = False,
) -> None:
    """Log in wherever this environment's verbs need it."""
    environment = project().environment(env)
    if not environment.registry and not environment.namespace:
        screen.what_next(f"Nothing to log in to: {env} is this machine alone.")
        return
    registries = [environment]
    if promote and (earlier := released.before(env)):
        registries.append(project().environment(earlier))
    done = [to_registry(each, program) for each in registries]
    for what in dict.fromkeys([*done, to_cluster(environment, env)]):
        screen.console.print(what, soft_wrap=True)
    screen.what_next(f"`make releases` and `make runs ENV={env}` ask them.")


def to_registry(environment: Environment, program: str = "") -> str:
    """Give the engine a password for the registry, where it is known how to get one."""
    host = registry(f"{environment.registry}/image") if environment.registry else ""
    if not host:
        return "no registry"
    user, command = "", []
    if found := ECR.fullmatch(host):
        user, command = "AWS", ["aws", "ecr", "get-login-password", "--region", found["region"]]
    elif GOOGLE.fullmatch(host):
        user, command = "oauth2accesstoken", ["gcloud", "auth", "print-access-token"]
    elif host == GITHUB and os.environ.get("GITHUB_TOKEN"):
        user = os.environ.get("GITHUB_ACTOR", "x-access-token")
    else:
        # An engine that is logged in by hand stays so.
        return f"{host}: as the engine is logged in"
    password = ran(command).strip() if command else os.environ["GITHUB_TOKEN"]
    engine = find(program or next(iter(ENGINES)))
    ran([engine.program, "login", f"--username={user}", "--password-stdin", host], password)
    return f"{host}: logged in as {user}"


def to_cluster(environment: Environment, env: str) -> str:
    """Write the environment's context into the kubeconfig, of a cluster that Terraform made."""
    context = environment.context
    if not environment.namespace or not context:
        return "no cluster" if not environment.namespace else "the kubeconfig's current context"
    if found := GKE.fullmatch(context):
        google(context, **found.groupdict())
        return f"{context}: as long as gcloud is logged in"
    if known := ECR.fullmatch(registry(f"{environment.registry}/image")):
        region = os.environ.get("AWS_REGION", known["region"])
        at = ["--region", region, "--name", context, "--alias", context]
        ran(["aws", "eks", "update-kubeconfig", *at])
        return f"{context}: of {region}"
    return f"{context}: as the kubeconfig has it"


def google(context: str, project: str, place: str, name: str) -> None:
    """Log in to GKE as whoever is logged in to Google Cloud then, without gcloud's own plugin."""
    which = [name, f"--location={place}", f"--project={project}", "--format=json"]
    cluster = json.loads(ran(["gcloud", "container", "clusters", "describe", *which]))
    with tempfile.TemporaryDirectory(prefix="login-") as folder:
        file = Path(folder, "kubeconfig")
        asks = {"command": "sh", "args": ["-c", ASKS], "interactiveMode": "Never"}
        user = {"name": context, "user": {"exec": {"apiVersion": PLUGIN, **asks}}}
        server = {
            "server": f"https://{cluster['endpoint']}",
            "certificate-authority-data": cluster["masterAuth"]["clusterCaCertificate"],
        }
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": context, "cluster": server}],
                    "users": [user],
                    "contexts": [
                        {"name": context, "context": {"cluster": context, "user": context}}
                    ],
                    "current-context": context,
                }
            )
        )
        merge(file)


def merge(new: Path) -> None:
    """Put what a kubeconfig has into the one that kubectl reads."""
    own = os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0]
    target = Path(own) if own else Path.home() / ".kube" / "config"
    paths = os.pathsep.join(str(path) for path in (new, target) if path.exists())
    merged = ran(["kubectl", "config", "view", "--flatten"], KUBECONFIG=paths)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)
    target.write_text(merged)


def ran(command: list[str], given: str | None = None, **variables: str) -> str:
    """What a program prints.

    Raises:
        ProjectError: it is not installed, or refuses.
    """
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, **variables},
        )
    except FileNotFoundError:
        raise ProjectError(f"{command[0]} is not on the PATH, by which one logs in there") from None
    except subprocess.TimeoutExpired:
        raise ProjectError(f"{command[0]} does not answer in {SECONDS} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise ProjectError(f"`{' '.join(command[:3])}` refuses: {said}. Are you logged in there?")
    return done.stdout


if __name__ == "__main__":
    screen.start(login)
