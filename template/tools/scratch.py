"""A copy of this project, in which things can be tried that nobody wants in the project itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import ProjectError
from tools.project import ROOT
from tools.template import git

ENV = "scratch"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "artifacts", "__pycache__", ".*_cache")


def copy(folder: Path) -> Path:
    """Copy what git knows or would add, with an environment of its own, and return the folder.

    What was there before is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
    except ProjectError:
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    write(
        folder / f"config/environments/{ENV}.yaml",
        {"artifact_root": "artifacts", "model_store": "artifacts/models"},
    )
    return folder


def change(path: Path, sections: dict[str, dict[str, Any]]) -> None:
    """Set some keys of some sections of a YAML file."""
    content = yaml.safe_load(path.read_text()) or {}
    for name, values in sections.items():
        content[name] = {**(content.get(name) or {}), **values}
    write(path, content)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def command(module: str, *arguments: str) -> list[str]:
    """A verb, to be run by this Python."""
    return [sys.executable, "-m", module, *arguments]


def variables(folder: Path) -> dict[str, str]:
    """With which Python finds the copy's modules; what is tried there is tracked nowhere else."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**known, "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'src'}"}


def run(
    folder: Path, module: str, *arguments: str, capture: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run a verb in the copy, on this terminal unless what it says is captured."""
    pipe = subprocess.PIPE if capture else None
    with subprocess.Popen(
        command(module, *arguments),
        cwd=folder,
        env=variables(folder),
        stdout=pipe,
        stderr=pipe,
        text=True,
    ) as running:
        try:
            out, err = running.communicate()
        except KeyboardInterrupt:
            # It has heard Ctrl-C as well. `subprocess.run` would kill it before it has ended what
            # it started, which then nobody would.
            running.communicate()
            raise
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)
