"""The documentation as a site: it builds, and is looked at in a real browser."""

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser
from conftest import ROOT, Template

from scripts import site
from scripts.render import names

PHONE, DESK = 360, 1280
SEARCH = ".md-search__button"
# The search is a part of the page that has a root of its own.
ROOTS = "[...document.querySelectorAll('*')].flatMap(e => e.shadowRoot ?? [])"
TYPED_INTO = f"{ROOTS}.some(e => e.activeElement?.tagName === 'INPUT')"
FOUND = f"{ROOTS}.flatMap(e => [...e.querySelectorAll('a[href]')])"
PAGES = [
    path.relative_to(ROOT / "docs").with_suffix("").as_posix()
    for path in sorted((ROOT / "docs").rglob("*.md"))
]


class Silent(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_: object) -> None:
        """Not to standard error."""


@pytest.fixture(scope="module")
def built(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build the site, strictly: a warning is an error."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("site")
        for name in ("docs", "flavours", "zensical.toml"):
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / name)
        patch.setattr(site, "ROOT", folder)
        patch.setattr(site, "BUILD", folder / ".site")
        site.docs()
        yield folder / ".site/html"


@pytest.fixture(scope="module")
def served(built: Path) -> Iterator[str]:
    """Serve it on this machine, and give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=built))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start a browser for all tests here."""
    with browser() as tab:
        yield tab


def test_every_page_is_in_the_menu(built: Path) -> None:
    """What is written is found, and every flavour is there to browse."""
    start = (built / "index.html").read_text("utf-8")
    linked = set(re.findall(r'href="(?:\./)?([\w/-]*)/"', start))
    assert {page for page in PAGES if page != "index"} <= linked
    for flavour in names():
        assert (built / "examples" / flavour / "index.html").exists()


def test_numbered_lists_go_on(built: Path) -> None:
    """A list whose code is indented by less than four spaces begins anew after it, at 1."""
    for page in PAGES:
        source = (ROOT / f"docs/{page}.md").read_text("utf-8")
        written = built / ("index.html" if page == "index" else f"{page}/index.html")
        begun = len(re.findall(r"^1\. ", source, re.MULTILINE))
        # Footnotes are a list too.
        content = written.read_text("utf-8").partition('class="footnote"')[0]
        assert content.count("<ol>") == begun, page


def test_it_asks_nobody(built: Path) -> None:
    """No font, script or picture of another host."""
    asked = re.compile(r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?|png|svg)"')
    for page in built.rglob("*.html"):
        assert not asked.findall(page.read_text("utf-8")), page


@pytest.mark.chromium
@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize(
    "page", ["", "reference/settings/", "reference/proof/", "examples/laptop/"]
)
def test_it_can_be_read(served: str, chromium: Browser, page: str, width: int, dark: bool) -> None:
    """On a phone and a desk, by day and by night, without sideways scrolling of the page."""
    chromium.open(served + page, width=width, dark=dark)
    assert all(url.startswith((served, "data:")) for url in chromium.requests), chromium.requests
    assert chromium.complaints == []
    assert chromium.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert chromium.count("h1") == 1
    shade = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = map(int, re.findall(r"\d+", shade)[:3])
    assert (red + green + blue < 384) is dark


@pytest.mark.chromium
def test_search(served: str, chromium: Browser) -> None:
    """A word leads to the page that has it."""
    chromium.open(served)
    wait(lambda: chromium.count(SEARCH) == 1)
    chromium.evaluate(f"document.querySelector('{SEARCH}').click()")
    wait(lambda: chromium.evaluate(TYPED_INTO))
    chromium.send("Input.insertText", text="wsl")
    wait(lambda: chromium.evaluate(f"{FOUND}.some(e => e.href.includes('/how-to/windows/'))"))
    assert chromium.complaints == []


def wait(true: Callable[[], Any]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.1)
