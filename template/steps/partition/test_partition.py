"""The step by itself."""

import json
from pathlib import Path

import pandas as pd
from kfp.dsl import Dataset

from steps.partition.component import partition


def test_every_row_is_in_one_partition(examples: pd.DataFrame, tmp_path: Path) -> None:
    examples.to_parquet(tmp_path / "table.parquet")
    partitions = Dataset(name="partitions", uri=str(tmp_path / "partitions"))
    settings = json.dumps({"source": str(tmp_path / "table.parquet"), "rows": 100})
    names = partition.python_func("v1", settings, partitions)
    parts = [pd.read_parquet(tmp_path / "partitions" / name) for name in names]
    assert max(len(part) for part in parts) == 100
    assert names == sorted(path.name for path in (tmp_path / "partitions").iterdir())
    pd.testing.assert_frame_equal(pd.concat(parts), examples)
