"""Runs that never were, for what is measured or tried with many of them."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=UTC)


def write_runs(project: Path, count: int, seed: int = 7) -> list[str]:
    """Write so many records beside those of a project's real runs, and return their ids.

    Each is the newest real record of the training pipeline with another time, other metrics,
    settings and data; they are older than the real ones.
    """
    records = sorted(project.glob("artifacts/runs/*/run.json"))
    newest = next(path for path in reversed(records) if '"training"' in path.read_text("utf-8"))
    draw = random.Random(seed)  # noqa: S311 # nothing secret
    made = []
    for place in range(count):
        record = json.loads(newest.read_text("utf-8"))
        started = START + timedelta(minutes=place)
        record["run_id"] = f"{started:%Y%m%d-%H%M%S}-000"
        record["started_at"] = started.isoformat(timespec="seconds")
        record["data_version"] = f"data-{place % 7}"
        record["metrics"] = {
            name: value * draw.uniform(0.9, 1.1) for name, value in record["metrics"].items()
        }
        settings = record["lineage"]["settings"]
        settings["train"]["seed"] = place
        settings["ingest"]["test_fraction"] = draw.choice([0.1, 0.2, 0.3])
        folder = newest.parent.parent / record["run_id"]
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(record, indent=2), "utf-8")
        made.append(record["run_id"])
    return made
