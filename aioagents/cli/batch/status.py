"""The command `batch status`: the state of a batch, read from its journal alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import click

from ...batch import Journal, Record, RowState
from ...batch.journal import Durations, JournalReader, Summary
from ..exits import Exit
from ..options import json_option
from ..output import Output, moment, one_line
from ..work import Work, perform
from .job import list_command

_WIDEST: Final = 40  # characters of a bar
_MOST_SHOWN: Final = 10


@click.command("status")
@click.argument("journal", type=click.Path(), metavar="JOURNAL")
@json_option
def status(*, journal: str, is_json: bool) -> Exit:
    """Show the state of the batch of JOURNAL: totals, durations of runs, errors.

    The batch may be running. Exits with 0 however its rows ended, and with 1 if JOURNAL is not a journal.
    """
    out = Output(is_json=is_json)

    async def job() -> Exit:
        with Journal.read_only(journal) as reader:
            summary, durations = reader.summary(), reader.durations()
            unknown = list(islice(unknown_rows(reader, summary), _MOST_SHOWN))
        out.document({"journal": journal, **_describe(summary, durations, unknown)})
        _print_totals(out, journal, summary)
        for each in durations.values():
            _print_durations(out, each)
        _print_unknown(out, journal, summary, unknown)
        return Exit.OK

    return perform(Work(out), job)


def unknown_rows(reader: JournalReader, summary: Summary) -> Iterator[Record]:
    """Return the rows of which it is not known whether a run began; also those that were being sent at a crash."""
    yield from reader.records(state=RowState.UNKNOWN)
    if not summary.is_in_use:
        yield from reader.records(state=RowState.SENDING)


def count_unknown(summary: Summary) -> int:
    """Return the number of rows that `unknown_rows` returns."""
    sending = 0 if summary.is_in_use else summary.states[RowState.SENDING]
    return summary.states[RowState.UNKNOWN] + sending


def _print_totals(out: Output, journal: str, summary: Summary) -> None:
    if summary.is_in_use:
        use = f"in use by {summary.owner} since {moment(summary.opened_at)}"
    elif summary.openings:
        use = f"last used by {summary.owner}, {summary.openings} times in all"
    else:
        use = "not used yet"
    out.line(f"{journal}, {use}")
    out.line(f"{summary.rows:,} rows")
    width = len(f"{summary.rows:,}")
    for state, count in summary.states.items():
        if count:
            out.line(f"  {count:>{width},}  {count / summary.rows:>6.1%}  {state.value}")
    if summary.first_sent_at is not None:
        out.line(f"sent   {moment(summary.first_sent_at)} to {moment(summary.last_sent_at)}")
    if summary.last_ended_at is not None:
        out.line(f"ended  {moment(summary.last_ended_at)} was the last")
    if summary.errors:
        out.line("errors")
        for kind, count in summary.errors.items():
            out.line(f"  {count:>{width},}  {one_line(kind)}")
    if summary.emitted_bytes or summary.is_output_stale:
        stale = ", of which some have changed since" if summary.is_output_stale else ""
        out.line(
            f"results not written yet: {summary.unemitted:,}; written: {summary.emitted_bytes:,} bytes{stale}"
        )


def _print_durations(out: Output, durations: Durations) -> None:
    figures = f"{durations.shortest:.1f} to {durations.longest:.1f} s, {durations.mean:.1f} s on average"
    out.line(f"{durations.count:,} {durations.state.value}, in {figures}")
    most = max(count for _, count in durations.buckets)
    bounds = [_bound(edge) for edge, _ in durations.buckets]
    width = max(map(len, bounds))
    for bound, (_, count) in zip(bounds, durations.buckets, strict=True):
        bar = "#" * math.ceil(count / most * _WIDEST)
        out.line(f"  {bound:>{width}}  {bar:<{_WIDEST}}  {count:,}")


def _bound(edge: float) -> str:
    return "longer" if math.isinf(edge) else f"< {edge:g} s"


def _print_unknown(out: Output, journal: str, summary: Summary, shown: Sequence[Record]) -> None:
    count = count_unknown(summary)
    if not count:
        return
    out.line(f"{count:,} unknown: they were sent, and whether a run began cannot be known")
    for record in shown:
        out.line(f"  {record.key}  {record.target}  sent at {moment(record.sent_at)}")
    if count > len(shown):
        out.line(f"  and {count - len(shown):,} more")
    out.line(f"  list and settle them: {list_command(journal)}")


def _describe(
    summary: Summary, durations: Mapping[RowState, Durations], unknown: Sequence[Record]
) -> Mapping[str, Any]:
    return {
        "rows": summary.rows,
        "states": {state.value: count for state, count in summary.states.items()},
        "errors": dict(summary.errors),
        "is_in_use": summary.is_in_use,
        "owner": summary.owner,
        "openings": summary.openings,
        "created_at": summary.created_at,
        "opened_at": summary.opened_at,
        "closed_at": summary.closed_at,
        "first_sent_at": summary.first_sent_at,
        "last_sent_at": summary.last_sent_at,
        "last_ended_at": summary.last_ended_at,
        "unwritten": summary.unemitted,
        "written_bytes": summary.emitted_bytes,
        "is_output_stale": summary.is_output_stale,
        "unknown": count_unknown(summary),
        "first_unknown": [record.key for record in unknown],
        "durations": {state.value: _describe_durations(each) for state, each in durations.items()},
    }


def _describe_durations(durations: Durations) -> Mapping[str, Any]:
    return {
        "count": durations.count,
        "shortest": durations.shortest,
        "mean": durations.mean,
        "longest": durations.longest,
        "buckets": [
            {"below": None if math.isinf(edge) else edge, "count": count} for edge, count in durations.buckets
        ],
    }
