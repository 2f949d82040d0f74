"""`make propose-update`: prepare the pull request that brings a newer release of the template.

Conflicts are committed as git marks them, and the pull request is a draft that says so: they are
resolved on its branch.
"""

from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import proposal, screen, template
from tools.template import git
from tools.update import choose


def propose(
    to: Annotated[str, typer.Option(help="A release; the newest without.")] = "",
    quick: Annotated[bool, typer.Option(help="Neither lock nor check nor test.")] = False,
) -> None:
    """Update on a branch, and write down what a pull request needs."""
    made_from = template.origin()
    repository = template.repository(made_from)
    release = choose(made_from, template.releases(repository), to)
    proposal.clear()
    if release is None:
        screen.what_next(f"This project has {made_from.version}: there is nothing to propose.")
        return
    base = proposal.head()
    options = ["--no-lock", "--no-checks"] if quick else []
    done = template.run_hook("update", release, made_from, repository, *options, capture=True)
    if not done.stdout.strip():
        raise ProjectError(f"the update to {release.version} was refused: the lines above say why")
    unmerged = git("diff", "-z", "--name-only", "--diff-filter=U")
    conflicts = sorted(filter(None, unmerged.split("\0")))
    title = f"Update the template from {made_from.version} to {release.version}"
    if conflicts:
        git("add", "--all")
        message = f"{title}\n\nWith conflicts in {', '.join(conflicts)}"
        git("commit", "--quiet", "--no-verify", f"--message={message}")
        title = f"Conflicts in {len(conflicts)}: {title[0].lower()}{title[1:]}"
    body = f"{advice(conflicts)}{done.stdout}"
    proposal.write(base, release.version, title, body, draft=done.returncode != 0)


def advice(conflicts: list[str]) -> str:
    """What a person has to do before the rest is worth reading."""
    if not conflicts:
        return ""
    listed = "\n".join(f"- `{path}`" for path in conflicts)
    return (
        "**This cannot be merged as it is.** Check its branch out, resolve what git marks in\n\n"
        f"{listed}\n\nthen `make setup check test`, commit and push.\n\n"
    )


if __name__ == "__main__":
    screen.start(propose)
