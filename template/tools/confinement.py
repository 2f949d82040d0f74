"""What the container of a step is given, and nothing else.

Of this machine's files: the run's outputs, the model store, and what the step's own settings name.
No network, unless they name something that is elsewhere. No rights, and a /tmp as the only place of
its own to write to. The secrets and limits that the environment's file gives this step.
"""

import glob
import json
import os
import posixpath
import re
from typing import Any, NamedTuple

from docker.types import Mount
from pydantic import ByteSize, TypeAdapter

from runtime import sources
from runtime.errors import ProjectError
from runtime.settings import Settings
from tools.execution import Execution
from tools.project import ROOT
from tools.runners import Plan

# The working directory of the steps' images.
WORKDIR = "/app"


class Given(NamedTuple):
    """What the container of one step is given beyond what all of them are."""

    environment: dict[str, str]
    """Secrets among it: never shown, never recorded."""
    options: dict[str, Any]
    """As docker's `containers.create` calls them."""


def confined(engine: dict[str, Any]) -> dict[str, Any]:
    """What holds for every container, on an engine that says this of itself."""
    features = ",".join(engine.get("SecurityOptions") or [])
    # What a rootless engine calls root is the person who started it.
    user = "0:0" if "name=rootless" in features else f"{os.getuid()}:{os.getgid()}"
    # SELinux would want the team's own files to be relabelled, or it hides them.
    selinux = ["label=disable"] if "name=selinux" in features else []
    return {
        "user": user,
        "read_only": True,
        "tmpfs": {"/tmp": ""},  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", *selinux],
    }


def given(step: str, plan: Plan) -> Given:
    """What one step's container is given: files, network, secrets, limits."""
    settings, execution = plan.settings[step], plan.environment.execution(step)
    options: dict[str, Any] = {"mounts": mounts(settings, plan.model_store), **limits(execution)}
    if not reaches(settings, plan.model_store):
        options["network_mode"] = "none"
    return Given(variables(step, settings, execution), options)


def mounts(settings: Settings, model_store: str) -> list[Mount]:
    """The files of this machine that a step reads and writes, where it looks for them.

    Those of its `source`, `query` and `labels` cannot be written; its `output` and the model store
    can.
    """
    values = settings.model_dump()
    source, query, labels, output = (
        str(values.get(key) or "") for key in ("source", "query", "labels", "output")
    )
    read = [
        sources.local_path(source),
        sources.local_path(labels),
        *re.findall(r"'([^']+)'", query),
    ]
    found = [
        (path, True)
        for pattern in filter(None, read)
        for path in sorted({*glob.glob(pattern, root_dir=ROOT, recursive=True), pattern})
        if (ROOT / path).is_file() or (sources.is_log(source) and (ROOT / path).is_dir())
    ]
    for folder in (sources.local_path(output), sources.local_path(model_store)):
        if folder:
            (ROOT / folder).mkdir(parents=True, exist_ok=True)
            found.append((folder, False))
    return [
        Mount(
            posixpath.normpath(posixpath.join(WORKDIR, path)),
            os.path.abspath(ROOT / path),
            type="bind",
            read_only=read_only,
        )
        for path, read_only in dict(found).items()
    ]


def reaches(settings: Settings, model_store: str) -> str:
    """What of a step's settings is on another machine, by its key; empty if nothing is."""
    values = {**settings.model_dump(mode="json"), "the model store": model_store}
    for key, value in values.items():
        if isinstance(value, str):
            value = sources.filled(value)
        here = isinstance(value, str) and sources.local_path(value)
        if "://" in json.dumps(value) and not here:
            return key
    return ""


def variables(step: str, settings: Settings, execution: Execution) -> dict[str, str]:
    """The variables of this process that a step is given.

    Those that the environment's file calls secrets, and those that its settings have as `${NAME}`.

    Raises:
        ProjectError: a secret is not set.
    """
    secret = {variable for each in execution.secrets for variable in each.env}
    for name in sorted(secret - os.environ.keys()):
        raise ProjectError(
            f"{step} is to be given the secret {name}: set this variable where `make run` is typed"
        )
    read = {found[1] for found in sources.VARIABLE.finditer(settings.model_dump_json())}
    return {name: os.environ[name] for name in secret | (read & os.environ.keys())}


def limits(execution: Execution) -> dict[str, Any]:
    """The limits of memory and cores that a container has."""
    found: dict[str, Any] = {}
    if execution.memory:
        memory = int(TypeAdapter(ByteSize).validate_python(f"{execution.memory}B"))
        found |= {"mem_limit": memory, "memswap_limit": memory}
    if execution.cpu_limit:
        thousandths = execution.cpu_limit.endswith("m")
        cores = float(execution.cpu_limit.rstrip("m")) / (1000 if thousandths else 1)
        found["nano_cpus"] = int(min(cores, os.cpu_count() or cores) * 1e9)
    return found


def described(plan: Plan) -> str:
    """Which containers have a network, and why."""
    reaching = {step: reaches(each, plan.model_store) for step, each in plan.settings.items()}
    because = [f"{step} for {key}" for step, key in reaching.items() if key]
    network = f"with a network: {', '.join(because)}" if because else "without a network"
    return f"in containers, {network}"
