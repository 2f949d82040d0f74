"""What was found of a model, as gauges that a Prometheus Pushgateway keeps.

docs/monitoring.md lists them; platform/monitoring alarms by them.
"""

import logging
from datetime import datetime
from http.client import HTTPException
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from runtime.monitoring import Findings

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds the name of its own."""
PATIENCE = 10.0
"""Seconds that the gateway has to answer."""
STATES = ("drift", "steady", "unknown")
log = logging.getLogger("monitoring")


def push(findings: Findings, gateway: str, *, project: str, environment: str) -> None:
    """Send the gauges, in place of those of the look before.

    That it failed is logged, and does not end the run: an alarm on the gateway's silence tells too.
    """
    job = f"{project}-monitoring"
    namespace = NAMESPACE.read_text().strip() if NAMESPACE.exists() else "local"
    try:
        push_to_gateway(
            gateway,
            job=job,
            registry=gauges(findings),
            grouping_key={"namespace": namespace, "environment": environment},
            timeout=PATIENCE,
        )
    except (OSError, HTTPException) as error:
        log.warning("%s was not told what was found: %s", gateway, error)


def gauges(findings: Findings) -> CollectorRegistry:
    """All that is told."""
    registry = CollectorRegistry()

    def gauge(name: str, about: str, value: float) -> None:
        Gauge(name, about, registry=registry).set(value)

    state = Gauge("model_drift", "Whether this was found", ["state"], registry=registry)
    for name in STATES:
        state.labels(name).set(findings.state == name)
    distance = Gauge("model_drift_distance", "0 to 1", ["column"], registry=registry)
    index = Gauge("model_drift_psi", "Stability index", ["column"], registry=registry)
    for column in findings.columns:
        if column.distance is not None:
            distance.labels(column.name).set(column.distance)
        if column.psi is not None:
            index.labels(column.name).set(column.psi)
    gauge("model_drift_rows", "Rows that were looked at", findings.rows)
    gauge("model_schema_breaks", "Rows that break the schema", findings.broken_rows)
    quality = findings.quality
    gauge("model_quality_worse", "By more than chance", quality.state == "worse")
    if quality.now:
        now = Gauge("model_quality", "Of recent rows", ["metric"], registry=registry)
        then = Gauge("model_quality_reference", "When trained", ["metric"], registry=registry)
        for metric, value in quality.now.items():
            now.labels(metric).set(value)
        for metric, value in quality.then.items():
            then.labels(metric).set(value)
    registered = _seconds(findings.registered_at)
    gauge("model_registered_timestamp_seconds", "Of the released model", registered)
    trained = _seconds(findings.last_training)
    gauge("model_last_training_timestamp_seconds", "Of the newest model", trained)
    return registry


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
