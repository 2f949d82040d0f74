"""The maintainers' commands, one file each: run them by make."""

import sys
from types import TracebackType


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Show no traceback of Ctrl-C: it may come while a command still imports what it needs."""
    if issubclass(kind, KeyboardInterrupt):
        print("✗ Stopped.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _show
