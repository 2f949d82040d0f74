"""What Prometheus is told of the model, whom it calls, and what Grafana shows of it."""

import copy
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml
from apiserver import kustomized, missing, wait_for
from conftest import Template
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from projects import Generated, flavour, life, restored
from pytest_copie.plugin import Copie
from test_access import valid
from test_overlays import built, checkov, custom, judged, misspelled, one, release
from test_payloads import sink

from scripts.serving_proof import Running, serving

Object = dict[str, Any]

FOLDER = "platform/monitoring"
NAME = "my-model"
JOB = f"{NAME}-monitoring"
PARTS = ["pipelines", "serving", "monitoring"]
# What checkov asks for and is not given, and why.
EXCEPTIONS = {
    "CKV_K8S_15": "an image of a version need not be pulled each time",
    "CKV_K8S_21": "the namespace is said when it is applied",
    "CKV_K8S_43": "a registry of one's own gives an image another digest",
}
# What a run of the pipeline `monitoring` pushes; a Pushgateway adds push_time_seconds.
PUSHED = """\
model_drift{state="drift"} 1
model_drift{state="steady"} 0
model_drift{state="unknown"} 0
model_drift_distance{column="age"} 0.4
model_drift_psi{column="age"} 0.3
model_drift_rows 1000
model_schema_breaks 0
model_quality_worse 0
model_quality{metric="rmse"} 56
model_quality_reference{metric="rmse"} 55
"""
TIMES = ("model_registered_timestamp_seconds", "model_last_training_timestamp_seconds")


