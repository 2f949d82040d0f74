"""The questions: their fixed names and order, what they accept, and that no answer is ignored."""

from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from conftest import ROOT, Questions, Template
from jinja2 import meta

# Renaming or moving one resets its answer in every project.
QUESTIONS = {
    "project_name": "My Model",
    "project_description": "Trains and evaluates a model with Kubeflow Pipelines.",
    "project_owner": "my-team",
    "model_task": "classification",
    "model_framework": "scikit-learn",
    "extra_steps": [],
    "cloud_targets": [],
    "kubeflow_components": ["pipelines", "serving"],
    "serving_styles": ["online", "batch"],
    "serving_mode": "Standard",
    "with_github_actions": True,
    "with_workshop": True,
}
CHOICES = {
    "model_task": ["classification", "regression"],
    "model_framework": ["scikit-learn", "xgboost"],
    "cloud_targets": ["gcp", "aws"],
    "kubeflow_components": ["pipelines", "serving", "training", "tuning", "monitoring", "mlflow"],
    "serving_styles": ["online", "batch"],
    "serving_mode": ["Standard", "Knative"],
}
DERIVED = [
    "reserved_names",
    "package_name",
    "project_slug",
    "project_description_escaped",
    "core_steps",
    "steps",
    "parts",
    "files",
]

ACCEPTED: dict[str, list[Any]] = {
    "project_name": ["My Model", "7", "Crédit", 'The "best" \\ model', "🦆 1", "שלום x"],
    "project_description": ["One.", "Wie schön!", 'A "quoted" \\ word', "5 % of $ 3", "予測"],
    "project_owner": ["a", "my-team", "MyOrg2", "a1-b2-c3", "octocat_acme", "x" * 39],
    "extra_steps": [[], ["tune"], ["clean_text", "tune"], ["s3"], ["a" * 30], ["match"]],
    "cloud_targets": [[], ["gcp"], ["aws"], ["gcp", "aws"]],
    "kubeflow_components": [["pipelines"], ["pipelines", "mlflow"]],
    "serving_styles": [["online"], ["batch"], ["online", "batch"]],
}
# fmt: off
REFUSED: dict[str, list[Any]] = {
    "project_name": [
        "", " ", "日本語", "é", "_", "a\nb", "a\tb", "a\x00", "a\x85b", "a\u2028b", "a\u202eb",
        "a\ud800", "a ${b}", "a %{b}",
    ],
    "project_description": ["", "  ", "one\ntwo", "a\rb", "a\x7f", "${x}", "%{ if }"],
    "project_owner": [
        "", "my team", "-a", "a-", "a--b", "a/b", "@a", "é", "a\n", "x" * 40,
        "https://github.com/a",
    ],
    "kubeflow_components": [[], ["serving"]],
    "serving_styles": [[]],
    "cloud_targets": [["aws", "aws"]],
    "extra_steps": [
        "tune", {"tune": 1}, None, 3, [1], [True], [None], [["a"]],
        ["Tune"], [""], ["clean-text"], ["1st"], ["_a"], ["a_"], ["a__b"], ["a b"], ["é"], ["a\n"],
        ["../x"], ["a" * 31], ["class"], ["is"], ["train"], ["ingest", "tune"], ["tune", "tune"],
        ["predict"],
    ],
}
# fmt: on


