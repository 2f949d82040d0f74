"""The verbs behind `make`, one file each."""

import sys
from types import TracebackType


def _without_traceback(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Say one word about Ctrl-C, which may come before a verb can handle it."""
    if issubclass(kind, KeyboardInterrupt):
        print("✗ stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _without_traceback
