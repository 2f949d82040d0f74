"""Self-contained pages: one file that opens anywhere, without a network."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from runtime.records import moment

FOLDER = Path(__file__).with_name("pages")


def write(path: Path, template: str, **values: Any) -> None:
    """Render a template of tools/pages/ into a file that is there as a whole or not at all."""
    text = rendered(template, **values)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


def rendered(template: str, **values: Any) -> str:
    """A template of tools/pages/ with values in it; in HTML they are text, whatever they hold."""
    jinja = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters |= {
        "number": number,
        "duration": duration,
        "moment": moment,
        "plain": plain,
        "short": short,
        "cell": cell,
        "markdown": markdown,
    }
    return jinja.get_template(template).render(values, inline=inline)


def inline(name: str) -> Markup:
    """A file of tools/pages/ as it is: styles, scripts."""
    return Markup((FOLDER / name).read_text("utf-8"))  # noqa: S704 # our own file


def markdown(text: str, level: int = 0) -> Markup:
    """Markdown as HTML, its headings `level` deeper; markup and pictures from elsewhere are not let
    in."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + level, 6)}"
    html = parser.renderer.render(tokens, parser.options, {})
    return Markup(html)  # noqa: S704 # the parser escapes


def headings(text: str) -> list[Token]:
    """The second-level headings of Markdown; `map` tells their lines, `content` their text."""
    tokens = MarkdownIt("commonmark").parse(text)
    found = []
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h2" and opening.level == 0:
            found.append(content)
    return found


def number(value: float | None) -> str:
    """A number to be compared with others: four decimals, fewer where it is large."""
    if value is None:
        return "-"
    if abs(value) >= 1e6:
        return f"{value:.3e}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4f}"


def plain(value: Any) -> str:
    """A setting as it is written in YAML, but short."""
    if value is None or value == "":
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def short(value: Any) -> str:
    """A setting to be compared with others: in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def cell(value: Any) -> str:
    """Text that stays within a cell of a Markdown table."""
    return plain(value).replace("|", "\\|").replace("\n", " ")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    if seconds >= 60:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds:.1f} s"
