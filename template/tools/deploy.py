"""`make deploy`: have an environment's cluster serve what is released there.

The overlay is applied as it is committed; once the server answers with the released model, that is
the champion of the environment's store: what runs compare with and scheduled ones look up. With
a canary, it is from the day on which it gets all requests.
"""

import time
from typing import Annotated, Any

import typer

from runtime.errors import ProjectError
from tools import overlays, registry, released, screen
from tools.access import Cluster
from tools.project import ROOT, project
from tools.released import Release
from tools.template import changes, some

SECONDS = 600
PAUSE = 2
ALL = 100
"""Of 100 requests."""


def deploy(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    url: Annotated[str, typer.Option(help="Where the server is; empty: the cluster says.")] = "",
    wait: Annotated[int, typer.Option(min=1, help="Seconds it gets to start.")] = SECONDS,
) -> None:
    """Apply the overlay, wait for the released model to answer, and make it the champion."""
    project().environment(env).require_cluster(env)
    release = released.require(env)
    require_model(env, release)
    if not released.serves(env):
        make_champion(env, release)
        screen.what_next(f"Nothing is served in {env}; pipelines find the model there from now on.")
        return
    require_committed()
    objects = overlays.manifests(env)
    # Late: it takes longer than finding out that there is nothing to deploy.
    from tools import smoke

    service = overlays.Served.of(objects, env)
    share = service.service["spec"]["predictor"].get("canaryTrafficPercent", ALL)
    cluster = service.cluster
    deadline = time.monotonic() + wait
    apply(cluster, objects)
    try:
        wait_for(cluster, deadline)
        if share:
            with smoke.endpoint(cluster, url) as found:
                left = max(deadline - time.monotonic(), smoke.SECONDS)
                smoke.check(found, env, release.model, release.image, left)
        # Ready may have been the server before: that it serves, only its answers tell.
        if share == ALL:
            make_champion(env, release)
    except ProjectError as error:
        raise ProjectError(f"{error}\n{way_back(env)}") from None
    if share < ALL:
        screen.what_next(
            f"It gets {share} of 100 requests: `make canary ENV={env} PERCENT=100` gives it all."
        )


def require_model(env: str, release: Release) -> None:
    """Refuse to deploy a model that the environment's store has not."""
    uri = project().environment(env).model_store
    with registry.asking(uri):
        there = registry.store(env).find(release.model)
    if there is None or there.sha256 != release.sha256:
        raise ProjectError(
            f"the model {release.model}, released in {env}, is not in its model store {uri!r}: "
            f"`make release ENV={env} RUN={release.model}` brings it there, or bring back the "
            f"environment's `model_store` of then"
        )


def require_committed() -> None:
    """Refuse to deploy what no commit knows."""
    changed = [path for path in changes(ROOT) if path.startswith("serving/deploy/")]
    if changed:
        raise ProjectError(
            f"not committed: {some(changed)}. What is deployed is a commit: commit, or take it back"
        )


def apply(cluster: Cluster, objects: str) -> None:
    """Give the objects to the cluster; what others set there by hand is not overwritten."""
    manager = f"--field-manager={project().name}"
    with screen.console.status("Asking the cluster"):
        # First something small: kubectl asks a cluster that does not answer again and again.
        cluster.ask("get", "--raw=/version")
        said = cluster.ask("apply", "--server-side", manager, "--filename=-", objects=objects)
    screen.console.out(said, end="", highlight=False)


def wait_for(cluster: Cluster, deadline: float) -> None:
    """Wait until KServe says that the server is ready, and show what it says meanwhile.

    Raises:
        ProjectError: it does not, in time.
    """
    from tools.smoke import status_of

    said = ""
    with screen.console.status("Waiting for the server") as shown:
        while True:
            status = status_of(cluster)
            ready, problem = readiness(status)
            if ready:
                return
            if problem != said:
                said = problem
                screen.notice(said)
                shown.update(f"Waiting for the server: {said}")
            if time.monotonic() > deadline:
                raise ProjectError(
                    f"the server of {cluster.env} is not ready ({said}): `kubectl "
                    f"--namespace={cluster.namespace} describe inferenceservice {project().name}` "
                    "and its pods' logs say more"
                )
            time.sleep(PAUSE)


def readiness(status: dict[str, Any]) -> tuple[bool, str]:
    """Whether an InferenceService is ready, and if not, why."""
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return True, ""
    failure = status.get("modelStatus", {}).get("lastFailureInfo", {}).get("message", "")
    unmet = [
        f"{name}: {each.get('message') or each.get('reason') or each['status']}"
        for name, each in conditions.items()
        if each.get("status") != "True" and each.get("severity", "") == ""
    ]
    return False, "; ".join(filter(None, [*unmet, failure])) or "KServe has not looked at it yet"


def make_champion(env: str, release: Release) -> None:
    """Let the environment's model store say which model is in use."""
    with registry.asking(project().environment(env).model_store, "written"):
        registry.store(env).release(release.model)
    screen.console.print(f"Model {release.model} is the champion of {env}.")


def way_back(env: str) -> str:
    """What to do with a deployment that went wrong."""
    if len(released.standing(env)) > 1:
        return f"To go back: `make rollback ENV={env}`, then `make deploy ENV={env}`"
    return f"There is no release before it: `make release ENV={env} RUN=` releases another model"


if __name__ == "__main__":
    screen.start(deploy)
