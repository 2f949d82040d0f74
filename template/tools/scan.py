"""`make scan`: what is known to be vulnerable in the images and uv.lock, and has a fix. By Trivy.

With `MEND=1` what can be mended here is: packages are locked at newer versions, if need be at such
as pyproject.toml's exclude-newer keeps away, and where an image that is built again has less,
`images.epoch` is raised. The exit code is 1 while something is left.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

import typer
from rich.table import Table

from runtime.errors import ProjectError
from tools import proposal, screen, template
from tools.project import ROOT, project
from tools.template import git, uv

TRIVY = "trivy"
LOCK, PACKAGES, CONFIG = "uv.lock", "pyproject.toml", "config/project.yaml"
WRITTEN = (LOCK, PACKAGES, CONFIG)
EPOCH = re.compile(r"^(?P<key>\s+epoch:\s*)(?P<number>\d+)", re.MULTILINE)
# A section up to the next one's first line.
SECTION = re.compile(r"^\[tool\.uv\]\n(?:(?!\[).*\n)*", re.MULTILINE)
TABLE = "[tool.uv.exclude-newer-package]\n"
WHY = """\
# What `make scan MEND=1` found: the fix is newer than exclude-newer, which does not hold for these.
# uv.lock says which version is used. A line can go once exclude-newer is later than that version.
"""
SYSTEM = "os-pkgs"
PYTHON = ("python-pkg", "uv")
SECONDS = 900
SHOWN = 40


@dataclass(frozen=True, order=True)
class Finding:
    """A vulnerability that a newer version mends."""

    where: str
    """The image, or uv.lock."""
    package: str
    installed: str
    fixed: str
    name: str
    severity: str
    kind: str
    """Trivy's word for it, such as `python-pkg` in an image, `uv` in the lock file, `gobinary`."""
    system: bool
    """Of the base image or apt.txt."""

    @property
    def python(self) -> bool:
        """Whether it is a package that uv locks."""
        return self.kind in PYTHON


def scan(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    severity: Annotated[str, typer.Option(help="What counts, by its names.")] = "HIGH,CRITICAL",
    mend: Annotated[bool, typer.Option(help="Raise what can be raised, and propose it.")] = False,
) -> None:
    """Look at every image that is there, and at the lock file."""
    if not shutil.which(TRIVY):
        raise ProjectError(
            "trivy is not on the PATH, by which images are scanned: install it, or leave this to "
            "CI (docs/delivery.md)"
        )
    proposal.clear()
    base = proposal.head() if mend else ""
    if mend and (changed := written()):
        raise ProjectError(f"{changed[0]} is not committed: commit first, so that a fix is told")
    found = everything(env, severity)
    screen.console.print(table(found) if found else "Nothing that has a fix is known.")
    if mend and found:
        try:
            found = mended(env, severity, found)
        except ProjectError:
            for path in written():
                git("checkout", "--quiet", "--", path)
            raise
        if paths := written():
            propose(base, found, paths)
    if found:
        raise ProjectError(f"{len(found)} known vulnerabilities are left that have a fix somewhere")
    screen.what_next("`make images` builds what is missing.")


def everything(env: str, severity: str, only: Sequence[str] = ()) -> list[Finding]:
    """What is found in the images, or in some of them, and in the lock file."""
    found = scanned(LOCK, severity, "fs", LOCK)
    for name, reference, state in there(env, only):
        if state in ("missing", "unknown"):
            screen.warn(f"{name} is not there to be looked at ({reference}): CI builds it on main")
            continue
        found += scanned(name, severity, "image", reference)
    return sorted(set(found))


