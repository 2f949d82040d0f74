"""The template's files: Jinja only where needed, and such that the unrendered file still parses."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
import yaml
from conftest import ROOT, Questions, Template, git
from jinja2 import meta, nodes

FOLDER = ROOT / "template"
ANSWERS = "{{ _copier_conf.answers_file }}.jinja"

VALUE = re.compile(r"(?<!\$)\{\{ (\w+(?:\.\w+)?) \}\}")
STATEMENT = re.compile(r"^[ \t]*# \{% (\w+) .*%\}$", re.MULTILINE)
LOOP = re.compile(r"# \{% yield (\w+) from (\w+) %\}\{\{ (\w+) \}\}# \{% endyield %\}")


def files() -> Iterator[tuple[str, str]]:
    """List the template's text files: path and content. Binary ones hold no Jinja.

    Nor do those that a project renders for itself, as far as Copier is concerned: its pages.
    """
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "template")
    for name in sorted(name for name in listed.split("\0") if name):
        file = ROOT / name
        if file.suffix == ".j2":
            continue
        if file.is_file() and b"\0" not in (content := file.read_bytes()):
            yield file.relative_to(FOLDER).as_posix(), content.decode()


def test_suffix() -> None:
    """A file has the suffix when it has a value or a statement to render, and only then."""
    for path, text in files():
        rendered = bool(VALUE.search(text) or STATEMENT.search(text))
        assert rendered == path.endswith(".jinja") or path == ANSWERS, path
        twin = path.removesuffix(".jinja") if path.endswith(".jinja") else f"{path}.jinja"
        assert not (FOLDER / twin).exists(), f"{path} and {twin} are the same file"


def test_statements_are_comment_lines() -> None:
    """A statement has its line to itself; there are at most six blocks in a file."""
    for path, text in files():
        if path == ANSWERS:
            continue
        keywords = STATEMENT.findall(text)
        assert text.count("{%") == len(keywords), path
        assert set(keywords) <= {"if", "elif", "else", "endif", "for", "endfor"}, path
        assert keywords.count("if") + keywords.count("for") <= 6, path


def test_values_are_names(questions: Questions) -> None:
    """A body computes nothing: plain names that exist, no filters, calls or macros."""
    known = {*questions.all, "step", "extra_step"}
    for path, text in files():
        if not path.endswith(".jinja") or path == ANSWERS:
            continue
        tree = questions.jinja.parse(text)
        assert not list(tree.find_all((nodes.Filter, nodes.Call, nodes.Macro, nodes.Import))), path
        assert not list(tree.find_all((nodes.Include, nodes.Extends, nodes.Assign))), path
        assert all(VALUE.match(text, match.start()) for match in re.finditer(r"(?<!\$)\{\{", text))
        loops = {node.target.name for node in tree.find_all(nodes.For)}
        assert meta.find_undeclared_variables(tree) <= known | loops, path


def test_paths() -> None:
    """Paths hold values and the two loops over steps; Windows can check them out."""
    for path, _ in files():
        bare = path
        for match in LOOP.finditer(path):
            assert match.groups() in {
                ("step", "steps", "step"),
                ("extra_step", "extra_steps", "extra_step"),
            }, path
            bare = bare.replace(match.group(), "step")
        assert "{%" not in bare, path
        assert not set(bare) & set('"<>:|?*\\'), path
        assert not any(part.endswith((" ", ".")) for part in bare.split("/")), path
        if "{{ step }}" in path:
            assert path.endswith("/Dockerfile.jinja"), f"{path}: only managed files for all steps"


def test_unrendered_files_parse() -> None:
    """Editors, linters and formatters work on the template itself."""
    for path, text in files():
        name = path.removesuffix(".jinja")
        try:
            if name.endswith(".py"):
                # A value stands where an identifier may stand, or in a string.
                ast.parse(VALUE.sub(r"\1", text), filename=path)
            elif name.endswith((".yaml", ".yml")) and path != ANSWERS:
                list(yaml.safe_load_all(text))
            elif name.endswith(".toml"):
                tomllib.loads(text)
            elif name.endswith((".json", ".ipynb")):
                json.loads(text)
        except (SyntaxError, ValueError, yaml.YAMLError) as error:
            pytest.fail(f"{path}: {error}")


def test_values_are_quoted() -> None:
    """In YAML, HCL and TOML a value stands between double quotes, and free text is escaped."""
    free_text = re.compile(r"\{\{ project_(name|description) \}\}")
    for path, text in files():
        name = path.removesuffix(".jinja")
        if not name.endswith((".yaml", ".yml", ".toml", ".tf", ".tfvars", ".py", ".json")):
            continue
        for line in text.splitlines():
            comment = line.lstrip().startswith("#")
            assert comment or not free_text.search(line), f"{path}: {line}"
            if not comment and not name.endswith(".py"):
                quoted = "".join(re.findall(r'"[^"]*"', line))
                assert len(VALUE.findall(quoted)) == len(VALUE.findall(line)), f"{path}: {line}"


def test_an_unknown_name_is_an_error(questions: Questions) -> None:
    """A misspelled name does not render as nothing."""
    assert questions.jinja.undefined is jinja2.StrictUndefined
    with pytest.raises(jinja2.UndefinedError):
        questions.jinja.from_string("{{ no_such_name }}").render()


def test_rendered_files_parse(template: Template, tmp_path: Path) -> None:
    """The most awkward answers give files that parse, with nothing left to render."""
    project = template.render(
        tmp_path / "project",
        project_name='The "best" \\ 🦆: {{ model }} # \'really\'"',
        project_description='Says "\\n" & <b>, {{ x }}: - é #1 """',
        project_owner="a-b",
        extra_steps=["a" * 30, "s3"],
    )
    for file in sorted(p for p in project.rglob("*") if p.is_file() and p.suffix != ".j2"):
        text = file.read_text(encoding="utf-8")
        assert "{% " not in text, file
        try:
            if file.suffix == ".py":
                ast.parse(text)
            elif file.suffix in {".yaml", ".yml"}:
                list(yaml.safe_load_all(text))
            elif file.suffix == ".toml":
                tomllib.loads(text)
            elif file.suffix in {".json", ".ipynb"}:
                json.loads(text)
        except (SyntaxError, ValueError, yaml.YAMLError) as error:
            pytest.fail(f"{file.relative_to(project)}: {error}")
