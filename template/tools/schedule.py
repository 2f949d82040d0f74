"""`make schedule`: recurring runs on a cluster, as `schedules` in the environment's file says.

KFP keeps with a recurring run what it runs, so one whose pipeline, settings, time or flags have
changed is replaced. Ours are known by their description, which names project, environment, pipeline
and a hash of all this; those that people make by hand are left alone. The commit is no part of the
hash: what a commit changes shows in images and settings, and for the rest a schedule can stay.
"""

import hashlib
import json
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from runtime.errors import ProjectError
from runtime.records import Lineage
from tools import images, screen, submit
from tools.cluster import Cluster, Recurring
from tools.environment import Environment, Schedule
from tools.imports import steps_of
from tools.project import project

HASH_LENGTH = 16
LOOK_UP = ("data_version", "champion")
"""What a scheduled run finds out when it starts."""
SECONDS_FIRST = "0 "
"""KFP's cron begins with the seconds."""


class Entry(NamedTuple):
    """A schedule as it is to be."""

    pipeline: str
    schedule: Schedule
    job: submit.Job
    mark: str


class Change(NamedTuple):
    """What stands on the cluster for a pipeline, beside what is to stand there."""

    pipeline: str
    entry: Entry | None
    same: Any
    """The recurring run that is the entry, if there is one."""
    others: list[Any]
    """Those that are to go."""

    @property
    def switched(self) -> bool:
        """Whether somebody has paused it, or had it go on, against the file."""
        return bool(self.entry and self.same and goes(self.same) != self.entry.schedule.enabled)

    @property
    def verdict(self) -> str:
        """What is to be done; empty when nothing is."""
        if self.entry and not self.same:
            return "replace" if self.others else "create"
        if self.switched:
            return "pause" if goes(self.same) else "resume"
        return "remove" if self.others else ""


def schedule(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    check: Annotated[bool, typer.Option("--check", help="Show the difference only.")] = False,
) -> None:
    """Have the cluster run pipelines by itself, exactly as the environment's file says."""
    environment = project().environment(env)
    environment.require_cluster(env)
    wanted = environment.schedules
    images.prefetch(sorted({step for pipeline in wanted for step in steps_of(pipeline)}))
    entries = [entry(pipeline, env, environment) for pipeline in wanted]
    if not check:
        for each in entries:
            require_commit(each.job.lineage)
            submit.require_images(each.job.lineage.images, env, environment)
    cluster = Cluster(env, environment)
    changes = differences(entries, cluster.recurring(), marks(env))
    table = Table("pipeline", "cron (UTC)", "state", box=None, pad_edge=False, header_style="dim")
    table.add_column("to do" if check else "done")
    for change in changes:
        if not check:
            carry_out(cluster, change)
        verdict = change.verdict if check or not change.verdict else f"{change.verdict}d"
        table.add_row(change.pipeline, *shown(change), verdict or "nothing")
    if changes:
        screen.console.print(table)
    pending = sum(bool(change.verdict) for change in changes)
    if check and pending:
        screen.fail(f"{pending} not as the file says: `make schedule ENV={env}` sees to it")
    if entries:
        screen.what_next(f"`make runs ENV={env}` shows what they have started.")
    else:
        file = f"config/environments/{env}.yaml"
        screen.what_next(f"Nothing runs by itself in {env}: {file} has no `schedules`.")


def entry(pipeline: str, env: str, environment: Environment) -> Entry:
    """What is to run by itself, with the mark by which it is known again."""
    wanted = environment.schedules[pipeline]
    job = submit.prepare(pipeline, env, environment, LOOK_UP)
    unmoved = job.lineage.model_copy(update={"git_commit": None, "git_dirty": False})
    known = {**job.arguments, "lineage": unmoved.model_dump_json()}
    parts = [
        job.made.version,
        {name: known[name] for name in sorted(job.arguments)},
        wanted.cron,
        wanted.catch_up,
        environment.service_account,
        environment.artifact_root,
    ]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:HASH_LENGTH]
    return Entry(pipeline, wanted, job, f"{marks(env)}{pipeline} {digest}")


def marks(env: str) -> str:
    """What the description of a recurring run of ours begins with; pipeline and hash follow."""
    return f"make schedule {project().name}/{env}/"


def require_commit(lineage: Lineage) -> None:
    """Refuse to schedule what is in no commit: it will run when nobody knows any more what it was.

    Raises:
        ProjectError: there are changes, or there is no git repository.
    """
    if lineage.git_commit is None or lineage.git_dirty:
        raise ProjectError(
            "there are changes that are not committed, and a schedule runs for longer than anyone "
            "remembers them: commit them first"
        )


def differences(entries: list[Entry], found: list[Any], ours: str) -> list[Change]:
    """What stands there beside what is to stand there, by pipeline."""
    there: dict[str, list[Any]] = {each.pipeline: [] for each in entries}
    for recurring in found:
        if (recurring.description or "").startswith(ours):
            pipeline = recurring.description.removeprefix(ours).partition(" ")[0]
            there.setdefault(pipeline, []).append(recurring)
    by_pipeline = {each.pipeline: each for each in entries}
    changes = []
    for pipeline, recurring_runs in there.items():
        wanted = by_pipeline.get(pipeline)
        same = [each for each in recurring_runs if wanted and each.description == wanted.mark][:1]
        others = [each for each in recurring_runs if each not in same]
        changes.append(Change(pipeline, wanted, same[0] if same else None, others))
    return changes


def carry_out(cluster: Cluster, change: Change) -> None:
    """Make it so: what is new first, so that a failure in between leaves no gap."""
    if change.entry and not change.same:
        wanted = change.entry
        cluster.schedule(
            Recurring(
                name=f"{cluster.experiment_name}-{wanted.pipeline.replace('_', '-')}",
                description=wanted.mark,
                cron=SECONDS_FIRST + wanted.schedule.cron,
                enabled=wanted.schedule.enabled,
                catch_up=wanted.schedule.catch_up,
            ),
            wanted.job.made,
            wanted.job.arguments,
        )
    if change.switched:
        cluster.switch(change.same.recurring_run_id, on=not goes(change.same))
    for other in change.others:
        cluster.unschedule(other.recurring_run_id)


def goes(recurring: Any) -> bool:
    """Whether a recurring run is not paused."""
    known: bool = recurring.mode == "ENABLE" or recurring.status == "ENABLED"
    return known


def shown(change: Change) -> tuple[str, str]:
    """The time and the state that a pipeline's schedule has from now on."""
    if not change.entry:
        return "", "gone"
    return change.entry.schedule.cron, "on" if change.entry.schedule.enabled else "paused"


if __name__ == "__main__":
    screen.start(schedule)
