"""`make render`: generate a flavour from the working tree, what is not committed included."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import copier
import typer
import yaml
from copier.errors import CopierError, DirtyLocalWarning

from scripts import screen
from scripts.repository import ROOT, git
from scripts.screen import Refused

FLAVOURS = ROOT / "flavours"


def names() -> list[str]:
    """List the flavours."""
    return sorted(path.stem for path in FLAVOURS.glob("*.yml"))


def answers(flavour: str) -> dict[str, Any]:
    """Read the answers of a flavour.

    Raises:
        Refused: there is no such flavour.
    """
    if flavour not in names():
        raise Refused(f"There is no flavour {flavour!r}: choose from {', '.join(names())}.")
    read: dict[str, Any] = yaml.safe_load((FLAVOURS / f"{flavour}.yml").read_text("utf-8"))
    return read


def whole() -> list[str]:
    """List the flavours whose projects are run; a cloud only adds what tests/test_infra*.py run."""
    return [name for name in names() if not answers(name).get("cloud_targets")]


def online() -> list[str]:
    """List the flavours that have a model server of their own kind."""
    return [name for name in whole() if "online" in answers(name).get("serving_styles", ["online"])]


def generate(flavour: str, target: Path, template: Path = ROOT) -> None:
    """Generate a flavour without trust.

    Raises:
        Refused: Copier or git says no.
    """
    copy(template, target, answers(flavour))


def copy(template: Path, target: Path, given: dict[str, Any], release: str = "HEAD") -> None:
    """Generate a project without trust, from what a release is, or what is there now.

    Raises:
        Refused: Copier or git says no.
    """
    # Asked before Copier does: it would take a repository without a commit for a plain folder.
    git(template, "rev-parse", "--verify", "HEAD")
    try:
        with warnings.catch_warnings():
            # It says that changes are included which are not committed: they are to be.
            warnings.simplefilter("ignore", DirtyLocalWarning)
            copier.run_copy(
                str(template),
                target,
                given,
                vcs_ref=release,
                defaults=True,
                quiet=True,
                unsafe=False,
            )
    except (CopierError, OSError, ValueError) as error:
        raise Refused(f"Copier could not generate {target}: {error}") from error


def destination(dest: str) -> Path:
    """Find the folder that a person means.

    Raises:
        Refused: it cannot be made, or is there already.
    """
    if not dest.strip():
        raise Refused("DEST is empty: say where the project goes, as in DEST=../my-model.")
    target = Path(dest).expanduser().absolute()
    if target.is_symlink() or target.exists():
        raise Refused(f"{target} is there already, and was left as it is: choose another DEST.")
    target = target.resolve()
    if target.is_relative_to(ROOT):
        raise Refused(f"{target} is inside this checkout: choose a DEST outside, as ../my-model.")
    return target


def render(
    flavour: Annotated[str, typer.Option(envvar="FLAVOUR", help="A file of flavours/.")] = "laptop",
    dest: Annotated[str, typer.Option(envvar="DEST", help="Where the project goes.")] = "",
) -> None:
    """Generate a flavour, to look at or to edit."""
    target = destination(dest)
    generate(flavour, target)
    screen.what_next(f"{flavour} is in {target}.")


if __name__ == "__main__":
    screen.start(render)
