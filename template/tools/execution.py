"""How a step is executed on a cluster: resources, nodes, retries, secrets, volumes, caching."""

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from runtime.settings import Settings

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Waited before the first retry, and doubled before each other.
BACKOFF = "30s"


def _text(value: object) -> object:
    """YAML reads 2 as a number, where Kubernetes has the text "2"."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if plain else value


def _cpu(value: str) -> str:
    if not re.fullmatch(r"\d+m|\d+(\.\d{1,3})?", value) or not float(value.rstrip("m")):
        raise ValueError("write cores such as 2 or 0.5, or thousandths of one such as 500m")
    return value


def _memory(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d*([KMGTPE]i?)?", value):
        raise ValueError("write a whole number and a unit, without a space, such as 512Mi or 2Gi")
    return value


def _duration(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[smhd]", value):
        raise ValueError("write a whole number and s, m, h or d, such as 30m or 2h")
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("write the path inside the container, from / on")
    return value


Cpu = Annotated[str, BeforeValidator(_text), AfterValidator(_cpu)]
Memory = Annotated[str, BeforeValidator(_text), AfterValidator(_memory)]
Duration = Annotated[str, AfterValidator(_duration)]
MountPath = Annotated[str, AfterValidator(_path)]
Value = Annotated[str, BeforeValidator(_text)]


class Accelerator(Settings):
    """A device that a node has few of."""

    type: str = "nvidia.com/gpu"
    """The resource's name in Kubernetes."""
    count: int = Field(default=1, ge=1)
    """How many of them the step gets."""


class Toleration(Settings):
    """Lets a step's pod onto nodes with this taint."""

    key: str
    """Of the taint."""
    operator: Literal["Equal", "Exists"] = "Exists"
    """Whether the taint's value has to be `value`, or may be any."""
    value: str | None = None
    """Of the taint, for `Equal`."""
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None
    """Of the taint; without it, any."""


class Secret(Settings):
    """A Kubernetes Secret of the environment's namespace, by name: its content is never here."""

    name: str
    """Of the Secret."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variable to key of the Secret."""
    mount: MountPath | None = None
    """Folder in which each key is a file."""

    @model_validator(mode="after")
    def _reaches_the_step(self) -> Self:
        if not self.env and self.mount is None:
            raise ValueError("give it `env` (variable: key) or `mount` (a folder)")
        return self


class Volume(Settings):
    """A folder that outlives the container's own files, or is larger than they may be."""

    mount: MountPath
    """Where the step finds the folder."""
    claim: str | None = None
    """Name of a PersistentVolumeClaim."""
    scratch: Memory | None = None
    """Size of an empty folder that ends with the step."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if (self.claim is None) == (self.scratch is None):
            raise ValueError(
                "give it either `claim` (a PersistentVolumeClaim) or `scratch` (a size)"
            )
        return self


class Execution(Settings):
    """What one step is given on a cluster; what is not set is left to the cluster."""

    cpu: Cpu | None = None
    """Cores that are reserved: 2 or 500m."""
    cpu_limit: Cpu | None = None
    """Most cores that it may use; without one it may use what is idle."""
    memory: Memory | None = None
    """Reserved, and the most that it may use: 2Gi."""
    accelerator: Accelerator | None = None
    """A GPU, or another device."""
    node_selector: dict[str, Value] = Field(default_factory=dict)
    """Labels that the node must have."""
    tolerations: list[Toleration] = Field(default_factory=list)
    """Taints of nodes that it may run on all the same."""
    retries: int = Field(default=0, ge=0, le=10)
    """How often it is tried again after a failure."""
    timeout: Duration | None = None
    """After which it is stopped: 30m or 2h."""
    env: dict[str, Value] = Field(default_factory=dict)
    """Environment variables that are no secret."""
    secrets: list[Secret] = Field(default_factory=list)
    """Secrets that it sees, as variables or as files."""
    volumes: list[Volume] = Field(default_factory=list)
    """Folders beside the container's own files."""
    cache: bool = True
    """Whether a result of before is used when nothing that it depends on has changed."""

    def over(self, other: "Execution") -> "Execution":
        """These settings, and those of `other` where a key is not set here."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        return other.model_copy(update=own)

    def apply(self, task: "PipelineTask") -> None:
        """Set a task of a pipeline that is being traced."""
        from kfp import kubernetes

        if self.cpu:
            task.set_cpu_request(self.cpu)
        if self.cpu_limit:
            task.set_cpu_limit(self.cpu_limit)
        if self.memory:
            task.set_memory_request(self.memory).set_memory_limit(self.memory)
        if self.accelerator:
            task.set_accelerator_type(self.accelerator.type)
            task.set_accelerator_limit(self.accelerator.count)
        for label, value in self.node_selector.items():
            kubernetes.add_node_selector(task, label, value)
        for toleration in self.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump())
        if self.retries:
            task.set_retry(self.retries, backoff_duration=BACKOFF, backoff_factor=2.0)
        if self.timeout:
            kubernetes.set_timeout(task, int(self.timeout[:-1]) * SECONDS[self.timeout[-1]])
        for name, value in self.env.items():
            task.set_env_variable(name, value)
        for secret in self.secrets:
            if secret.env:
                keys = {key: variable for variable, key in secret.env.items()}
                kubernetes.use_secret_as_env(task, secret.name, keys)
            if secret.mount:
                kubernetes.use_secret_as_volume(task, secret.name, secret.mount)
        for number, volume in enumerate(self.volumes):
            if volume.claim:
                kubernetes.mount_pvc(task, volume.claim, volume.mount)
            else:
                kubernetes.empty_dir_mount(
                    task, f"scratch-{number}", volume.mount, size_limit=volume.scratch
                )
        if not self.cache:
            task.set_caching_options(False)
