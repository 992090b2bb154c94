"""Runs a command's coroutine: its pool, signals, errors, and the runs that go on when it is interrupted."""

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

#: Ctrl-C ends a command within a second: so long are replies waited for that are still out.
_CLOSE: Final = 0.5

Listener = Callable[[Event], object]


class Work:
    """One command at work: its output, and what it has running at vendors.

    `parting` says what comes of a start whose fate an interruption leaves unknown. Without `keeps_runs` the runs are
    known from elsewhere, however many they are, and none is listed.
    """

    def __init__(
        self, out: Output, *, reports_faults: bool = True, keeps_runs: bool = True, parting: str = ""
    ) -> None:
        self.out = out
        self._keeps_runs = keeps_runs
        self._parting = parting
        #: Runs that were begun or are followed, and have not ended as far as was seen.
        self.running: dict[RunRef, None] = {}
        self.listeners: list[Listener] = []
        self.most_shown: int | None = None
        self._abandoned: list[StartAbandoned] = []
        self._tells_faults = reports_faults
        self._told: set[str] = set()

    @asynccontextmanager
    async def pool(self, *, cadence: Cadence | None = None) -> AsyncIterator[SessionPool]:
        """Open a pool that this work listens to."""
        async with SessionPool(timeouts=Timeouts(close=_CLOSE), cadence=cadence, hooks=[self.hear]) as pool:
            yield pool

    def hear(self, event: Event) -> None:
        """Note an event of the pool's."""
        match event:
            case RunStarted(run=run) if self._keeps_runs:
                self.running[run.ref] = None
            case RunChanged(run=run) if run.state.is_terminal:
                self.running.pop(run.ref, None)
            case StartAbandoned():
                self._abandoned.append(event)
            case StatusUnknown(run=run):
                self.out.warn(f"{run.ref}: the status {run.status!r} is not known here; watching on")
            case PollFailed(error=error) | RetryScheduled(error=error):
                self._tell_fault(str(error))
        for listener in self.listeners:
            listener(event)

    def _tell_fault(self, text: str) -> None:
        """Tell of a passing fault once, however often and wherever it recurs."""
        if self._tells_faults and text not in self._told:
            self._told.add(text)
            self.out.warn(f"{text}; trying again")

    def tell_interrupted(self) -> None:
        """Tell what goes on at vendors, now that nobody here waits for it."""
        refs = [str(ref) for ref in self.running]
        unknown = [event for event in self._abandoned if isinstance(event.error, StartUnknown)]
        if not self._keeps_runs:
            self.out.warn("interrupted; runs that were begun go on")
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
            self.out.note(f"  unknown: {_question(each)}")
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
        return " ".join(filter(None, (self._parting, advice)))


def _question(event: StartAbandoned) -> str:
    """Say what is not known of a start that nobody waits for any more."""
    target, when = one_line(event.target), moment(event.sent_at)
    action = event.error.action if isinstance(event.error, StartUnknown) else ""
    if action == StartUnknown.action:
        return f"whether the start of {target}, sent at {when}, began a run"
    return f"whether what was sent for {target} at {when} {action}"


class _Stop:
    """Has SIGTERM end a command as Ctrl-C does."""

    def __init__(self) -> None:
        self.is_terminated = False

    async def watch(self, job: Callable[[], Awaitable[Exit]]) -> Exit:
        """Do `job`, and cancel it on SIGTERM."""
        task = asyncio.current_task()

        def on_signal() -> None:
            self.is_terminated = True
            if task is not None:
                task.cancel()

        # Where signals cannot be had (Windows, a thread), Ctrl-C alone ends a command.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
        return await job()


def perform(work: Work, job: Callable[[], Awaitable[Exit]]) -> Exit:
    """Run `job` in an event loop of its own and give the exit code; errors are printed, not raised."""
    stop = _Stop()
    try:
        with asyncio.Runner() as runner:
            return runner.run(stop.watch(job))
    except (KeyboardInterrupt, asyncio.CancelledError):
        work.tell_interrupted()
        return Exit.TERMINATED if stop.is_terminated else Exit.INTERRUPTED
    except Exception as exc:
        error = _leaf(exc)
        if isinstance(error, BrokenPipeError):
            close_stdout()
            return Exit.CLOSED_PIPE
        if not isinstance(error, AgentsError | ValueError | OSError):
            raise  # a fault of ours: it has to show where it lies
        work.out.error(error)
        return code_of(error)


def _leaf(error: Exception) -> Exception:
    """Return the first error of a group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
