"""The exit codes, and which outcome leads to which. Pure."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from ..errors import (
    AgentsError,
    AuthenticationError,
    BadReference,
    PermissionDenied,
    StartUnknown,
    WaitTimeout,
)
from ..model import Run, RunState


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TIMEOUT = 3
    UNKNOWN = 4
    AUTH = 5
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    TERMINATED = 143


#: For help pages: click keeps the line breaks of a paragraph that begins with \b.
HELP: Final = """\b
Exit codes:
    0  completed, or success
    1  failed or aborted, or any other error
    2  usage: wrong arguments, or settings missing from the environment
    3  timeout: not over yet; the run goes on
    4  outcome unknown: a start was sent, and whether a run began cannot be known
    5  auth: credentials or rights were refused
  130  ended by Ctrl-C (143: by SIGTERM, 141: the reader of the output is gone)
"""

# From best to worst: without access nothing can be known; a bad end is worse than none yet.
_ORDER: Final = (Exit.OK, Exit.TIMEOUT, Exit.FAILED, Exit.USAGE, Exit.UNKNOWN, Exit.AUTH)
ORDER_HELP: Final = "With several runs the worst decides: 5, before 1, before 3, before 0."


_CODES: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Exit], ...]] = (
    (StartUnknown, Exit.UNKNOWN),
    ((AuthenticationError, PermissionDenied), Exit.AUTH),
    (WaitTimeout, Exit.TIMEOUT),
    (BadReference, Exit.USAGE),
    ((AgentsError, OSError), Exit.FAILED),
    ((ValueError, TypeError), Exit.USAGE),
)


def code_of(outcome: Run | BaseException) -> Exit:
    """Return the exit code for a run or an error. A run that has not ended counts as success."""
    if isinstance(outcome, Run):
        return Exit.FAILED if outcome.state in {RunState.FAILED, RunState.ABORTED} else Exit.OK
    return next((code for kinds, code in _CODES if isinstance(outcome, kinds)), Exit.FAILED)


def worst(codes: Iterable[Exit]) -> Exit:
    """Return the worst code, which decides for all."""
    return max(codes, key=_ORDER.index, default=Exit.OK)
