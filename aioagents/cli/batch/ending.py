"""What a batch came to, by its journal: totals, what is left, how to go on, and the exit code."""

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from ...batch import RowState
from ...batch.journal import Summary
from ..exits import Exit, worst
from ..output import Output
from .figures import span, times
from .job import BatchJob

#: For help pages.
HELP: Final = """\b
What the worst row comes to decides:
    5  a start was refused for want of credentials or rights
    4  rows are unknown: they were sent, and whether a run began cannot be known
    1  rows failed, were aborted or refused, or are no rows
    3  rows are left: not begun, or their run goes on
    0  all completed, but for those that were dropped by hand
A batch that an error ended exits with that error's code, 1 where it is the
journal's or the disk's."""

_BAD: Final = (RowState.FAILED, RowState.ABORTED, RowState.REFUSED)
_TOLD_BY_STATE: Final = frozenset({"RunFailed", "RunAborted", "StartUnknown"})
_LEFT: Final = (RowState.PLANNED, RowState.STARTED)
_BARRED: Final = frozenset({"AuthenticationError", "PermissionDenied"})
#: Once nobody is at work any more, nobody knows what became of a start that was out.
_UNKNOWN: Final = (RowState.UNKNOWN, RowState.SENDING)


@frozen(kw_only=True)
class Ending:
    """A batch that is over for now.

    `unread` rows of the input were not come to, None if nobody knows how many; `unwritten` results are not in the
    file yet; `lost` rows are started, and their run cannot be followed; `is_broken_off` says that an error ended it.
    """

    summary: Summary
    faulty: int
    unread: int | None
    unwritten: int
    lost: int
    is_broken_off: bool
    seconds: float
    starts: int
    polls: int
    throttles: int

    def _count(self, *states: RowState) -> int:
        return sum(self.summary.states[state] for state in states)

    @property
    def unknown(self) -> int:
        """Count rows that were sent, and of which nobody knows whether a run began."""
        return self._count(*_UNKNOWN)

    @property
    def is_left(self) -> bool:
        """Return whether running the batch again would do anything."""
        is_all_done = self.unread == 0 and self.unwritten == 0 and not self._count(*_LEFT)
        return self.is_broken_off or not is_all_done

    @property
    def code(self) -> Exit:
        """Return what the worst row comes to."""
        codes = [Exit.OK]
        if self.faulty or self._count(*_BAD):
            codes.append(Exit.FAILED)
        if self.is_left:
            codes.append(Exit.TIMEOUT)
        if self.unknown:
            codes.append(Exit.UNKNOWN)
        if _BARRED & self.summary.errors.keys():
            codes.append(Exit.AUTH)
        return worst(codes)


def tell_ending(out: Output, job: BatchJob, ending: Ending, code: Exit) -> None:
    """Print how it ended."""
    states = ending.summary.states
    counts = {state: count for state, count in states.items() if count and state.is_settled}
    named = ", ".join(f"{count:,} {state.value}" for state, count in counts.items())
    out.line(f"{sum(counts.values()):,} rows settled{': ' if named else ''}{named}")
    out.line(f"{ending.starts:,} starts and {ending.polls:,} polls in {span(ending.seconds)}")
    if ending.throttles:
        out.line(f"throttled {times(ending.throttles)}")
    for kind, count in ending.summary.errors.items():
        if kind not in _TOLD_BY_STATE:
            out.line(f"  {count:,} {kind}")
    if ending.faulty:
        out.line(f"{ending.faulty:,} in the input are no rows, or stand there twice")
    if ending.unknown:
        out.line(f"{ending.unknown:,} unknown: they were sent, and whether a run began cannot be known")
        out.line(f"  list them:   {job.listing}")
        out.line(f"  settle one:  {job.listing} --resolve KEY=REF|resend|drop")
    if ending.lost:
        out.line(f"{ending.lost:,} are started, and their run cannot be followed")
        out.line(f"  settle one:  {job.listing} --resolve KEY=REF|resend|drop")
    if job.output is not None:
        out.line(f"results in {job.output}")
    if ending.is_left:
        out.line(f"left: {_left(ending)}; this goes on with the batch:")
        out.line(f"  {job.resuming}")
        if job.file == "-":
            out.line("  with the same input once more")
    out.document({"event": "ended", **_describe(job, ending), "exit_code": int(code)})


def _left(ending: Ending) -> str:
    states = ending.summary.states
    parts = []
    if going := states[RowState.STARTED] - ending.lost:
        parts.append(f"{going:,} runs go on")
    if ending.lost:
        parts.append(f"{ending.lost:,} runs cannot be followed")
    if states[RowState.PLANNED]:
        parts.append(f"{states[RowState.PLANNED]:,} rows were not begun")
    if ending.unread is None:
        parts.append("the input was not read to its end")
    elif ending.unread:
        parts.append(f"about {ending.unread:,} rows were not read")
    if ending.unwritten:
        parts.append(f"{ending.unwritten:,} results were not written")
    return ", ".join(parts) or "the last step"


def _describe(job: BatchJob, ending: Ending) -> Mapping[str, Any]:
    return {
        "journal": job.journal,
        "output": job.output,
        "rows": {state.value: count for state, count in ending.summary.states.items() if count},
        "errors": dict(ending.summary.errors),
        "faulty": ending.faulty,
        "unread": ending.unread,
        "unknown": ending.unknown,
        "lost": ending.lost,
        "starts": ending.starts,
        "polls": ending.polls,
        "throttles": ending.throttles,
        "seconds": round(ending.seconds, 3),
        "resume": job.resuming if ending.is_left else None,
    }
