"""The entry point: what has to hold before any command can run, and what holds for all of them."""

import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from .exits import Exit
from .output import Output, close_stdout, never_choke

_NEEDED: Final = ("click", "rich")
_SILENT: Final = logging.NullHandler()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code. Prints one line instead when the extra `cli` is missing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    never_choke()
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        Output().warn(f"the command line needs {' and '.join(missing)}: pip install 'aioagents[cli]'")
        return Exit.USAGE
    # What the log would say is said by the commands; this keeps Python from printing it a second time.
    logging.getLogger("aioagents").addHandler(_SILENT)
    try:
        from .commands import invoke  # noqa: PLC0415 - it imports click, which may have been missing

        code = invoke(given)
        sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()
        return Exit.CLOSED_PIPE
    except KeyboardInterrupt:
        Output().warn("interrupted")
        return Exit.INTERRUPTED
    return code
