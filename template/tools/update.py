"""`make update`: the template's newer release, tried beside the project and brought on a branch.

What an update has to look at is known to the release that it goes to. So this only finds the
release and starts its script, hooks/update.py in the template's repository.
"""

import shlex
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import screen, template
from tools.template import Origin, Release, number


def update(
    to: Annotated[str, typer.Option(help="A release; the newest without.")] = "",
    data: Annotated[
        str, typer.Option(envvar="ANSWERS", help="To change: name=value name=value")
    ] = "",
    preview: Annotated[bool, typer.Option(help="Change nothing, only show.")] = False,
    quick: Annotated[bool, typer.Option(help="Neither lock nor check nor test.")] = False,
) -> None:
    """Update to a newer release of the template, or change answers."""
    made_from = template.origin()
    repository = template.repository(made_from)
    answers = words(data)
    release = choose(made_from, template.releases(repository), to, bool(answers))
    if release is None:
        screen.what_next(f"This project has {made_from.version}: there is no newer release.")
        return
    options = [f"--data={answer}" for answer in answers]
    options += ["--preview"] if preview else []
    options += ["--no-lock", "--no-checks"] if quick else []
    done = template.run_hook("update", release, made_from, repository, *options)
    raise typer.Exit(done.returncode)


def words(data: str) -> list[str]:
    """The answers in a text that is quoted as a shell's."""
    try:
        answers = shlex.split(data)
    except ValueError:
        answers = ["a quote is not closed"]
    if wrong := [answer for answer in answers if "=" not in answer]:
        raise ProjectError(f"DATA: write each answer as name=value, not as {wrong[0]!r}")
    return answers


def choose(
    made_from: Origin, releases: list[Release], to: str, answers: bool = False
) -> Release | None:
    """The release to update to: the newest that is good, or the one asked for.

    The release that the project has will do when answers are to be changed. None if there is
    nothing to do.

    Raises:
        ProjectError: there is no such release, it is older, or it was withdrawn.
    """
    has = number(made_from.version)
    if not has:
        raise ProjectError(
            f"{made_from.file}: _commit: {made_from.version} is no release, so there is no telling "
            "what is newer"
        )
    good = [release for release in releases if not release.yanked]
    if not to:
        will_do = [
            release
            for release in good
            if number(release.version) > has or (answers and number(release.version) == has)
        ]
        if answers and not will_do:
            raise ProjectError(
                f"this project was made from {made_from.version}, between two releases, and "
                "answers are changed at a release: wait for the next one"
            )
        return will_do[-1] if will_do else None
    asked = next((release for release in releases if release.version == to), None)
    if asked is None:
        there = template.some(release.version for release in good if number(release.version) > has)
        raise ProjectError(f"there is no release {to}; newer are: {there or 'none'}")
    if asked.yanked:
        raise ProjectError(f"release {to} was withdrawn: {asked.yanked}")
    if number(to) < has:
        raise ProjectError(
            f"{to} is older than {made_from.version}, and an update only goes forward. To go back, "
            f"revert the commit of the update: {last_update(made_from)}"
        )
    return asked if answers or number(to) > has else None


def last_update(made_from: Origin) -> str:
    """The command that reverts the commit which brought the project's release."""
    found = template.git(
        "log", "-1", "--format=%h", f"-S_commit: {made_from.version}", "--", made_from.file
    )
    return f"git revert {found.strip()}"


if __name__ == "__main__":
    screen.start(update)