def pairs(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    """List a table's questions and answers."""
    return [(name, answer) for name, answers in table.items() for answer in answers]


def test_names_order_and_defaults(questions: Questions) -> None:
    """The questions are these, in this order."""
    values = questions.derive()
    assert {name: values[name] for name in questions.answered} == QUESTIONS
    assert questions.answered == list(QUESTIONS)
    assert [name for name in questions.all if name not in QUESTIONS] == DERIVED


def test_choices(questions: Questions) -> None:
    """The choices are these, in this order."""
    choices = {}
    for name in questions.answered:
        if listed := questions.all[name].get("choices"):
            choices[name] = list(listed.values() if isinstance(listed, dict) else listed)
    assert choices == CHOICES


def test_defaults_are_valid(questions: Questions) -> None:
    """Pressing Enter is always right."""
    for name, default in QUESTIONS.items():
        if "validator" in questions.all[name]:
            assert questions.complaint(name, default) == ""


def test_free_answers_are_validated(questions: Questions) -> None:
    """Only one choice of several needs no validator, and neither does yes or no."""
    for name in questions.answered:
        question = questions.all[name]
        free = "choices" not in question or question.get("multiselect")
        free = free and question["type"] != "bool"
        assert ("validator" in question) == bool(free), name


def test_help(questions: Questions) -> None:
    """One question; then where the answer shows up and whether it can change."""
    for name in questions.answered:
        question, where = questions.all[name]["help"].splitlines()
        assert question.endswith("?")
        assert question.count("?") == 1
        assert where.endswith((".", ": make step"))


@pytest.mark.parametrize(("name", "answer"), pairs(ACCEPTED))
def test_accepted(questions: Questions, name: str, answer: Any) -> None:
    """A sensible answer passes."""
    assert questions.complaint(name, answer) == ""


@pytest.mark.parametrize(("name", "answer"), pairs(REFUSED))
def test_refused(questions: Questions, name: str, answer: Any) -> None:
    """A refusal says what to type instead."""
    assert questions.complaint(name, answer).startswith(("Type ", "Leave out "))


def test_some_libraries_train_on_one_node(questions: Questions) -> None:
    """Several nodes are for XGBoost; the refusal says why."""
    answer = ["pipelines", "training"]
    assert questions.complaint("kubeflow_components", answer, model_framework="xgboost") == ""
    told = questions.complaint("kubeflow_components", answer)
    assert told.startswith("Leave out training")
    assert "scikit-learn" in told


def test_monitoring_watches_a_server(questions: Questions) -> None:
    """Without one there is nothing to read; either question says so."""
    asked, components = "serving_styles", ["pipelines", "serving", "monitoring"]
    assert questions.complaint("kubeflow_components", components) == ""
    told = questions.complaint("kubeflow_components", ["pipelines", "monitoring"])
    assert told.startswith("Leave out monitoring")
    assert questions.complaint(asked, ["online"], kubeflow_components=components) == ""
    assert "monitoring" in questions.complaint(asked, ["batch"], kubeflow_components=components)


def test_copier_refuses_too(template: Template, tmp_path: Path) -> None:
    """The validators are in force, for what is not asked as well."""
    for answers in (
        {"project_name": "日本語"},
        {"extra_steps": ["Bad Name"]},
        {"model_task": "x"},
        {"kubeflow_components": ["pipelines", "training"]},
    ):
        with pytest.raises(ValueError, match=r"Type a name|Type each step|Invalid|Leave out"):
            template.render(tmp_path / "project", **answers)
        assert not (tmp_path / "project").exists()


def test_answers_are_recorded(template: Template, tmp_path: Path) -> None:
    """The answers file has every answer and, of what is derived, the package: it must not move."""
    given = {
        "project_name": "Duck 🦆",
        "project_description": 'Counts "ducks".',
        "project_owner": "pond",
        "model_task": "regression",
        "model_framework": "xgboost",
        "extra_steps": ["clean_text", "tune"],
        "cloud_targets": ["aws"],
        "kubeflow_components": ["pipelines", "serving"],
        "serving_styles": ["batch"],
        "with_github_actions": False,
        "with_workshop": False,
    }
    project = template.render(tmp_path / "project", **given)
    recorded = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert recorded.pop("_commit")
    assert recorded.pop("_src_path") == str(template.path)
    assert recorded == given | {"package_name": "duck"}


def test_extra_steps_are_not_asked(template: Template, tmp_path: Path) -> None:
    """Without a terminal a question would be an error; this one takes its default."""
    answers = {name: value for name, value in QUESTIONS.items() if name != "extra_steps"}
    path = str(template.path)
    copier.run_copy(path, tmp_path / "project", answers, vcs_ref="HEAD", quiet=True)
    recorded = yaml.safe_load((tmp_path / "project/.copier-answers.yml").read_text())
    assert recorded["extra_steps"] == []


def test_extra_steps_as_text(template: Template, tmp_path: Path) -> None:
    """As `--data 'extra_steps=[tune]'` on the command line passes it."""
    project = template.render(tmp_path / "project", extra_steps="[tune]")
    assert (project / "steps" / "tune" / "component.py").is_file()


def test_no_answer_is_ignored(questions: Questions) -> None:
    """Every question's name, or one derived from it, is in a file or a path of the template."""

    def names(text: str) -> set[str]:
        return set(meta.find_undeclared_variables(questions.jinja.parse(text)))

    used: set[str] = set()
    for file in (ROOT / "template").rglob("*"):
        for part in file.relative_to(ROOT / "template").parts:
            used |= names(part)
        if file.suffix == ".jinja":
            used |= names(file.read_text(encoding="utf-8"))
    for name in reversed(list(questions.all)):
        default = questions.all[name]["default"]
        if name in used and isinstance(default, str):
            used |= names(default)
    # The ownership table is for the exclusions in 90-files.yml and for the hooks.
    assert set(questions.all) - used <= {"files"}
