"""Runs a command: its pool, Ctrl-C and SIGTERM, errors, and the list of runs that go on when it is interrupted."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from ..errors import AgentsError, StartUnknown
from ..observe import Event, PollFailed, RetryScheduled, RunChanged, RunStarted, StartAbandoned, StatusUnknown
from ..polling import Cadence
from ..pool import SessionPool
from ..transport import Timeouts
from .exits import Exit, code_of
from .output import Output, close_stdout, moment, one_line

if TYPE_CHECKING:
    from ..model import RunRef

#: How long pending replies are waited for, so that Ctrl-C ends a command within a second.
_CLOSE: Final = 0.5

Listener = Callable[[Event], object]


class Work:
    """A command that is being run: its output, and the runs that it follows.

    `if_interrupted` is printed for a start whose outcome an interruption leaves unknown. Without `keeps_runs` runs
    are not remembered, and none is listed; there may be any number, and they are recorded elsewhere.
    """

    def __init__(
        self, out: Output, *, reports_faults: bool = True, keeps_runs: bool = True, if_interrupted: str = ""
    ) -> None:
        self.out = out
        self._keeps_runs = keeps_runs
        self._if_interrupted = if_interrupted
        #: Runs that were started or are followed, and have not ended by the last poll.
        self.running: dict[RunRef, None] = {}
        self.listeners: list[Listener] = []
        self.most_shown: int | None = None
        self._abandoned: list[StartAbandoned] = []
        self._reports_faults = reports_faults
        self._reported: set[str] = set()

    @asynccontextmanager
    async def pool(self, *, cadence: Cadence | None = None) -> AsyncIterator[SessionPool]:
        """Open a pool whose events go to `on_event`."""
        async with SessionPool(
            timeouts=Timeouts(close=_CLOSE), cadence=cadence, hooks=[self.on_event]
        ) as pool:
            yield pool

    def on_event(self, event: Event) -> None:
        """Handle an event of the pool, and pass it to all listeners."""
        match event:
            case RunStarted(run=run) if self._keeps_runs:
                self.running[run.ref] = None
            case RunChanged(run=run) if run.state.is_terminal:
                self.running.pop(run.ref, None)
            case StartAbandoned():
                self._abandoned.append(event)
            case StatusUnknown(run=run):
                self.out.warn(f"{run.ref}: the status {run.status!r} is not known; polling goes on")
            case PollFailed(error=error) | RetryScheduled(error=error):
                self._report_fault(str(error))
        for listener in self.listeners:
            listener(event)

    def _report_fault(self, text: str) -> None:
        """Print a passing error once, however often it recurs."""
        if self._reports_faults and text not in self._reported:
            self._reported.add(text)
            self.out.warn(f"{text}; retrying")

    def report_interrupted(self) -> None:
        """Print which runs go on at vendors after the interruption."""
        refs = [str(ref) for ref in self.running]
        unknown = [event for event in self._abandoned if isinstance(event.error, StartUnknown)]
        if not self._keeps_runs:
            self.out.warn("interrupted; runs that were started go on")
        elif refs or unknown:
            self.out.warn(f"interrupted; still running: {len(refs) or 'nothing that is known'}")
        else:
            self.out.warn("interrupted; nothing is left running")
        shown = refs if self.most_shown is None else refs[: self.most_shown]
        for ref in shown:
            self.out.note(f"  {ref}")
        if len(shown) < len(refs):
            self.out.note(f"  and {len(refs) - len(shown)} more")
        for each in unknown:
            self.out.note(f"  unknown: {_unknown(each)}")
            self.out.note(f"    {one_line(self._advice(each))}")
        self.out.document(
            {
                "event": "interrupted",
                "running": refs if self._keeps_runs else None,
                "unknown": [
                    {
                        "target": each.target,
                        "sent_at": each.sent_at,
                        "ref": None,
                        "advice": self._advice(each),
                    }
                    for each in unknown
                ],
            }
        )

    def _advice(self, event: StartAbandoned) -> str:
        advice = event.error.advice if isinstance(event.error, StartUnknown) else ""
        return " ".join(filter(None, (self._if_interrupted, advice)))


def _unknown(event: StartAbandoned) -> str:
    """Return what is not known about an abandoned start."""
    target, when = one_line(event.target), moment(event.sent_at)
    action = event.error.action if isinstance(event.error, StartUnknown) else ""
    if action == StartUnknown.action:
        return f"whether the start of {target}, sent at {when}, began a run"
    return f"whether what was sent for {target} at {when} {action}"


async def interruption() -> None:
    """Wait for Ctrl-C or SIGTERM where that is how a command ends, and return."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


class _SigtermHandler:
    """Makes SIGTERM end a command as Ctrl-C does."""

    def __init__(self) -> None:
        self.is_terminated = False

    async def run(self, job: Callable[[], Awaitable[Exit]]) -> Exit:
        """Run `job`, and cancel it on SIGTERM."""
        task = asyncio.current_task()

        def on_signal() -> None:
            self.is_terminated = True
            if task is not None:
                task.cancel()

        # Without signal handlers (Windows, a thread), only Ctrl-C ends a command.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
        return await job()


def perform(work: Work, job: Callable[[], Awaitable[Exit]]) -> Exit:
    """Run `job` in a new event loop and return the exit code. Errors are printed, not raised."""
    handler = _SigtermHandler()
    try:
        with asyncio.Runner() as runner:
            return runner.run(handler.run(job))
    except (KeyboardInterrupt, asyncio.CancelledError):
        work.report_interrupted()
        return Exit.TERMINATED if handler.is_terminated else Exit.INTERRUPTED
    except Exception as exc:
        error = _leaf(exc)
        if isinstance(error, BrokenPipeError):
            close_stdout()
            return Exit.CLOSED_PIPE
        if not isinstance(error, AgentsError | ValueError | OSError):
            raise  # a bug: its traceback has to be seen
        work.out.error(error)
        return code_of(error)


def _leaf(error: Exception) -> Exception:
    """Return the first error of a group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
