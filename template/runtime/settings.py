"""Typed settings: strict, frozen, and every wrong key named."""

import difflib
import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python

from runtime.errors import ProjectError


class Settings(BaseModel):
    """The base of every settings class: a wrong type, value or key is an error, never a guess."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Check values read from a file; `where` names file and section in the error."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ProjectError(explain(error, cls, where)) from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the JSON string in which settings travel to a step."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProjectError(explain(error, cls, "settings")) from None

    def to_json(self) -> str:
        """Write the JSON string in which settings travel to a step."""
        return json.dumps(self.complete(), separators=(",", ":"))

    def complete(self) -> dict[str, Any]:
        """Every setting as JSON can hold it, with those that `model_dump` leaves out."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        plain: dict[str, Any] = to_jsonable_python(values)
        return plain


def explain(error: ValidationError, settings: type[BaseModel], where: str) -> str:
    """One line per wrong key: where it stands, what is wrong, what it looks like it should be."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        place = f"{where}.{path}" if path else where
        if problem["type"] == "extra_forbidden":
            known = list(_fields_at(settings, problem["loc"][:-1]))
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            lines.append(f"{place}: unknown key; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{place}: missing; give it a value")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            # A whole section is not shown: something in it may be a secret.
            single = isinstance(problem["input"], str | int | float | None)
            got = f" (got {problem['input']!r})" if single else ""
            lines.append(f"{place}: {message}{got}")
    return "\n".join(lines)


def _fields_at(settings: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = settings.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        settings = annotation
    return list(settings.model_fields)
