"""Where a build gets packages from: the index that uv uses on this machine, as a secret of it.

Without any of these a build asks the public index, or the one that its base image is set to:

- `UV_DEFAULT_INDEX`, `UV_INDEX` and their older names `UV_INDEX_URL`, `UV_EXTRA_INDEX_URL`
- `[[tool.uv.index]]` in pyproject.toml
- `PIP_INDEX_URL`, `PIP_EXTRA_INDEX_URL`

A password is part of the URL, or in `UV_INDEX_<NAME>_USERNAME` and `…_PASSWORD`, or in ~/.netrc.
"""

import json
import netrc
import os
import re
import tomllib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from runtime.errors import ProjectError
from tools.project import ROOT


class Index(NamedTuple):
    """A package index, by a URL that may hold a password."""

    url: str
    default: bool
    """Whether it takes the place of the public one."""


def secrets(folder: Path, root: Path = ROOT) -> dict[str, Path]:
    """Write the settings of uv and pip for a build; by the id that the Dockerfiles ask for.

    `folder` is one that others cannot read.
    """
    # No container reaches a folder of this machine.
    found = [index for index in indexes(root) if index.url.startswith("http")]
    made = {}
    if found:
        # The hash of each file is known, so it does not matter which index has it.
        lines = ['index-strategy = "unsafe-best-match"']
        for index in found:
            lines += ["[[index]]", f"url = {json.dumps(index.url)}"]
            lines += ["default = true"] if index.default else []
        made["uv"] = folder / "uv.toml"
        made["uv"].write_text("\n".join(lines) + "\n")
    # uv itself is installed by pip.
    url = _from("PIP_INDEX_URL") or [index.url for index in found if index.default]
    extra = _from("PIP_EXTRA_INDEX_URL")
    options = [f"index-url = {url[0]}"] if url else []
    options += [f"extra-index-url = {' '.join(extra)}"] if extra else []
    if options:
        made["pip"] = folder / "pip.conf"
        made["pip"].write_text("\n".join(["[global]", *options]) + "\n")
    return made


def indexes(root: Path = ROOT) -> list[Index]:
    """The indexes of this machine and this project, those that are asked first to begin with."""
    with (root / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file).get("tool", {}).get("uv", {}).get("index", [])
    named = ((row, _url(row["url"], row.get("name", ""))) for row in listed)
    own = [Index(url, row.get("default", False)) for row, url in named]
    more = [Index(url, default=False) for url in _from("UV_INDEX", "UV_EXTRA_INDEX_URL")]
    more += [index for index in own if not index.default]
    default = [Index(url, default=True) for url in _from("UV_DEFAULT_INDEX", "UV_INDEX_URL")]
    default += [index for index in own if index.default]
    default += [Index(url, default=True) for url in _from("PIP_INDEX_URL")]
    return [*more, *default[:1]]


def _from(*variables: str) -> list[str]:
    values = " ".join(os.environ.get(name, "") for name in variables).split()
    named = (re.fullmatch(r"(?:([\w-]+)=)?(.+)", value) for value in values)
    return [_url(match[2], match[1] or "") for match in named if match]


def _url(url: str, name: str) -> str:
    """A URL with user and password, if this machine knows them."""
    parts = urlsplit(url)
    if "@" in parts.netloc or not parts.hostname:
        return url
    variable = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
    user = os.environ.get(f"{variable}_USERNAME", "")
    password = os.environ.get(f"{variable}_PASSWORD", "")
    if not user and not password:
        user, password = _netrc(parts.hostname)
    if not user and not password:
        return url
    who = ":".join(quote(part, safe="") for part in (user, password))
    return parts._replace(netloc=f"{who}@{parts.netloc}").geturl()


def _netrc(host: str) -> tuple[str, str]:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        login, _, password = netrc.netrc(path).authenticators(host) or ("", "", "")
    except FileNotFoundError:
        return "", ""
    except (netrc.NetrcParseError, OSError) as error:
        raise ProjectError(f"{path} cannot be read: {error}") from None
    return login, password or ""