def there(env: str, only: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """Name, reference and state of each image, by the files as they now are."""
    rows = images("--env", env, "--only", " ".join(only), "--check", "--json")
    return [(row["name"], row["image"], row["state"]) for row in json.loads(rows)]


def images(*arguments: str) -> str:
    """What `make images` prints: in a process of its own, which reads the files anew.

    Raises:
        ProjectError: it fails; it has said why.
    """
    command = [sys.executable, "-m", "tools.build", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ProjectError("the images could not be looked at or built: the lines above say why")
    return done.stdout


def scanned(where: str, severity: str, *what: str) -> list[Finding]:
    """What Trivy finds in one place."""
    options = ["--format=json", "--quiet", "--scanners=vuln", "--ignore-unfixed"]
    kind, target = what
    command = [TRIVY, kind, *options, f"--severity={severity}", target]
    with screen.console.status(f"Scanning {where}"):
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ProjectError(f"trivy has not ended after {SECONDS} s, at {where}") from None
    if done.returncode:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise ProjectError(f"trivy cannot scan {where}: {said}")
    return [
        Finding(
            where,
            each["PkgName"],
            each.get("InstalledVersion", ""),
            each.get("FixedVersion", ""),
            each["VulnerabilityID"],
            each.get("Severity", ""),
            result.get("Type", ""),
            result.get("Class") == SYSTEM,
        )
        for result in json.loads(done.stdout).get("Results") or []
        for each in result.get("Vulnerabilities") or []
    ]


def mended(env: str, severity: str, found: Iterable[Finding]) -> list[Finding]:
    """Raise versions and, if that helps, the epoch; say what is left then."""
    python = sorted({each.package for each in found if each.python})
    if python:
        screen.notice(f"locks newer versions of {', '.join(python)}")
        relock(severity, python, vulnerable(found))
    system = [each for each in found if each.system]
    names = sorted({each.where for each in system})
    if not names:
        return everything(env, severity) if relocked() else [*found]
    file = ROOT / CONFIG
    before = file.read_text("utf-8")
    file.write_text(raised(before), encoding="utf-8")
    screen.notice(f"builds {', '.join(names)} again, to see whether that helps")
    images("--env", env, "--only", " ".join(names), "--json")
    left = everything(env, severity, names)
    if len([each for each in left if each.system]) >= len(system):
        screen.notice("it does not: the base image has no fix yet")
        file.write_text(before, encoding="utf-8")
        lock = [each for each in left if each.where == LOCK]
        return sorted([*system, *lock]) if relocked() else [*found]
    return left


def relock(severity: str, names: Iterable[str], locked: Sequence[str]) -> None:
    """Lock newer versions, and of what is not mended so, such as exclude-newer keeps away.

    A package that this does not help either is left to exclude-newer, as it was.
    """
    file = ROOT / PACKAGES
    before = file.read_text("utf-8")
    # First, so that a file that cannot be written leaves the other as it was.
    exempted(before, locked)
    upgrade(names)
    held = vulnerable(scanned(LOCK, severity, "fs", LOCK)) if locked else []
    if exempted(before, held) == before:
        return
    screen.notice(f"locks versions newer than exclude-newer of {', '.join(held)}")
    file.write_text(exempted(before, held), encoding="utf-8")
    upgrade(held)
    if left := vulnerable(scanned(LOCK, severity, "fs", LOCK)):
        helped = [name for name in held if name not in left]
        file.write_text(exempted(before, helped), encoding="utf-8")
        upgrade(held)


def upgrade(names: Iterable[str]) -> None:
    """Lock the newest versions of some packages that may be used."""
    uv("lock", "--quiet", *(f"--upgrade-package={name}" for name in names))


def vulnerable(found: Iterable[Finding]) -> list[str]:
    """The packages in the lock file that something is known of."""
    return sorted({each.package for each in found if each.where == LOCK})


def exempted(text: str, names: Iterable[str]) -> str:
    """The text of pyproject.toml where exclude-newer does not hold for some packages.

    It is no date of their own that they get: once an update has moved exclude-newer beyond it, that
    would keep them behind all others. What pyproject.toml says of a package stays as it is.

    Raises:
        ProjectError: it is written in a way that cannot be added to.
    """
    settings = tomllib.loads(text).get("tool", {}).get("uv", {})
    known = settings.get("exclude-newer-package", {})
    new = [name for name in names if name not in known]
    if not new or "exclude-newer" not in settings:
        return text
    lines = "".join(f"{name} = false\n" for name in new)
    if TABLE in text:
        made = text.replace(TABLE, TABLE + lines, 1)
    else:
        # A place of its own: an update merges line by line, and moves exclude-newer.
        section = SECTION.search(text)
        at = section.end() if section else len(text)
        made = f"{text[:at]}{WHY}{TABLE}{lines}\n{text[at:]}"
    expected = {**known, **dict.fromkeys(new, False)}
    try:
        if tomllib.loads(made)["tool"]["uv"]["exclude-newer-package"] == expected:
            return made
    except tomllib.TOMLDecodeError:
        pass
    raise ProjectError(
        f"{PACKAGES}: exclude-newer-package cannot be added to as it is written there: write it as "
        f"a table of its own, {TABLE.strip()}"
    )


def relocked() -> bool:
    """Whether the lock file is another one than the last commit's."""
    return LOCK in written()


def written() -> list[str]:
    """What of the files that this writes is another than the last commit's."""
    changed = template.changes(ROOT)
    return [path for path in WRITTEN if path in changed]


def raised(text: str) -> str:
    """The text of config/project.yaml with a greater epoch.

    Raises:
        ProjectError: it does not say which it is.
    """
    new, count = EPOCH.subn(lambda m: f"{m['key']}{int(m['number']) + 1}", text)
    if count != 1:
        raise ProjectError(f"{CONFIG} has no `epoch: 0` below `images:`, to be raised: write it")
    return new


def propose(base: str, left: Sequence[Finding], paths: Sequence[str]) -> None:
    """Commit what was raised, and write down what a pull request needs."""
    title = "Build the images again" if CONFIG in paths else "Lock newer packages"
    title += ", as fixes are out for what they hold"
    git("commit", "--quiet", "--no-verify", f"--message={title}", "--only", "--", *paths)
    lock = sha256((ROOT / LOCK).read_bytes()).hexdigest()[:8]
    after = "\n".join(f"- {line(each)}" for each in left[:SHOWN]) or "Nothing that is known."
    body = f"Found by `make scan`, and mended where it is.\n\n## Left after this\n\n{after}"
    epoch = project_epoch()
    proposal.write(base, f"epoch-{epoch}-lock-{lock}", title, body)


def project_epoch() -> int:
    """The epoch as the file has it now."""
    found = EPOCH.search((ROOT / CONFIG).read_text("utf-8"))
    return int(found["number"]) if found else project().images.epoch


def line(each: Finding) -> str:
    """A finding in a line."""
    what = f"{each.package} {each.installed}, fixed in {each.fixed}"
    return f"{each.severity} {each.name} in {each.where}: {what}"


def table(found: Sequence[Finding]) -> Table:
    """A row for each vulnerability, the first ones."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in ("where", "package", "installed", "fixed in", "vulnerability", "severity"):
        made.add_column(name)
    cells: Any
    for each in found[:SHOWN]:
        cells = (each.where, each.package, each.installed, each.fixed, each.name, each.severity)
        made.add_row(*map(screen.escape, cells))
    if len(found) > SHOWN:
        made.add_row(f"and {len(found) - SHOWN} more")
    return made


if __name__ == "__main__":
    screen.start(scan)
