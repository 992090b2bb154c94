"""The command `batch unknown`: lists rows of which it is not known whether a run began, and settles them by hand."""

from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import click
from attrs import frozen

from ...batch import Change, Journal, Record, RowState
from ...batch.journal import JournalReader
from ...contract import endpoint_of
from ...errors import JournalError
from ...model import RunRef
from ...providers import find_provider
from ..exits import Exit
from ..options import json_option
from ..output import Output, moment, one_line
from ..work import Work, perform
from .status import count_unknown, unknown_rows

_WORDS: Final[Mapping[str, RowState]] = {"resend": RowState.PLANNED, "drop": RowState.DROPPED}
_HINT: Final = "--resolve"
#: States that can be settled; STARTED for a wrong REF, or a run that is lost or never ends.
_SETTLEABLE: Final = (RowState.UNKNOWN, RowState.SENDING, RowState.STARTED, RowState.REFUSED)
#: States of rows with a reference: first those in which it is certainly right.
_WITH_REF: Final = (RowState.COMPLETED, RowState.FAILED, RowState.ABORTED, RowState.STARTED)


@click.command("unknown")
@click.argument("journal", type=click.Path(), metavar="JOURNAL")
@click.option(
    "--resolve",
    "answers",
    multiple=True,
    metavar="KEY=REF|resend|drop",
    help="Settle a row; repeatable. REF is the run that it began, resend starts it again, drop gives it up.",
)
@json_option
def unknown(*, journal: str, answers: Sequence[str], is_json: bool) -> Exit:
    """List the rows of JOURNAL that were sent without it being known whether a run began, or settle some of them.

    Search at the vendor for a run with the row's target and time. The changes take effect when the batch is run again
    with --resume. If one --resolve is wrong, none is applied. The journal must not be in use: let the batch end
    first.

    Rows that are started or refused can be settled in the same way: if REF was wrong, if the vendor has lost the run,
    or if the reason of the refusal is gone. Resend starts the row again, whatever its run does.
    """
    out = Output(is_json=is_json)

    async def job() -> Exit:
        if answers:
            await _settle(out, journal, answers)
        else:
            _list(out, journal)
        return Exit.OK

    return perform(Work(out), job)


def _list(out: Output, journal: str) -> None:
    with Journal.read_only(journal) as reader:
        summary = reader.summary()
        for record in unknown_rows(reader, summary):
            reason = one_line(out.hide(record.error)) or "the batch ended while its start was pending"
            out.line(f"{record.key}  {record.target}  sent at {moment(record.sent_at)}  {reason}")
            facts = {"key": record.key, "target": record.target, "sent_at": record.sent_at}
            out.document({**facts, "kind": record.kind or None, "error": reason})
    if not count_unknown(summary):
        out.note("no row is unknown")


@frozen(kw_only=True)
class _Answer:
    """The decision for one row."""

    record: Record
    state: RowState
    ref: RunRef | None = None

    @property
    def kept_ref(self) -> RunRef | None:
        """Return the run that the row has afterwards. A dropped row keeps its own, which may go on."""
        return self.record.ref if self.state is RowState.DROPPED else self.ref

    def changes(self, at: datetime) -> Iterator[Change]:
        """Return the changes for the decision. A row that is still SENDING becomes UNKNOWN first."""
        key = self.record.key
        if self.record.state is RowState.SENDING:
            yield Change(key=key, state=RowState.UNKNOWN, at=at)
        yield Change(key=key, state=self.state, ref=self.kept_ref, at=at, is_by_hand=True)


async def _settle(out: Output, journal: str, texts: Sequence[str]) -> None:
    with Journal.read_only(journal):
        pass  # it exists: opening it for writing would create one
    async with Journal(journal) as opened:
        # Read while no other process can change it. That `is_in_use` is true here does not matter.
        with Journal.read_only(journal) as reader:
            named = {key for text in texts for key in _keys_of(text)}
            found = {
                each.key: each
                for state in _SETTLEABLE
                for each in reader.records(state=state)
                if each.key in named
            }
            endpoint = _endpoint(reader, found)
            states = reader.summary().states
            answers = [_answer(text, found, endpoint) for text in texts]
            _check_refs(answers, reader)
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
    out.note(f"{left:,} unknown rows are left; the changes take effect when the batch is run with --resume")


def _check_refs(answers: Sequence[_Answer], reader: JournalReader) -> None:
    """Raise ValueError for a run that another row has: a run is one row's only."""
    named = {answer.record.key for answer in answers}
    refs = [answer.ref for answer in answers if answer.ref is not None]
    owners = {ref: key for ref, key in reader.keys_of(refs) if key not in named}
    for answer in answers:
        key, ref = answer.record.key, answer.kept_ref
        if ref is not None and owners.setdefault(ref, key) != key:
            raise ValueError(f"{_HINT}: {ref} is the run of the row {owners[ref]!r}; nothing was changed")


def _keys_of(text: str) -> Iterator[str]:
    """Return every possible key in KEY=REF|resend|drop: key and reference may contain '='."""
    key, equals, _ = text.rpartition("=")
    while equals:
        yield key
        key, equals, _ = key.rpartition("=")


def _endpoint(reader: JournalReader, named: Container[str]) -> tuple[str, str] | None:
    """Return vendor and endpoint of the batch's runs, taken from a row that is not being settled."""
    records = (each for state in _WITH_REF for each in reader.records(state=state) if each.key not in named)
    return next(((each.ref.vendor, endpoint_of(each.ref)) for each in records if each.ref is not None), None)


def _answer(text: str, found: Mapping[str, Record], endpoint: tuple[str, str] | None) -> _Answer:
    """Return the decision in KEY=REF|resend|drop. Raise ValueError or JournalError if it is not possible."""
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
    if endpoint is not None and (ref.vendor, endpoint_of(ref)) != endpoint:
        raise ValueError(
            f"{_HINT}: {ref} is not a run of {':'.join(endpoint)}, as those of this batch; nothing was changed"
        )
    return _Answer(record=found[key], state=RowState.STARTED, ref=ref)
