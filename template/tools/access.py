"""`make access`: what a pipeline's pods may do on an environment's cluster.

The objects are the kustomization in platform/access; the environment says in which namespace.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import screen
from tools.project import ROOT, project

ACCESS = ROOT / "platform" / "access"
# What kubectl says when somebody else has set a field; and, in small letters, when the answer is no
# and when there is none.
CONFLICT = re.compile("error: Apply failed with .*conflict")
REFUSED = ("forbidden", "unauthorized", "must be logged in")
ADVICE = "\nensure CRDs are installed first"
UNREACHABLE = ("unable to connect", "refused", "timeout", "deadline exceeded", "no such host")


def access(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    apply: Annotated[bool, typer.Option("--apply", help="Put them on the cluster.")] = False,
) -> None:
    """Show the service account, its role and their binding; if told so, apply them."""
    environment = project().environment(env)
    environment.require_cluster(env)
    account = f"{project().name}-pipeline"
    if environment.service_account != account:
        raise ProjectError(
            f"config/environments/{env}.yaml: the service account made here is {account!r}, not "
            f"{environment.service_account!r}: write that, or bind the role in platform/access to "
            "yours"
        )
    objects = rendered(environment.namespace)
    if not apply:
        screen.console.out(objects, end="", highlight=False)
        screen.what_next(f"`make access ENV={env} APPLY=1` puts it on the cluster.")
        return
    cluster = Cluster(env, environment.context, environment.namespace)
    with screen.console.status("Asking the cluster"):
        # First something small: kubectl asks a cluster that does not answer again and again.
        cluster.ask("get", "--raw=/version")
        change = cluster.ask("diff", "--filename=-", objects=objects, good=(0, 1))
    if not change:
        screen.what_next(f"Nothing to do: namespace {cluster.namespace} has it all.")
        return
    screen.console.out(change, highlight=False)
    with screen.console.status("Applying"):
        said = cluster.ask("apply", "--filename=-", objects=objects)
    screen.console.out(said, end="", highlight=False)
    screen.what_next(f"This is what steps may do now in namespace {cluster.namespace}.")


def rendered(namespace: str) -> str:
    """The objects in a namespace, as YAML."""
    with tempfile.TemporaryDirectory() as name:
        # A kustomization is put into a namespace by another one that names it.
        folder = Path(name).resolve()
        text = f"resources: [{os.path.relpath(ACCESS, folder)}]\nnamespace: {namespace}\n"
        (folder / "kustomization.yaml").write_text(text)
        done = kubectl("kustomize", str(folder))
    if done.returncode != 0:
        raise ProjectError(f"platform/access is no kustomization any more: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """The cluster of an environment, as kubectl knows it."""

    env: str
    context: str
    namespace: str
    namespace_in: str = ""
    """The file that says which namespace, if it is not the environment's."""

    def ask(self, *arguments: str, objects: str = "", good: tuple[int, ...] = (0,)) -> str:
        """What kubectl prints.

        Raises:
            ProjectError: it ends with another exit code than those that are good.
        """
        context = [f"--context={self.context}"] if self.context else []
        done = kubectl(*context, "--request-timeout=20s", *arguments, objects=objects)
        if done.returncode in good:
            return done.stdout
        lines = done.stderr.strip().removesuffix(ADVICE).splitlines()
        last = lines[-1] if lines else "it said nothing"
        # After these words kubectl goes on to explain.
        raise ProjectError(self._sentence(next(filter(CONFLICT.match, lines), last)))

    def _sentence(self, reason: str) -> str:
        plain = reason.lower()
        file = f"config/environments/{self.env}.yaml"
        if "context" in plain and "does not exist" in plain:
            return (
                f"{file}: your kubeconfig has no context {self.context!r}; "
                "`kubectl config get-contexts` lists what it has"
            )
        if "namespaces" in plain and "not found" in plain:
            return (
                f"{self.namespace_in or file}: the cluster has no namespace {self.namespace!r}: "
                f"correct it, or `kubectl create namespace {self.namespace}`"
            )
        if "no matches for kind" in plain:
            return (
                f"the cluster of {self.env!r} does not know one of the kinds: install what brings "
                f"it, or leave it out as docs/serving.md says ({reason})"
            )
        if CONFLICT.match(reason):
            return (
                f"somebody set on the cluster of {self.env!r} what git says otherwise ({reason}): "
                f"`make diff ENV={self.env}` shows it. Bring it into the overlay, or have whoever "
                "set it take it back"
            )
        if any(words in plain for words in REFUSED):
            return (
                f"you may not do this in namespace {self.namespace!r}: log in, or have whoever "
                f"administers the cluster run `make access ENV={self.env} APPLY=1` ({reason})"
            )
        if any(words in plain for words in UNREACHABLE):
            return (
                f"the cluster of {self.env!r} does not answer: is it running, are you in its "
                f"network, and is `context` in {file} the right one? ({reason})"
            )
        return f"the cluster of {self.env!r} refused: {reason}"


def kubectl(*arguments: str, objects: str = "") -> subprocess.CompletedProcess[str]:
    """Run kubectl to its end, whatever that is.

    Raises:
        ProjectError: it is not installed.
    """
    try:
        return subprocess.run(
            ["kubectl", *arguments], input=objects, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise ProjectError(
            "kubectl is not on the PATH: install it, https://kubernetes.io/docs/tasks/tools/"
        ) from None


if __name__ == "__main__":
    screen.start(access)
