"""The two protocols of KServe: from the body of a request to columns, from answers to a body.

V1 asks with `{"instances": [{column: value}]}`; a row may be a list, in the order of the schema.
V2, the open inference protocol, asks with a tensor per column, or one of shape (rows, columns).
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

Columns = Mapping[str, list[Any]]
Answers = Mapping[str, npt.NDArray[Any]]

INT64 = np.iinfo("int64")
V2_TYPES: dict[str, set[type]] = {
    "BOOL": {bool},
    "BYTES": {str},
    **{f"FP{bits}": {float, int} for bits in (16, 32, 64)},
    **{f"INT{bits}": {int} for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": {int} for bits in (8, 16, 32, 64)},
}
PLAIN = {float, int, bool, str, type(None)}
SHOWN = 60


class RequestError(Exception):
    """A request that is not answered: what to say of it, and the HTTP status."""

    def __init__(self, error: str, *, status: int = 400, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **more}


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise RequestError(f"the body must be a JSON object, and is {_kind(content)}")
    return content


def read_v1(content: Mapping[str, Any], names: Sequence[str]) -> Columns:
    """The columns of `instances`."""
    rows = content.get("instances")
    if not isinstance(rows, list) or not rows:
        raise RequestError('the body must hold "instances": a list of at least one row')
    kind = type(rows[0])
    if kind not in (dict, list):
        raise RequestError(f"row 0: must be an object of columns, and is {_kind(rows[0])}")
    if any(type(row) is not kind for row in rows):
        raise RequestError("all rows must be objects, or all lists")
    if kind is list:
        for number, row in enumerate(rows):
            if len(row) != len(names):
                raise RequestError(
                    f"row {number}: has {len(row)} values; the columns are {len(names)}"
                )
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    else:
        first = rows[0].keys()
        for number, row in enumerate(rows):
            if row.keys() != first:
                name = sorted(row.keys() ^ first)[0]
                has = "has a column" if name in row else "lacks the column"
                raise RequestError(f"row {number}: {has} {_short(name)}, other than row 0")
        columns = {name: [row[name] for row in rows] for name in first}
    return _plain(columns)


def write_v1(answers: Answers, model: str, version: str) -> bytes:
    """A row per row that was asked: `answer`, and what else the predictor returns."""
    lists = [_listed(values) for values in answers.values()]
    rows = [dict(zip(answers, row, strict=True)) for row in zip(*lists, strict=True)]
    return orjson.dumps({"predictions": rows, "model_name": model, "model_version": version})


def read_v2(content: Mapping[str, Any], names: Sequence[str]) -> Columns:
    """The columns of `inputs`."""
    tensors = content.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        raise RequestError('the body must hold "inputs": a list of at least one tensor')
    if not isinstance(content.get("id", ""), str):
        raise RequestError("id: must be a string")
    columns: dict[str, list[Any]] = {}
    for number, tensor in enumerate(tensors):
        name, shape, values = _tensor(tensor, number)
        if len(shape) == 2 and shape[1] == len(names) and len(tensors) == 1 and name not in names:
            rows = [values[i : i + shape[1]] for i in range(0, len(values), shape[1])]
            return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        if len(shape) == 2 and shape[1] != 1:
            raise RequestError(
                f"input {_short(name)}: shape must be [rows] or [rows, 1] for a column, or "
                f"[rows, {len(names)}] for all columns in one tensor"
            )
        if name in columns:
            raise RequestError(f"input {_short(name)}: is there twice")
        columns[name] = values
    if len({len(values) for values in columns.values()}) > 1:
        raise RequestError("all inputs must have the same number of rows")
    return columns


def write_v2(answers: Answers, content: Mapping[str, Any], model: str, version: str) -> bytes:
    """A tensor per column of the answers; only those that the request names, if it names any."""
    wanted = _wanted(content.get("outputs"), list(answers))
    outputs = []
    for name in wanted:
        values = answers[name]
        kind = datatype(values.dtype)
        data = list(map(str, _listed(values))) if kind == "BYTES" else _listed(values)
        outputs.append({"name": name, "shape": [len(data)], "datatype": kind, "data": data})
    return orjson.dumps(
        {
            "model_name": model,
            "model_version": version,
            "id": content.get("id") or str(uuid.uuid4()),
            "outputs": outputs,
        }
    )


def datatype(dtype: Any) -> str:
    """V2's name of a type of numpy or pandera."""
    kind = getattr(dtype, "kind", None)
    if kind is None:
        try:
            kind = np.dtype(str(dtype)).kind
        except TypeError:
            kind = "O"
    return {"f": "FP64", "i": "INT64", "u": "INT64", "b": "BOOL"}.get(kind, "BYTES")


def _tensor(tensor: Any, number: int) -> tuple[str, list[int], list[Any]]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise RequestError(
            f"input {number}: must be an object with a name, a shape, a datatype, data"
        )
    name = tensor["name"]
    about = f"input {_short(name)}"
    shape, kind, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    if not isinstance(kind, str) or kind not in V2_TYPES:
        raise RequestError(f"{about}: datatype must be one of {', '.join(V2_TYPES)}")
    if not isinstance(shape, list) or len(shape) not in (1, 2) or {*map(type, shape)} != {int}:
        raise RequestError(f"{about}: shape must be a list of one or two whole numbers")
    if not isinstance(data, list):
        raise RequestError(f"{about}: data must be a list; binary data is not taken")
    if len(shape) == 2 and data and all(isinstance(row, list) for row in data):
        if any(len(row) != shape[1] for row in data):
            raise RequestError(f"{about}: data has not the shape {shape}")
        data = [value for row in data for value in row]
    if min(shape) < 1 or len(data) != int(np.prod(shape, dtype=object)):
        raise RequestError(f"{about}: the shape {shape} does not fit the data, {len(data)} values")
    allowed = V2_TYPES[kind] | {type(None)}
    if not allowed.issuperset(map(type, data)):
        wrong = next(value for value in data if type(value) not in allowed)
        raise RequestError(f"{about}: {kind} cannot hold {_kind(wrong)}")
    if kind.startswith("UINT") and any(value is not None and value < 0 for value in data):
        raise RequestError(f"{about}: {kind} cannot hold a negative number")
    if "INT" in kind and any(value is not None and abs(value) > INT64.max for value in data):
        raise RequestError(f"{about}: a number is larger than 64 bits hold")
    return name, shape, data


def _wanted(outputs: Any, known: list[str]) -> list[str]:
    if outputs is None:
        return known
    if not isinstance(outputs, list):
        raise RequestError("outputs: must be a list of objects with a name")
    names: dict[str, None] = {}
    for output in outputs:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            raise RequestError(f"outputs: {_short(name)} is not one of {', '.join(known)}")
        names[name] = None
    return list(names) or known


def _plain(columns: dict[str, list[Any]]) -> Columns:
    for name, values in columns.items():
        if not PLAIN.issuperset(map(type, values)):
            row = next(i for i, value in enumerate(values) if type(value) not in PLAIN)
            raise RequestError(
                f"column {_short(name)}: must be a single value in row {row}, and is "
                f"{_kind(values[row])}"
            )
    return columns


def _listed(values: npt.NDArray[Any]) -> list[Any]:
    found: list[Any] = np.asarray(values).tolist()
    return found


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
