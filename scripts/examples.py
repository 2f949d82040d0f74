"""`make examples`: what a release generates, a folder for each flavour: the branch `examples`.

Each is a project that can be updated: it names the place where the template is published.
"""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from scripts import ledger, screen
from scripts.render import copy, destination
from scripts.repository import ROOT, git
from scripts.screen import Refused

ANSWERS = ".copier-answers.yml"
FLAVOUR = re.compile(r"flavours/(.+)\.yml")


def examples(
    dest: Annotated[str, typer.Option(envvar="DEST", help="Where the folders go.")] = "",
    version: Annotated[str, typer.Option(envvar="VERSION", help="A release; or the newest.")] = "",
    names: Annotated[bool, typer.Option(help="Only print the flavours, as JSON.")] = False,
) -> None:
    """Generate every flavour of a release."""
    with tempfile.TemporaryDirectory() as folder:
        clone, version = released(Path(folder, "template"), version)
        flavours = flavours_of(clone, version)
        if names:
            print(json.dumps([*flavours]))
            return
        target, source = destination(dest), published()
        for name, answers in flavours.items():
            screen.say(name)
            copy(clone, target / name, answers, version)
            point(target / name, source)
    rows = "\n".join(f"- [{name}]({name}/): {told(each)}" for name, each in flavours.items())
    text = (
        f"# What release {version} generates\n\nWritten by a workflow: edits are lost.\n\n{rows}\n"
    )
    (target / "README.md").write_text(text, encoding="utf-8")
    screen.what_next(f"{len(flavours)} flavours of {version} are in {target}.")


def released(clone: Path, version: str = "") -> tuple[Path, str]:
    """Clone this repository with a tag for each release, and say which release is meant.

    Raises:
        Refused: there is no such release.
    """
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    versions = ledger.tag_releases(clone)
    if not versions or version not in ("", *versions):
        raise Refused(f"There is no release {version or 'yet'}: {', '.join(versions) or 'none'}.")
    return clone, version or versions[-1]


def flavours_of(clone: Path, version: str) -> dict[str, dict[str, Any]]:
    """Read the flavours that a release has: a newer one may ask what it does not."""
    listed = git(clone, "ls-tree", "--name-only", version, "flavours/").splitlines()
    found = filter(None, map(FLAVOUR.fullmatch, listed))
    return {each[1]: yaml.safe_load(git(clone, "show", f"{version}:{each[0]}")) for each in found}


def point(project: Path, source: str) -> None:
    """Have a project say where its template is."""
    file = project / ANSWERS
    text = file.read_text("utf-8")
    file.write_text(
        re.sub("^_src_path: .*", f"_src_path: {source}", text, flags=re.MULTILINE), encoding="utf-8"
    )


def published() -> str:
    """Give the address of this repository.

    Raises:
        Refused: nothing says it.
    """
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}.git"
    return git(ROOT, "remote", "get-url", "origin")


def told(answers: dict[str, Any]) -> str:
    """Say in a line what a flavour answers."""
    listed = (
        f"`{name}`: {', '.join(value) if isinstance(value, list) else value}"
        for name, value in answers.items()
    )
    return "; ".join(listed) or "all defaults"


if __name__ == "__main__":
    screen.start(examples)
