"""`batch unknown`: the rows of which nobody knows whether a run began, and what people found out about them."""

from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import click
from attrs import frozen

from ...batch import Change, Journal, Record, RowState
from ...batch.journal import JournalReader
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
#: What may be settled. STARTED is for a wrong REF, or a run that is lost or never ends.
_OPEN: Final = (RowState.UNKNOWN, RowState.SENDING, RowState.STARTED, RowState.REFUSED)
#: Whose references are right for sure, and then those that may be.
_FOLLOWED: Final = (RowState.COMPLETED, RowState.FAILED, RowState.ABORTED, RowState.STARTED)


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

    A row that is started or refused, and would stay so, can be settled in the same way: one whose REF was wrong,
    whose run the vendor has lost, or whose refusal is mended. Resend starts it once more, whatever its run does.
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
        """Return the steps that lead there. A start that nobody waits for any more is unknown first."""
        key, ref = self.record.key, self.ref
        if self.record.state is RowState.SENDING:
            yield Change(key=key, state=RowState.UNKNOWN, at=at)
        if self.state is RowState.DROPPED:
            ref = self.record.ref  # the run may go on, and this is where it can still be found
        yield Change(key=key, state=self.state, ref=ref, at=at, is_by_hand=True)


async def _settle(out: Output, journal: str, texts: Sequence[str]) -> None:
    with Journal.read_only(journal):
        pass  # it is there: opening it to write would make one
    async with Journal(journal) as opened:
        # Read while nobody else may change it; that this process has it open itself counts for nothing.
        with Journal.read_only(journal) as view:
            named = {key for text in texts for key in _keys_of(text)}
            found = {
                each.key: each for state in _OPEN for each in view.records(state=state) if each.key in named
            }
            place = _place(view, found)
            states = view.summary().states
        answers = [_answer(text, found, place) for text in texts]
        keys = [answer.record.key for answer in answers]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"{_HINT}: {twice!r} is given twice; nothing was changed")
        now = datetime.now(UTC)
        await opened.record([change for answer in answers for change in answer.changes(now)])
    for answer in answers:
        ref = None if answer.ref is None else str(answer.ref)
        if answer.record.ref is not None:
            out.warn(
                f"{answer.record.key} was started as {answer.record.ref}, which is not followed any more"
            )
        out.line(f"{answer.record.key} is {answer.state.value}" + (f" as {ref}" if ref else ""))
        out.document({"event": "resolved", "key": answer.record.key, "state": answer.state.value, "ref": ref})
    left = states[RowState.UNKNOWN] + states[RowState.SENDING]
    left -= sum(each.record.state in (RowState.UNKNOWN, RowState.SENDING) for each in answers)
    out.note(f"{left:,} unknown are left; what was settled takes effect when the batch is run with --resume")


def _keys_of(text: str) -> Iterator[str]:
    """Return all that may be the key in KEY=REF|resend|drop: either may have any number of =."""
    key, equals, _ = text.rpartition("=")
    while equals:
        yield key
        key, equals, _ = key.rpartition("=")


def _place(view: JournalReader, named: Container[str]) -> tuple[str, str] | None:
    """Say where the batch's runs are, by those that are not to be settled now."""
    records = (each for state in _FOLLOWED for each in view.records(state=state) if each.key not in named)
    return next(((each.ref.vendor, each.ref.scope) for each in records if each.ref is not None), None)


def _answer(text: str, found: Mapping[str, Record], place: tuple[str, str] | None) -> _Answer:
    """Read KEY=REF|resend|drop. Raises ValueError and JournalError."""
    key = next((each for each in _keys_of(text) if each in found), text.rpartition("=")[0])
    word = text[len(key) + 1 :]
    if not (key and word):
        raise ValueError(f"{_HINT}: {text!r} is not of the form KEY=REF|resend|drop; nothing was changed")
    if key not in found:
        raise JournalError(
            f"the row {key!r} is not unknown, nor started or refused; nothing was changed", key=key
        )
    if word in _WORDS:
        return _Answer(record=found[key], state=_WORDS[word])
    try:
        ref = RunRef.parse(word)
        find_provider(ref.vendor)
    except ValueError as exc:
        raise ValueError(f"{_HINT}: {exc}; nothing was changed") from None
    if ref == found[key].ref:
        raise ValueError(f"{_HINT}: the row {key!r} is started as {ref} already; nothing was changed")
    if place is not None and (ref.vendor, ref.scope) != place:
        raise ValueError(
            f"{_HINT}: {ref} is not a run of {place[0]}:{place[1]}, as those of this batch; nothing was changed"
        )
    return _Answer(record=found[key], state=RowState.STARTED, ref=ref)
