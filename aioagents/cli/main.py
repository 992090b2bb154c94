"""The entry point: checks the extra `cli`, runs the command, and handles errors that all commands share."""

import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from .exits import Exit
from .output import Output, close_stdout, escape_unencodable

_NEEDED: Final = ("click", "rich")
_SILENT: Final = logging.NullHandler()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. If the extra `cli` is missing, only print that."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    escape_unencodable()
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        Output().warn(f"the command line needs {' and '.join(missing)}: pip install 'aioagents[cli]'")
        return Exit.USAGE
    # Commands print what the log has; the handler keeps Python from printing it a second time.
    logging.getLogger("aioagents").addHandler(_SILENT)
    try:
        from .commands import invoke  # noqa: PLC0415 - it imports click, which may be missing

        code = invoke(given)
        sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()
        return Exit.CLOSED_PIPE
    except KeyboardInterrupt:
        Output().warn("interrupted")
        return Exit.INTERRUPTED
    return code