@pytest.fixture(scope="module")
def project_files(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate a project with monitoring: read it, do not change it."""
    return template.render(tmp_path_factory.mktemp("alerts") / "p", kubeflow_components=PARTS)


@pytest.fixture
def objects(project_files: Path) -> list[Object]:
    """Give what a cluster gets."""
    return kustomized(project_files / FOLDER)


def rules(objects: list[Object]) -> list[Object]:
    """Return the alerts."""
    (group,) = one(objects, "PrometheusRule")["spec"]["groups"]
    return list(group["rules"])


def dashboards(objects: list[Object]) -> dict[str, Object]:
    """Return the dashboards by their file's name, as Grafana's sidecar takes them."""
    (found,) = (
        each
        for each in objects
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    )
    return {name: json.loads(text) for name, text in found["data"].items()}


def test_core_kinds_are_valid(objects: list[Object]) -> None:
    core = [each for each in objects if "monitoring.coreos.com" not in each["apiVersion"]]
    assert {each["kind"] for each in core} == {
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "Service",
    }
    valid(core)


@pytest.mark.kubernetes
def test_the_api_server_accepts_the_others(objects: list[Object]) -> None:
    """And refuses them when something in them is misspelled."""
    others = [each for each in objects if "monitoring.coreos.com" in each["apiVersion"]]
    assert {each["kind"] for each in others} == {"PrometheusRule", "ServiceMonitor"}
    for each in custom(others):
        done = judged(each)
        assert done.returncode == 0, done.stderr
        broken = copy.deepcopy(each)
        misspelled("groups" if each["kind"] == "PrometheusRule" else "endpoints")(broken)
        assert judged(broken).returncode != 0


def test_who_reaches_the_pushgateway(objects: list[Object]) -> None:
    """Its Service, policy and monitor are for its pod, which pods of runs and Prometheus reach."""
    pod = one(objects, "Deployment")["spec"]["template"]
    (port,) = pod["spec"]["containers"][0]["ports"]
    service, policy = (one(objects, kind) for kind in ("Service", "NetworkPolicy"))
    monitor = one(objects, "ServiceMonitor")["spec"]
    for selector, labels in (
        (service["spec"]["selector"], pod["metadata"]["labels"]),
        (policy["spec"]["podSelector"]["matchLabels"], pod["metadata"]["labels"]),
        (monitor["selector"]["matchLabels"], service["metadata"]["labels"]),
    ):
        assert selector.items() <= labels.items()
    (way_in,) = policy["spec"]["ingress"]
    assert "namespaceSelector" not in way_in["from"][0], "runs of this namespace alone"
    assert way_in["ports"] == [{"port": port["name"]}]
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert monitor["endpoints"][0]["honorLabels"]


@pytest.mark.xdist_group("checkov")
def test_checkov(objects: list[Object], tmp_path: Path) -> None:
    """It finds nothing but what has a reason."""
    core = [each for each in objects if each["kind"] in ("Deployment", "NetworkPolicy", "Service")]
    assert checkov(core, tmp_path) == set(EXCEPTIONS)


HOUR, DAY = "1h", 24
# Alert, when it is looked at, series that call and series that do not: values for every hour.
CASES: list[tuple[str, str, dict[str, str], dict[str, str]]] = [
    (
        "ModelDrift",
        "1h",
        {'model_drift{state="drift"}': "0 1"},
        {'model_drift{state="drift"}': "1 0"},
    ),
    ("ModelDrift", "1h", {}, {'model_drift{state="unknown"}': "1 1"}),
    (
        "ModelDriftUnknown",
        "8d",
        {'model_drift{state="unknown"}': "1x192"},
        {'model_drift{state="unknown"}': "1x100 0 1x91"},
    ),
    (
        "ModelNotMonitored",
        "9d",
        {"push_time_seconds": "0x24 _x192"},
        {"push_time_seconds": "0x48 172800x168"},
    ),
    ("ModelSchemaBroken", "1h", {"model_schema_breaks": "0 1"}, {"model_schema_breaks": "1 0"}),
    ("ModelQualityLow", "1h", {"model_quality_worse": "0 1"}, {"model_quality_worse": "1 0"}),
    (
        "ModelOld",
        "91d",
        {"model_registered_timestamp_seconds": f"0x{91 * DAY}"},
        {"model_registered_timestamp_seconds": f"{2 * 86400}x{91 * DAY}"},
    ),
    (
        "ModelNotTrained",
        "46d",
        {"model_last_training_timestamp_seconds": f"0x{46 * DAY}"},
        {"model_last_training_timestamp_seconds": f"{2 * 86400}x{46 * DAY}"},
    ),
]


def labelled(series: str, job: str, namespace: str) -> str:
    """Add the labels of a run to a series."""
    name, _, more = series.rstrip("}").partition("{")
    labels = [f'job="{job}"', f'namespace="{namespace}"', 'environment="dev"', more]
    return f"{name}{{{','.join(filter(None, labels))}}}"


def test_alerts(objects: list[Object], tmp_path: Path) -> None:
    """Each calls in the namespace with the trouble; in no other, and not for another model."""
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool is not installed (Debian: apt install prometheus)")
    alerts = {rule["alert"]: rule for rule in rules(objects)}
    assert alerts.keys() == {alert for alert, *_ in CASES}
    trials = []
    for alert, at, calling, quiet in CASES:
        places = ((JOB, "a", calling), (JOB, "b", quiet), ("other-monitoring", "c", calling))
        expected = {
            "exp_labels": {
                "namespace": "a",
                "environment": "dev",
                **alerts[alert]["labels"],
            },
            "exp_annotations": alerts[alert]["annotations"],
        }
        trials.append(
            {
                "interval": HOUR,
                "input_series": [
                    {"series": labelled(series, job, namespace), "values": values}
                    for job, namespace, found in places
                    for series, values in found.items()
                ],
                "alert_rule_test": [
                    {
                        "eval_time": at,
                        "alertname": alert,
                        "exp_alerts": [expected] if calling else [],
                    }
                ],
            }
        )
    spec = one(objects, "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": HOUR, "tests": trials}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    for what in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        done = subprocess.run(
            [promtool, *what], cwd=tmp_path, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_threshold_is_changed_as_documented(project_files: Path, tmp_path: Path) -> None:
    """The patch that alerts.yaml shows, in a kustomization of one's own; it knows its alert."""
    text = (project_files / FOLDER / "alerts.yaml").read_text("utf-8")
    shown = "\n".join(re.findall(r"^#   (.*)$", text, re.MULTILINE))
    own = project_files / "monitoring"
    own.mkdir()
    try:
        patches = yaml.safe_load(shown.replace("…", "vector(1)"))
        content = {"resources": [f"../{FOLDER}"], "namespace": "ducks", **patches}
        (own / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        changed = {rule["alert"]: rule["expr"] for rule in rules(kustomized(own))}
        before = {rule["alert"]: rule["expr"] for rule in rules(kustomized(project_files / FOLDER))}
        assert changed == before | {"ModelOld": "vector(1)"}
    finally:
        shutil.rmtree(own)


def kept(dashboard: Object) -> Object:
    """Read a dashboard by the types that are made from Grafana's own schemas, and write it."""
    plugins.register_default_plugins()
    text = json.dumps(Dashboard.from_json(dashboard), cls=encoder.JSONEncoder)
    return dict(json.loads(text))


def lost(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """List what is not in a dashboard any more, or not the same."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key, "nothing"), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{place}[{number}]")
    elif before != after:
        yield place


def test_grafana_knows_each_key(objects: list[Object]) -> None:
    """Nothing is lost when its types read a dashboard; what is misspelled would be."""
    for name, dashboard in dashboards(objects).items():
        assert list(lost(dashboard, kept(dashboard))) == [], name
        for number, panel in enumerate(dashboard["panels"]):
            for part, key in ((panel, "targets"), (panel["fieldConfig"]["defaults"], "custom")):
                if key in part:
                    part[f"{key}s"] = part.pop(key)
                    found = list(lost(dashboard, kept(dashboard)))
                    part[key] = part.pop(f"{key}s")
                    assert any(f".panels[{number}]" in each for each in found), key


def test_dashboards_are_told_apart(objects: list[Object]) -> None:
    """Names of files and uids are this project's; panels lie side by side; variables exist."""
    for name, dashboard in dashboards(objects).items():
        assert name.startswith(f"{NAME}-")
        assert dashboard["uid"] == name.removesuffix(".json")
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
        text = json.dumps(dashboard)
        used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
        assert used == {each["name"] for each in dashboard["templating"]["list"]}


def test_a_dashboard_turns_red_where_an_alert_calls(project_files: Path) -> None:
    release(project_files, "dev")
    objects = kustomized(project_files / FOLDER)
    alerts = rules(objects) + rules(built(project_files, "dev"))
    limits = set()
    for rule in alerts:
        if found := re.search(r"> ([\d.]+)(?: \* (\d+))?$", rule["expr"]):
            limits.add(float(found[1]) * float(found[2] or 1))
    shown = json.dumps(list(dashboards(objects).values()))
    thresholds = re.findall(r'"color": "red", "value": ([\d.]+)', shown)
    assert len(thresholds) == 6
    assert {float(value) for value in thresholds} <= limits


@contextmanager
def program(name: str, package: str, *arguments: str) -> Iterator[str]:
    """Run a server of Prometheus' on loopback, and give its URL."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed (Debian: apt install {package})")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [found, f"--web.listen-address=127.0.0.1:{port}", *arguments]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(name, lambda: got(f"{url}/-/ready"))
        yield url
    finally:
        running.terminate()
        running.wait()


def got(url: str) -> bytes:
    """Return what is answered; nothing if that is no success."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.URLError:
        return b""


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give a project with a released model."""
    with restored(life(request.param, template, copie_session).project) as made:
        made.make("run", "release").succeeded()
        release(made.path, "dev")
        yield made


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that scrapes every second."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """Ask its API, and return the data."""
        answer = got(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        return json.loads(answer)["data"] if answer else []

    def shows(self, expression: str) -> bool:
        """Return whether there is something to draw for an expression."""
        found = self.ask("query", query=expression)["result"]
        return bool(found) and all(each["value"][1] != "NaN" for each in found)

    def values(self, variable: str) -> list[str]:
        """Return what Grafana would let a person choose from."""
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable)
        assert found, variable
        asked = {"match[]": found[1]}
        return list(self.ask(f"label/{found[2]}/values", **asked))


def filled(text: str, values: dict[str, str]) -> str:
    """Put values in the place of a dashboard's variables."""
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], text)


@contextmanager
def watched(project: Generated, folder: Path, objects: list[Object]) -> Iterator[Prometheus]:
    """Run what is watched, a model server that is asked all the time too, and what watches it."""
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    told = [each.replace("/pushgateway", str(folder)) for each in container["args"]]
    gateway_program = program("prometheus-pushgateway", "prometheus-pushgateway", *told)
    with (
        sink(project, folder / "log") as (_, sink_url),
        serving(project.path, "--payloads", sink_url) as server,
        gateway_program as gateway,
    ):
        times = "".join(f"{name} {time.time() - 86400}\n" for name in TIMES)
        push = urllib.request.Request(  # noqa: S310
            f"{gateway}/metrics/job/{JOB}/namespace/kubeflow/environment/dev",
            (PUSHED + times).encode(),
            method="PUT",
        )
        urllib.request.urlopen(push, timeout=10).close()  # noqa: S310
        scraped = (
            (NAME, "models-dev", f"http://127.0.0.1:{server.port}"),
            (f"{NAME}-payloads", "models-dev", sink_url),
            ("pushgateway", "elsewhere", gateway),
        )
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["*-rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": job,
                    "honor_labels": job == "pushgateway",
                    "static_configs": [
                        {"targets": [url.partition("//")[2]], "labels": {"namespace": namespace}}
                    ],
                }
                for job, namespace, url in scraped
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        arguments = (
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
        )
        with program("prometheus", "prometheus", *arguments) as url, asked_all_the_time(server):
            yield Prometheus(url)


@contextmanager
def asked_all_the_time(server: Running) -> Iterator[None]:
    """Ask the model for something several times a second."""
    enough = Event()

    def ask() -> None:
        body = json.dumps({"instances": server.rows}).encode()
        while not enough.wait(0.2):
            server.ask(server.path("v1"), body)

    asking = Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        enough.set()
        asking.join()


@pytest.mark.project
@pytest.mark.parametrize("project", [flavour("xgboost-regression")], indirect=True)
def test_all_that_is_shown_is_there(project: Generated, tmp_path: Path) -> None:
    """A real Prometheus reads a real server, payload log and Pushgateway.

    Each variable and panel of Grafana's has something to show, each alert is about what there is,
    and what a run has pushed calls.
    """
    objects = kustomized(project.path / FOLDER)
    groups = {"model": objects, "server": built(project.path, "dev")}
    for name, of in groups.items():
        text = yaml.safe_dump(one(of, "PrometheusRule")["spec"])
        (tmp_path / f"{name}-rules.yaml").write_text(text, encoding="utf-8")
    with watched(project, tmp_path, objects) as prometheus:
        for dashboard in dashboards(objects).values():
            chosen = {"__rate_interval": "10s"}
            for variable in dashboard["templating"]["list"][1:]:
                text = filled(variable["query"], chosen)
                (chosen[variable["name"]],) = wait_for(text, partial(prometheus.values, text))
            for panel in dashboard["panels"]:
                for target in panel["targets"]:
                    text = filled(target["expr"], chosen)
                    wait_for(f"{panel['title']}: {text}", partial(prometheus.shows, text))
        there = set(prometheus.ask("label/__name__/values"))
        loaded = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert len(loaded) == sum(len(rules(of)) for of in groups.values())
        for rule in loaded:
            assert rule["health"] == "ok", rule
            used = set(re.findall(r"\b(?:model|payload|push|request)_\w+", rule["query"]))
            assert used <= there, rule["name"]
        # On a machine that is busy, a server may be slow, but not for minutes.
        alerts = prometheus.ask("alerts")["alerts"]
        (call,) = (each for each in alerts if each["state"] == "firing")
        assert call["labels"]["alertname"] == "ModelDrift"
        assert call["labels"]["namespace"] == "kubeflow"
