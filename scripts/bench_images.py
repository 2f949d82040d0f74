"""Images: what their tags cost when nothing has changed, what an edit rebuilds, what they weigh.

Builds are given what the variable BUILD_ARGS says, as by `make images`.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.screen import Refused

TAGS = "from tools import images; print(*map(images.image, images.names()))"
MEGA = 10**6


@dataclass(frozen=True)
class Weight:
    """The megabytes of an image, by what they are made of."""

    image: str
    base: float
    dependencies: float
    ours: float
    """Sources, system packages and the user: all else."""


@dataclass(frozen=True)
class Rebuilt:
    """What `make images` did after an edit."""

    seconds: float
    images: dict[str, float]
    """Each image that was built, by the seconds that it took."""


class Images:
    """The images of a project, in the engine of this machine."""

    def __init__(self, project: Path, environment: Mapping[str, str]) -> None:
        """Build all that is missing."""
        self._project = project
        self._environment = environment
        self._build()

    def after_edit(self) -> Rebuilt:
        """Change a line of the model's module, and build what is missing then."""
        (module,) = self._project.glob("src/*/model.py")
        text = module.read_text("utf-8")
        module.write_text(f"{text}\n# {time.time_ns()}\n", encoding="utf-8")
        started = time.perf_counter()
        listed = self._build()
        taken = time.perf_counter() - started
        module.write_text(text, encoding="utf-8")
        built = {row["name"]: row["seconds"] for row in listed if row["state"] == "built"}
        for row in listed:
            if row["state"] == "built":
                self._docker("image", "rm", row["image"])
        return Rebuilt(taken, built)

    def weights(self) -> list[Weight]:
        """Weigh every image; layers that several share count in each."""
        weights = []
        for row in self._build():
            found = json.loads(self._docker("image", "inspect", row["image"]))[0]
            base = found["Config"]["Labels"]["org.opencontainers.image.base.name"]
            from_base = int(self._docker("image", "inspect", "--format", "{{.Size}}", base))
            layers = self._docker(
                "history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", row["image"]
            )
            (installed,) = (
                int(layer.split()[0]) for layer in layers.splitlines() if " /opt/venv " in layer
            )
            ours = found["Size"] - from_base - installed
            parts = (size / MEGA for size in (from_base, installed, ours))
            weights.append(Weight(row["name"], *parts))
        return weights

    def _build(self) -> list[dict[str, Any]]:
        said = self._run("make", "images", "ENGINE=docker", "JSON=1")
        listed: list[dict[str, Any]] = json.loads(said)
        return listed

    def _docker(self, *arguments: str) -> str:
        return self._run("docker", *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self._project,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Refused(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout
