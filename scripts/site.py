"""`make docs`: the documentation as a site, with a project of each flavour to browse."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts import screen
from scripts.ownership import Owners
from scripts.render import answers, generate, names
from scripts.repository import ROOT
from scripts.screen import Refused

BUILD = ROOT / ".site"
EXAMPLES = "examples"
FIRST = "laptop"
"""Shown whole; of the others, the files that are not as they are in this one."""
LANGUAGES = {
    ".hcl": "terraform", ".json": "json", ".md": "markdown", ".mk": "makefile", ".py": "python",
    ".tf": "terraform", ".toml": "toml", ".tfvars": "terraform", ".yaml": "yaml", ".yml": "yaml",
}  # fmt: skip
TOP = "Top level"
FENCE = "~" * 12
"""Longer than any in a page of a project."""


class Example:
    """A generated project, by path."""

    def __init__(self, flavour: str, folder: Path) -> None:
        """Generate it."""
        self.flavour = flavour
        generate(flavour, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        self.texts = {path.relative_to(folder).as_posix(): text(path) for path in files}

    def rooms(self) -> dict[str, list[str]]:
        """List its paths by the folder at the top that they are in."""
        found: dict[str, list[str]] = {TOP: []}
        for path in self.texts:
            folder, _, rest = path.partition("/")
            found.setdefault(folder if rest else TOP, []).append(path)
        return found


def text(path: Path) -> str:
    """Read a file; of one that is no text, say so."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return f"({path.stat().st_size} bytes that are no text)\n"


def page_of(room: str) -> str:
    """Name the page of a folder: a hidden one would not be published."""
    return f"{room.strip('.').lower().replace(' ', '-')}.md"


def overview(example: Example, first: Example) -> Iterator[str]:
    """The page of a flavour: its answers, its files, whose they are."""
    owners = Owners()
    yield f"# {example.flavour}\n"
    for line in (ROOT / f"flavours/{example.flavour}.yml").read_text("utf-8").splitlines():
        if line.startswith("#"):
            yield line.removeprefix("#").strip()
    given = answers(example.flavour)
    yield (
        "\nEvery answer is its default.\n"
        if not given
        else "\nIts answers, where they are not the defaults:\n"
    )
    yield from (f"- `{name}`: `{value}`" for name, value in given.items())
    if example is not first:
        yield f"\n**Bold**: not in [{FIRST}](../{FIRST}/index.md), or not the same there.\n"
    for room, paths in example.rooms().items():
        changed = {
            path
            for path in paths
            if example is not first and example.texts[path] != first.texts.get(path)
        }
        yield f"\n## {room}\n\n| file | whose | lines |\n|---|---|---|"
        for path in paths:
            flavour = example.flavour if path in changed else first.flavour
            link = f"[{path}](../{flavour}/{page_of(room)}#{anchor(path)})"
            lines = example.texts[path].count("\n")
            yield f"| {f'**{link}**' if path in changed else link} | {owners.of(path)} | {lines} |"


def anchor(path: str) -> str:
    """Name the place of a file on its page."""
    return "".join(letter if letter.isalnum() else "-" for letter in path).strip("-").lower()


def contents(example: Example, first: Example) -> Iterator[tuple[str, str]]:
    """The pages with the files themselves: of all flavours but the first, where they differ."""
    for room, paths in example.rooms().items():
        lines = [f"# {room}", "", f"Of the flavour [{example.flavour}](index.md).", ""]
        for path in paths:
            content = example.texts[path]
            if example is first or content != first.texts.get(path):
                language = LANGUAGES.get(Path(path).suffix, "text")
                lines += [
                    f"## {path} {{#{anchor(path)}}}",
                    "",
                    f"{FENCE}{language}",
                    content.rstrip("\n"),
                    FENCE,
                    "",
                ]
        if len(lines) > 4:
            yield page_of(room), "\n".join(lines)


def examples(folder: Path) -> None:
    """Write the pages of every flavour."""
    first = Example(FIRST, BUILD / FIRST)
    lines = [
        "# Examples",
        "",
        "A project of each flavour, as `make render FLAVOUR=` generates it today.",
        "",
    ]
    flavours = [FIRST, *(name for name in names() if name != FIRST)]
    for flavour in screen.track(flavours, "Examples", len(flavours)):
        example = first if flavour == FIRST else Example(flavour, BUILD / flavour)
        pages = {"index.md": "\n".join(overview(example, first)), **dict(contents(example, first))}
        for name, page in pages.items():
            (folder / flavour).mkdir(parents=True, exist_ok=True)
            (folder / flavour / name).write_text(f"{page}\n", "utf-8")
        lines.append(f"- [{flavour}]({flavour}/index.md): {len(example.texts)} files")
    (folder / "index.md").write_text("\n".join([*lines, ""]), "utf-8")


def docs() -> None:
    """Build the site."""
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(ROOT / "docs", BUILD / "docs")
    examples(BUILD / "docs" / EXAMPLES)
    zensical = str(Path(sys.executable).with_name("zensical"))
    with screen.console.status("Building the site"):
        done = subprocess.run(
            [zensical, "build", "--strict", "--clean"], cwd=ROOT, capture_output=True, text=True
        )
    if done.returncode:
        raise Refused(f"The site was not built:\n{(done.stdout + done.stderr).strip()}")
    pages = sum(1 for _ in (BUILD / "html").rglob("*.html"))
    screen.what_next(
        f"{pages} pages. Look at them: {sys.executable} -m http.server --directory .site/html"
    )


if __name__ == "__main__":
    screen.start(docs)
