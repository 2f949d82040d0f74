"""The READMEs of the Terraform modules, in the form that terraform-docs gives them."""

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.repository import ROOT

MODULES = ROOT / "template/infra/modules"
NAMES = ("eks", "gke")
ABOUT = (
    "A cluster of {}, and what a project needs around it. Its inputs and outputs are those of {}."
)
BLOCK = re.compile(
    r'^(?P<kind>variable|output|resource|data) "(?P<name>\w+)"(?: "(?P<label>\w+)")? \{'
    r"(?:\}|\n(?P<body>.*?)^\})",
    re.MULTILINE | re.DOTALL,
)


def blocks(text: str, *kinds: str) -> Iterator[re.Match[str]]:
    """Find the blocks of these kinds at the top of a file."""
    return (block for block in BLOCK.finditer(text) if block["kind"] in kinds)


def argument(body: str, name: str) -> str:
    """Return what an argument of a block is given, as it stands there; empty without it."""
    lines = body.splitlines()
    for number, line in enumerate(lines):
        if not re.match(rf"  {name} +=", line):
            continue
        found = [line.partition("=")[2].strip()]
        if found[0].endswith(("{", "(", "[", "({")):
            end = next(n for n in range(number + 1, len(lines)) if re.match(r"  \S", lines[n]))
            found += [each.removeprefix("  ") for each in lines[number + 1 : end + 1]]
        return "\n".join(found)
    return ""


def code(text: str) -> str:
    """Show a text as code within a table."""
    if "\n" not in text:
        return f"`{text}`"
    return f"<pre>{text.replace(chr(10), '<br/>')}</pre>".replace("|", "&#124;")


def readme(module: str) -> str:
    """Describe a module: what it requires, makes, takes and gives."""
    files = {path.name: path.read_text("utf-8") for path in sorted((MODULES / module).glob("*.tf"))}
    everything = "\n".join(files.values())
    versions = files["versions.tf"]
    terraform = re.findall(r'required_version = "(.*)"', versions)[0]
    providers = re.findall(r'^    (\w+) = \{.*?version\s*= "(.*?)"', versions, re.M | re.S)
    (other,) = set(NAMES) - {module}
    about = ABOUT.format(module.upper(), f"modules/{other}")
    lines = [f"# {module}", "", about, "", "<!-- BEGIN_TF_DOCS -->", "## Requirements", ""]
    lines += ["| Name | Version |", "|------|---------|", f"| terraform | {terraform} |"]
    lines += [f"| {name} | {version} |" for name, version in providers]
    lines += ["", "## Modules", "", "No modules.", "", "## Resources", ""]
    lines += ["| Name | Type |", "|------|------|"]
    made = blocks(everything, "resource", "data")
    rows = {
        f"| {block['name']}.{block['label']} | "
        f"{'resource' if block['kind'] == 'resource' else 'data source'} |"
        for block in made
    }
    lines += sorted(rows)
    lines += ["", "## Inputs", "", "| Name | Description | Type | Default | Required |"]
    lines.append("|------|-------------|------|---------|:--------:|")
    inputs = sorted(blocks(files["variables.tf"], "variable"), key=lambda block: block["name"])
    for block in inputs:
        kind, default = argument(block["body"], "type"), argument(block["body"], "default")
        described = argument(block["body"], "description").strip('"')
        optional = (code(default), "no") if default else ("n/a", "yes")
        lines.append(" | ".join([f"| {block['name']}", described, code(kind), *optional]) + " |")
    lines += ["", "## Outputs", "", "| Name | Description |", "|------|-------------|"]
    for block in sorted(blocks(files["outputs.tf"], "output"), key=lambda block: block["name"]):
        described = argument(block["body"], "description").strip('"')
        lines.append(f"| {block['name']} | {described} |")
    return "\n".join([*lines, "<!-- END_TF_DOCS -->", ""])


def pages() -> dict[Path, str]:
    """Return each README and what has to stand in it."""
    return {MODULES / module / "README.md": readme(module) for module in NAMES}
