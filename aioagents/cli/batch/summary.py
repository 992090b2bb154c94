"""The summary at the end of a batch: totals from its journal, what is left, how to continue, and the exit code."""

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from ...batch import RowState
from ...batch.journal import Summary
from ..exits import Exit, worst
from ..output import Output
from .job import BatchJob
from .progress import span, times

#: For help pages.
HELP: Final = """\b
The worst row decides the exit code:
    5  a start was refused for lack of credentials or rights
    4  rows are unknown: they were sent, and whether a run began cannot be known
    1  rows failed, were aborted or refused, or lines are not valid rows
    3  rows are left: not started, or their run goes on
    0  all completed, except those that were dropped by hand
A batch that an error ended exits with that error's code: 1 for an error of the
journal or the disk."""

_BAD: Final = (RowState.FAILED, RowState.ABORTED, RowState.REFUSED)
#: Kinds of errors that the counts by state already show.
_SHOWN_BY_STATE: Final = frozenset({"RunFailed", "RunAborted", "StartUnknown"})
_LEFT: Final = (RowState.PLANNED, RowState.STARTED)
_AUTH_ERRORS: Final = frozenset({"AuthenticationError", "PermissionDenied"})
#: Once the batch has ended, nobody records the outcome of a start that was pending.
_UNKNOWN: Final = (RowState.UNKNOWN, RowState.SENDING)


@frozen(kw_only=True)
class BatchSummary:
    """The figures of a batch that has ended, perhaps to be continued.

    `unread` counts rows of the input that were not read, None if the number is not known; `unwritten` counts results
    that are not in the file yet; `lost` counts started rows whose run cannot be followed; `is_failed` says that an
    error ended the batch.
    """

    journal: Summary
    faulty: int
    unread: int | None
    unwritten: int
    lost: int
    is_failed: bool
    seconds: float
    starts: int
    polls: int
    throttles: int

    def _count(self, *states: RowState) -> int:
        return sum(self.journal.states[state] for state in states)

    @property
    def unknown(self) -> int:
        """Return the number of rows that were sent without it being known whether a run began."""
        return self._count(*_UNKNOWN)

    @property
    def is_left(self) -> bool:
        """Return whether running the batch again would do anything."""
        is_all_done = self.unread == 0 and self.unwritten == 0 and not self._count(*_LEFT)
        return self.is_failed or not is_all_done

    @property
    def code(self) -> Exit:
        """Return the exit code that the worst row leads to."""
        codes = [Exit.OK]
        if self.faulty or self._count(*_BAD):
            codes.append(Exit.FAILED)
        if self.is_left:
            codes.append(Exit.TIMEOUT)
        if self.unknown:
            codes.append(Exit.UNKNOWN)
        if _AUTH_ERRORS & self.journal.errors.keys():
            codes.append(Exit.AUTH)
        return worst(codes)


def print_summary(out: Output, job: BatchJob, summary: BatchSummary, code: Exit) -> None:
    """Print the summary."""
    states = summary.journal.states
    counts = {state: count for state, count in states.items() if count and state.is_settled}
    named = ", ".join(f"{count:,} {state.value}" for state, count in counts.items())
    out.line(f"{sum(counts.values()):,} rows settled{': ' if named else ''}{named}")
    out.line(f"{summary.starts:,} starts and {summary.polls:,} polls in {span(summary.seconds)}")
    if summary.throttles:
        out.line(f"throttled {times(summary.throttles)}")
    for kind, count in summary.journal.errors.items():
        if kind not in _SHOWN_BY_STATE:
            out.line(f"  {count:,} {kind}")
    if summary.faulty:
        out.line(f"{summary.faulty:,} lines of the input are not rows, or repeat a key")
    if summary.unknown:
        out.line(f"{summary.unknown:,} unknown: they were sent, and whether a run began cannot be known")
        out.line(f"  list them:   {job.list_command}")
        out.line(f"  settle one:  {job.list_command} --resolve KEY=REF|resend|drop")
    if summary.lost:
        out.line(f"{summary.lost:,} are started, and their run cannot be followed")
        out.line(f"  settle one:  {job.list_command} --resolve KEY=REF|resend|drop")
    if job.output is not None:
        out.line(f"results in {job.output}")
    if summary.is_left:
        out.line(f"left: {_left(summary)}; to continue the batch:")
        out.line(f"  {job.resume_command}")
        if job.file == "-":
            out.line("  with the same input again")
    out.document({"event": "ended", **_describe(job, summary), "exit_code": int(code)})


def _left(summary: BatchSummary) -> str:
    states = summary.journal.states
    parts = []
    if going := states[RowState.STARTED] - summary.lost:
        parts.append(f"{going:,} runs go on")
    if summary.lost:
        parts.append(f"{summary.lost:,} runs cannot be followed")
    if states[RowState.PLANNED]:
        parts.append(f"{states[RowState.PLANNED]:,} rows were not started")
    if summary.unread is None:
        parts.append("the input was not read to its end")
    elif summary.unread:
        parts.append(f"about {summary.unread:,} rows were not read")
    if summary.unwritten:
        parts.append(f"{summary.unwritten:,} results were not written")
    return ", ".join(parts) or "the last step"


def _describe(job: BatchJob, summary: BatchSummary) -> Mapping[str, Any]:
    return {
        "journal": job.journal,
        "output": job.output,
        "rows": {state.value: count for state, count in summary.journal.states.items() if count},
        "errors": dict(summary.journal.errors),
        "faulty": summary.faulty,
        "unread": summary.unread,
        "unknown": summary.unknown,
        "lost": summary.lost,
        "starts": summary.starts,
        "polls": summary.polls,
        "throttles": summary.throttles,
        "seconds": round(summary.seconds, 3),
        "resume": job.resume_command if summary.is_left else None,
    }
