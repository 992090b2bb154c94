"""`batch unknown`: the rows of which nobody knows whether a run began, and what people found out about them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import click
from attrs import frozen

from ...batch import Change, Journal, Record, RowState
from ...errors import JournalError
from ...model import RunRef
from ...providers import find_provider
from ..exits import Exit
from ..options import documented, json_option
from ..output import Output, moment, one_line
from ..work import Work, perform
from .status import count_unknown, unknown_rows

_WORDS: Final[Mapping[str, RowState]] = {"resend": RowState.PLANNED, "drop": RowState.DROPPED}
_HINT: Final = "--resolve"


@click.command("unknown")
@click.argument("journal", type=click.Path(), metavar="JOURNAL")
@click.option(
    "--resolve",
    "answers",
    multiple=True,
    metavar="KEY=REF|resend|drop",
    help="Settle a row; repeatable. REF is the run that it began, resend starts it once more, drop leaves it.",
)
@json_option
def _unknown(*, journal: str, answers: Sequence[str], is_json: bool) -> Exit:
    """List the rows of JOURNAL that were sent and of which nobody knows whether a run began, or settle some.

    Look at the vendor's side for a run of the row's target and time. What is settled takes effect when the batch is
    run again, with --resume. Either all of --resolve are taken or, where one is wrong, none. Settling needs the
    journal for itself: let the batch end first.
    """
    out = Output(is_json=is_json)

    async def job() -> Exit:
        if answers:
            await _settle(out, journal, answers)
        else:
            _list(out, journal)
        return Exit.OK

    return perform(Work(out), job)


unknown: Final = documented(_unknown)


def _list(out: Output, journal: str) -> None:
    with Journal.read_only(journal) as view:
        summary = view.summary()
        for record in unknown_rows(view, summary):
            words = one_line(out.hide(record.error)) or "the batch ended while its start was out"
            out.line(f"{record.key}  {record.target}  sent at {moment(record.sent_at)}  {words}")
            facts = {"key": record.key, "target": record.target, "sent_at": record.sent_at}
            out.document({**facts, "kind": record.kind or None, "error": words})
    if not count_unknown(summary):
        out.note("no row is unknown")


@frozen(kw_only=True)
class _Answer:
    """What was found out about a row."""

    record: Record
    state: RowState
    ref: RunRef | None = None

    def changes(self, at: datetime) -> Iterator[Change]:
        """Give the steps that lead there. A start that nobody waits for any more is unknown first."""
        if self.record.state is RowState.SENDING:
            yield Change(key=self.record.key, state=RowState.UNKNOWN, at=at)
        yield Change(key=self.record.key, state=self.state, ref=self.ref, at=at)


async def _settle(out: Output, journal: str, texts: Sequence[str]) -> None:
    with Journal.read_only(journal):
        pass  # it is there: opening it to write would make one
    async with Journal(journal) as opened:
        # Read while nobody else may change it; that this process has it open itself counts for nothing.
        with Journal.read_only(journal) as view:
            found = {
                record.key: record
                for state in (RowState.UNKNOWN, RowState.SENDING)
                for record in view.records(state=state)
            }
            place = next(((each.ref.vendor, each.ref.scope) for each in view.records() if each.ref), None)
        answers = [_answer(text, found, place) for text in texts]
        keys = [answer.record.key for answer in answers]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"{_HINT}: {twice!r} is given twice; nothing was changed")
        now = datetime.now(UTC)
        await opened.record([change for answer in answers for change in answer.changes(now)])
    for answer in answers:
        ref = None if answer.ref is None else str(answer.ref)
        out.line(f"{answer.record.key} is {answer.state.value}" + (f" as {ref}" if ref else ""))
        out.document({"event": "resolved", "key": answer.record.key, "state": answer.state.value, "ref": ref})
    left = len(found) - len(answers)
    out.note(f"{left:,} unknown are left; what was settled takes effect when the batch is run with --resume")


def _answer(text: str, found: Mapping[str, Record], place: tuple[str, str] | None) -> _Answer:
    """Read KEY=REF|resend|drop, in which the key may have any number of =. Raises ValueError and JournalError."""
    key, equals, word = text.rpartition("=")
    while equals and key not in found and "=" in key:  # a reference may have one as well
        key, _, more = key.rpartition("=")
        word = f"{more}={word}"
    if not (equals and key and word):
        raise ValueError(f"{_HINT}: {text!r} is not of the form KEY=REF|resend|drop; nothing was changed")
    if key not in found:
        key = text.rpartition("=")[0]
        raise JournalError(f"the row {key!r} is not unknown; nothing was changed", key=key)
    if word in _WORDS:
        return _Answer(record=found[key], state=_WORDS[word])
    try:
        ref = RunRef.parse(word)
        find_provider(ref.vendor)
    except ValueError as exc:
        raise ValueError(f"{_HINT}: {exc}; nothing was changed") from None
    if place is not None and (ref.vendor, ref.scope) != place:
        raise ValueError(
            f"{_HINT}: {ref} is not a run of {place[0]}:{place[1]}, as those of this batch; nothing was changed"
        )
    return _Answer(record=found[key], state=RowState.STARTED, ref=ref)
