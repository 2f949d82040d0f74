"""Whatever a project is called, the names derived from it work everywhere they are used."""

import ast
import keyword
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Questions, Template
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

HOSTILE = [
    'The "best" model',
    "It's\\here\\",
    'quote at the end"',
    "🦆 Duck 🦆",
    "x" * 300,
    "a " * 300,
    "class",
    "match",
    "3D scan",
    "007",
    "numpy",
    "NumPy!",
    "sklearn",
    "scikit-learn",
    "test",
    "tests",
    "steps",
    "Train",
    "con",
    "NUL",
    "null",
    "__init__",
    "--a--b--",
    "_",
    "שלום model",
    "Crédit à l'Île",
    "Straße İstanbul",
    "日本語 7",
    "K",  # KELVIN SIGN, whose lower case is an ASCII k
    "# {% if true %}x# {% endif %}",
    "{{ 7 * 7 }}",
    "$(rm -rf ~)",
    "..",
    "model",
    "google_cloud_storage_control" * 2,
]

PREDICTED = {
    "My Model": ("my_model", "my-model"),
    "Customer churn, 2027": ("customer_churn_2027", "customer-churn-2027"),
    "3D scan": ("model_3d_scan", "model-3d-scan"),
    "Step train": ("model_step_train", "model-step-train"),
    "NumPy": ("numpy_model", "numpy-model"),
    "Train": ("train_model", "train-model"),
    "class": ("class_model", "class-model"),
    "Crédit à l'Île": ("credit_a_l_ile", "credit-a-l-ile"),
    "Cre\u0301dit": ("credit", "credit"),
    "Straße": ("strasse", "strasse"),
    "A very long name for quite a small model": (
        "a_very_long_name_for_quite_a_s",
        "a-very-long-name-for-quite-a-s",
    ),
}

quick = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


def reserved(questions: Questions) -> set[str]:
    """Return the names that the package may not have."""
    return set(" ".join(questions.all["reserved_names"]["default"]).split())


def check_name(questions: Questions, name: str) -> None:
    """Hold one project name's derived names to every rule."""
    values = questions.derive(project_name=name)
    package, slug = values["package_name"], values["project_slug"]

    assert re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", package), package
    assert package.isascii()
    assert package.isidentifier()
    assert len(package) <= 30
    assert not keyword.iskeyword(package)
    assert package not in sys.stdlib_module_names
    assert package not in reserved(questions)
    assert not package.startswith("step_"), "the steps' distributions are called so"
    assert re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", slug), "must be a DNS label"
    assert slug == package.replace("_", "-")


def check_escape(text: str, escaped: str) -> None:
    """Read a text back from between double quotes in each language."""
    assert yaml.safe_load(f'"{escaped}"') == text
    assert tomllib.loads(f'x = "{escaped}"')["x"] == text
    assert ast.literal_eval(f'"{escaped}"') == text
    assert ast.literal_eval(f'"""{escaped}"""') == text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name(questions: Questions, name: str) -> None:
    """A name is refused with an advice, or works everywhere."""
    if questions.complaint("project_name", name):
        assert not re.search("[A-Za-z0-9]", name)
        return
    check_name(questions, name)
    check_escape(name, questions.derive(project_description=name)["project_description_escaped"])


@quick
@given(name=st.text() | st.text("abcABC019 _-.éß", max_size=60))
@example(name="${a}1")
@example(name="a\n1")
@example(name="\u20281")
@example(name="a\ud8001")
def test_any_name(questions: Questions, name: str) -> None:
    """What the validator accepts works."""
    assume(not questions.complaint("project_name", name))
    check_name(questions, name)
    check_escape(name, questions.derive(project_description=name)["project_description_escaped"])


@quick
@given(text=st.text(min_size=1) | st.text("\"\\'🦆 a${%}#", min_size=1))
def test_any_description(questions: Questions, text: str) -> None:
    """What the validator accepts can be quoted; and what it accepts Terraform leaves alone."""
    assume(not questions.complaint("project_description", text))
    escaped = questions.derive(project_description=text)["project_description_escaped"]
    check_escape(text, escaped)
    assert "${" not in escaped
    assert "%{" not in escaped


@pytest.mark.parametrize(("name", "expected"), PREDICTED.items())
def test_predictable(questions: Questions, name: str, expected: tuple[str, str]) -> None:
    """People can guess the names."""
    values = questions.derive(project_name=name)
    assert (values["package_name"], values["project_slug"]) == expected


def test_every_reserved_name_is_evaded(questions: Questions) -> None:
    """No suffix leads to another reserved name, however long."""
    for name in reserved(questions):
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        check_name(questions, name)


def test_reserved_names_are_complete(questions: Questions) -> None:
    """Keywords, the standard library, this template's folders and its dependencies are reserved."""
    words = reserved(questions)
    assert {name for name in keyword.kwlist if name.islower()} <= words
    assert {n.lower() for n in sys.stdlib_module_names if not n.startswith("_")} <= words
    assert set(questions.derive()["core_steps"]) <= words
    folders = {path.name for path in (ROOT / "template").iterdir() if path.is_dir()}
    assert {name for name in folders if not name.startswith(".")} <= words

    dependencies = set()
    for file in (ROOT / "template").rglob("pyproject.toml*"):
        if not {".venv", "build"} & set(file.parts):
            project = tomllib.loads(file.read_text(encoding="utf-8"))
            listed = project.get("project", {}).get("dependencies", [])
            for group in project.get("dependency-groups", {}).values():
                listed += [item for item in group if isinstance(item, str)]
            dependencies |= {re.split(r"[^\w.-]", item, maxsplit=1)[0] for item in listed}
    # A dependency on the project itself or on a member of its workspace is no package.
    members = {"runtime", *questions.derive()["core_steps"]}
    normal = {re.sub("[-_.]+", "_", name).lower() for name in dependencies if name}
    assert normal - members <= words


def test_as_copier_derives_them(template: Template, tmp_path: Path) -> None:
    """The evaluation that these tests use gives what a generated project has."""
    project = template.render(tmp_path / "project", project_name="Zoë's NumPy", extra_steps=["a1"])
    package = template_value(project)
    assert package == "zoe_s_numpy"
    assert (project / "steps" / "a1" / "Dockerfile").is_file()


def template_value(project: Path) -> str:
    """Return the name of the project's package."""
    (package,) = [path for path in (project / "src").iterdir() if path.is_dir()]
    return package.name
