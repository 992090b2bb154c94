"""The commands `status`, `wait` and `cancel`, and what all commands `run VENDOR` have in common."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from inspect import cleandoc
from typing import TYPE_CHECKING, Final

import click

from .. import codec
from ..connect import Clients
from ..errors import AgentsError, WaitTimeout
from ..model import Run, RunRef
from ..observe import Event, RunChanged
from ..polling import RunHandle
from ..pool import SessionPool
from .exits import ORDER_HELP, Exit, code_of, worst
from .options import Command, json_option, timeout_option
from .output import Output, describe_run, moment
from .tally import COLOURS, Tally
from .work import Work, perform

if TYPE_CHECKING:
    from . import live

_TICK: Final = 0.1  # seconds between two drawings

_STARTED: Final = """The run's reference is printed as soon as it is known; 'aioagents wait REF' follows it from
anywhere. A start is never sent twice: if its reply is lost and its run cannot be found, the command reports it and
exits with 4."""

Outcome = Run | AgentsError


_FOLLOW_OPTIONS: Final = (
    click.option(
        "--wait/--no-wait",
        default=True,
        help="Follow it to its end, or print its reference and exit.  [default: wait]",
    ),
    timeout_option,
    json_option,
)


def follow_options(command: Command) -> Command:
    """Add the options that `start` takes: `wait`, `timeout` and `is_json`."""
    for option in reversed(_FOLLOW_OPTIONS):
        command = option(command)
    return command


def run_command(vendor: str) -> Callable[[Command], click.Command]:
    """Make a function the command `run VENDOR`, with the options and the help that all of them have."""

    def make(function: Command) -> click.Command:
        about = f"{cleandoc(function.__doc__ or '')}\n\n{_STARTED}"
        command = click.command(vendor, help=about)(function)
        for option in _FOLLOW_OPTIONS:  # after the vendor's own
            option(command)
        return command

    return make


def start(
    begin: Callable[[SessionPool, AsyncExitStack], Awaitable[RunHandle]],
    *,
    wait: bool,
    timeout: float | None,
    is_json: bool,
    then: Callable[[RunHandle, Output], Awaitable[None]] | None = None,
) -> Exit:
    """Start a run by calling `begin`, print its reference, and follow the run if it is to `wait`.

    `begin` gets an exit stack, which is closed when the run has ended. `then` is called if the run completed.
    """
    work = Work(Output(is_json=is_json))

    async def job() -> Exit:
        async with work.pool() as pool, AsyncExitStack() as stack:
            handle = await begin(pool, stack)
            accepted = None if handle.accepted is None else describe_run(handle.accepted)
            work.out.document({"event": "started", "ref": str(handle.ref), "run": accepted})
            work.out.line(str(handle.ref))
            if not wait:
                return Exit.OK
            code = await follow(work, [handle], timeout=timeout)
            if then is not None and code is Exit.OK:
                await then(handle, work.out)
            return code

    return perform(work, job)


@click.command("status")
@click.argument("ref")
@json_option
def status(*, ref: str, is_json: bool) -> Exit:
    """Poll the run REF once and print its state.

    Exits with 0 also for a run that has not ended yet, and with 1 for one that failed or was aborted.
    """
    work = Work(Output(is_json=is_json))

    async def job() -> Exit:
        async with work.pool() as pool:
            run = await Clients(pool).attach(ref).poll()
        work.out.document(describe_run(run))
        _print_run(work.out, run)
        return code_of(run)

    return perform(work, job)


def _print_run(out: Output, run: Run) -> None:
    word = "" if run.status == run.state.value else f" ({run.status})"
    out.line(f"{run.ref}")
    out.line(f"state    {run.state.value}{word}")
    out.line(f"started  {moment(run.started_at)}")
    out.line(f"ended    {moment(run.ended_at)}")
    _print_result(out, run)


def _print_result(out: Output, run: Run) -> None:
    if run.error is not None:
        out.line(f"error    {run.error}")
    if run.output is not None:
        out.line(f"output   {codec.encode_deep(run.output).decode()}")


@click.command("wait", epilog=ORDER_HELP)
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@timeout_option
@json_option
def wait(*, refs: Sequence[str], timeout: float | None, is_json: bool) -> Exit:
    """Follow runs to their end, no matter who started them.

    With --json, each change is a line {"event": "changed", "run": ...}, each end a line {"event": "ended", ...} or
    {"error": ...} with the run's "ref".
    """
    work = Work(Output(is_json=is_json))

    async def job() -> Exit:
        async with work.pool() as pool:
            clients = Clients(pool)
            handles = {handle.ref: handle for handle in map(clients.attach, refs)}
            for handle in handles.values():
                handle.wake()  # it may have ended already
            return await follow(work, list(handles.values()), timeout=timeout)

    return perform(work, job)


@click.command("cancel", epilog=ORDER_HELP)
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--reason", help="Why, for vendors that take a reason.")
@json_option
def cancel(*, refs: Sequence[str], reason: str | None, is_json: bool) -> Exit:
    """Ask the vendors to cancel runs, no matter who started them.

    Exits with 0 also for a run that had ended before, whose end stands; with 1 where the vendor refuses or cannot
    cancel runs. With --json, each run is a line {"event": "cancelled", "ref": ..., "is_requested": ..., "run": ...}
    or {"error": ...} with the run's "ref"; "is_requested" is false for a run that had ended before.
    """
    work = Work(Output(is_json=is_json))

    async def job() -> Exit:
        async with work.pool() as pool:
            clients = Clients(pool)
            handles = {handle.ref: handle for handle in map(clients.attach, refs)}
            work.running.update(dict.fromkeys(handles))
            return worst(await asyncio.gather(*(_cancel(work, each, reason) for each in handles.values())))

    return perform(work, job)


async def _cancel(work: Work, handle: RunHandle, reason: str | None) -> Exit:
    """Cancel a run, print how it stands then, and return the exit code."""
    try:
        await handle.cancel(reason)
    except AgentsError as error:
        error.ref = handle.ref
        work.out.error(error)
        return code_of(error)
    work.running.pop(handle.ref, None)
    run = handle.last
    if run is None or not run.state.is_terminal:
        with suppress(AgentsError):  # the vendor has accepted, whatever state the run is in
            run = await handle.poll()
    is_requested, state = handle.is_cancel_requested, "accepted" if run is None else run.state.value
    described = None if run is None else describe_run(run)
    work.out.document(
        {"event": "cancelled", "ref": str(handle.ref), "is_requested": is_requested, "run": described}
    )
    work.out.line(f"{state:<10} {handle.ref}{'' if is_requested else '  (it had ended before)'}")
    return Exit.OK


async def follow(work: Work, handles: Sequence[RunHandle], *, timeout: float | None) -> Exit:
    """Follow runs to their end, print each change, and return the exit code of the worst."""
    changes: asyncio.Queue[Run | tuple[RunRef, Outcome]] = asyncio.Queue()

    def on_event(event: Event) -> None:
        if isinstance(event, RunChanged) and not event.run.state.is_terminal:
            changes.put_nowait(event.run)

    async def settle(handle: RunHandle) -> None:
        outcome: Outcome
        try:
            outcome = await handle.wait(timeout=timeout)
        except AgentsError as error:
            outcome = error
        changes.put_nowait((handle.ref, outcome))

    work.listeners.append(on_event)
    work.running.update(dict.fromkeys(handle.ref for handle in handles))
    display = _Display(work, [handle.ref for handle in handles])
    with display.board():
        async with asyncio.TaskGroup() as group:
            for handle in handles:
                group.create_task(settle(handle))
            while display.tally.open:
                try:
                    async with asyncio.timeout(_TICK if work.out.is_live else None):
                        match await changes.get():
                            case Run() as run:
                                display.changed(run)
                            case (ref, outcome):
                                display.ended(ref, outcome)
                except TimeoutError:
                    pass
                display.draw()
    return worst(display.codes)


class _Display:
    """Shows how runs go: JSON lines, plain lines, or a display that is redrawn."""

    def __init__(self, work: Work, refs: Sequence[RunRef]) -> None:
        self._work = work
        self._out = work.out
        self._began_at = time.monotonic()
        self.tally = Tally(len(refs), refs)
        self.codes: list[Exit] = []
        self._board = self._open_board()
        self._draw_at = self._began_at

    def _open_board(self) -> "live.Board | None":
        if not self._out.is_live:
            return None
        from . import live  # noqa: PLC0415 - rich is imported only if something is drawn

        most = max(3, live.height() - 4)
        return live.Board(lambda: live.followed(self.tally, self._clock(), most=most))

    def board(self) -> AbstractContextManager[object]:
        """Return the context manager inside which the display is drawn."""
        return nullcontext() if self._board is None else self._board

    def draw(self) -> None:
        """Redraw the display, if it is due."""
        if self._board is not None and time.monotonic() >= self._draw_at:
            self._board.refresh()
            self._draw_at = time.monotonic() + _TICK

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began_at:.1f} s"

    def changed(self, run: Run) -> None:
        """Print a change of a run that has not ended."""
        self.tally.seen(run)
        self._out.document({"event": "changed", "run": describe_run(run)})
        if not self._out.is_live:
            self._line(run.state.value, run.ref, run.status)

    def ended(self, ref: RunRef, outcome: Outcome) -> None:
        """Print the end of a run, or why it is no longer followed."""
        code = code_of(outcome)
        self.codes.append(code)
        if isinstance(outcome, Run):
            self._work.running.pop(ref, None)
            self.tally.seen(outcome)
            document = {
                "event": "ended",
                "ref": str(ref),
                "exit_code": int(code),
                "run": describe_run(outcome),
            }
            self._out.document(document)
            self._line(outcome.state.value, ref, outcome.status)
            _print_result(self._out, outcome)
            return
        if not isinstance(outcome, WaitTimeout):
            self._work.running.pop(ref, None)
        self.tally.close(ref, "not over" if isinstance(outcome, WaitTimeout) else "error")
        outcome.ref = ref
        self._out.error(outcome)

    def _line(self, state: str, ref: RunRef, status: str) -> None:
        word = "" if status == state else f"  {status}"
        text = f"{state:<10} {ref}{word}  after {self._clock()}"
        if self._board is None:
            self._out.line(text)
        else:
            self._board.say(text, COLOURS.get(state, ""))
