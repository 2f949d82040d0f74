"""A pipeline within another."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

Parameters = dict[str, Any]
"""What the inner pipeline is given, by the names of its parameters."""


def with_parameters_of(inner: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a pipeline's function all parameters of another pipeline, beside its own.

    The function has them in one parameter, of type `Parameters`. So what a team adds to the inner
    pipeline is asked for, and passed on, by the outer one.
    """
    wanted = inspect.signature(inner.pipeline_func).parameters

    def give(function: Callable[..., None]) -> Callable[..., None]:
        declared = inspect.signature(function).parameters.values()
        own = {p.name: p for p in declared if p.annotation is not Parameters}
        (passed_on,) = (p.name for p in declared if p.annotation is Parameters)
        # What has a default comes last.
        order = sorted({**wanted, **own}.values(), key=lambda p: p.default is not p.empty)
        signature = inspect.Signature(order)

        @functools.wraps(function)
        def outer(*values: Any, **keywords: Any) -> None:
            given = signature.bind(*values, **keywords).arguments
            inside = {name: given[name] for name in wanted}
            function(**{name: given[name] for name in own}, **{passed_on: inside})

        # What KFP reads the pipeline's parameters from.
        outer.__signature__ = signature  # type: ignore[attr-defined]
        return outer

    return give
