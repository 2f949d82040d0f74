"""`make submit`: start a run of a pipeline on an environment's cluster."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer

from runtime.errors import ProjectError
from runtime.records import Lineage
from tools import compile, engine, images, preflight, registry, resolve, run, screen
from tools.build import Image, look
from tools.cluster import Cluster
from tools.connection import ClusterError
from tools.definition import load
from tools.environment import Environment
from tools.imports import steps_of
from tools.project import project

COMMIT_SHOWN = 7


def submit(
    pipeline: Annotated[str, typer.Option(help="A file of pipelines/, without .py.")] = "training",
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
) -> None:
    """Start a run on the cluster, and leave it to the cluster."""
    _, started, _ = start(pipeline, env)
    screen.what_next(
        f"`make runs ENV={env} RUN={started.display_name}` follows it to its end; "
        f"`make runs ENV={env}` shows it beside others."
    )


def start(pipeline: str, env: str) -> tuple[Cluster, Any, Lineage]:
    """Check, upload and start, and say what was done."""
    environment = project().environment(env)
    environment.require_cluster(env)
    images.prefetch(steps_of(pipeline))
    job = prepare(pipeline, env, environment)
    require_images(job.lineage.images, env, environment)
    cluster = Cluster(env, environment)
    reference, new = cluster.upload(job.made)
    now = datetime.now(UTC)
    name = f"{pipeline.replace('_', '-')}-{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
    try:
        started = cluster.start(name, reference, job.arguments)
    except ClusterError as error:
        if error.status in (0, 500, 502, 503, 504):
            raise ClusterError(
                f"{error}. Whether the run started is not known: `make runs ENV={env}` tells"
            ) from None
        raise
    lines = {
        "cluster": cluster.connection.at,
        "version": f"{job.made.version} ({'uploaded' if new else 'was there already'})",
        "commit": commit(job.lineage),
        "run": f"{name} ({started.run_id})",
        "page": cluster.page(started.run_id),
    }
    for what, value in lines.items():
        screen.console.print(f"{what:<9} {screen.escape(value)}", soft_wrap=True)
    return cluster, started, job.lineage


class Job(NamedTuple):
    """A pipeline that is ready to be started."""

    made: compile.Compiled
    arguments: dict[str, str]
    lineage: Lineage


def prepare(
    pipeline: str, env: str, environment: Environment, look_up: Collection[str] = ()
) -> Job:
    """Compile a pipeline and find what it asks for.

    What only the cluster can find out, and what is to be looked up each time it runs, is found by
    tasks in front of it.

    Raises:
        ProjectError: it cannot work on the cluster.
    """
    steps = steps_of(pipeline)
    settings = {step: project().settings(step) for step in steps}
    definition = load(pipeline, environment)
    unknown = preflight.check(steps, environment, f"config/environments/{env}.yaml")
    inputs = definition.component_spec.inputs or {}
    asked = sorted(name for name in {*unknown, *look_up} if name in inputs)
    questions = resolve.questions(asked, settings)
    known = run.given(settings, env, environment)
    if "data_version" not in questions:
        known["data_version"] = run.data_version(settings)
    if "champion" not in questions:
        known["champion"] = registry.champion(environment.model_store)
    lineage = run.origin(pipeline, environment)
    known["lineage"] = lineage.model_dump_json()
    if questions:
        definition = resolve.resolving(definition, questions, known, environment)
    return Job(compile.compiled(definition), run.select(definition, known), lineage)


def require_images(references: dict[str, str], env: str, environment: Environment) -> None:
    """Refuse to start what could not be pulled.

    Raises:
        ProjectError: the registry does not have an image; it is named.
    """

    wanted = [Image(step, reference) for step, reference in references.items()]
    try:
        look(wanted, engine.find(), in_registry=bool(environment.registry))
    except ProjectError as error:
        screen.warn(f"whether the images are there was not looked at: {error}")
        return
    lacking = [image for image in wanted if image.state in ("missing", "local")]
    if lacking:
        raise ProjectError(
            f"the image of {', '.join(image.name for image in lacking)} as it now is is not there "
            f"({lacking[0].reference}): CI builds and pushes it once it is on main; "
            f"`make images ENV={env} CHECK=1` shows them all"
        )


def commit(lineage: Lineage) -> str:
    """The commit that a run is of, for people."""
    if not lineage.git_commit:
        return "none: this is not a git repository"
    short = lineage.git_commit[:COMMIT_SHOWN]
    return f"{short} with changes that are not committed" if lineage.git_dirty else short


if __name__ == "__main__":
    screen.start(submit)
