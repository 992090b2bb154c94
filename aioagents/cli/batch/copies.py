"""The commands `batch backup` and `batch check`, and the rows that a journal which is not whole may start twice."""

import click

from ...batch import Journal, RowState
from ...batch.journal import JournalCheck
from ..exits import Exit
from ..options import json_option
from ..output import Output
from ..work import Work, perform


@click.command("backup")
@click.argument("journal", type=click.Path(), metavar="JOURNAL")
@click.argument("to", type=click.Path(), metavar="TO")
@json_option
def backup(*, journal: str, to: str, is_json: bool) -> Exit:
    """Copy JOURNAL to the new file TO, as it is at one moment. The batch may be running.

    Do not copy the file by other means while its batch runs: most of it is in the files beside it. The copy can be
    read by the other commands. If the batch was running, rows may have been started since: to continue the batch with
    the copy needs --accept-loss.
    """
    out = Output(is_json=is_json)

    async def job() -> Exit:
        Journal.back_up(journal, to)
        found = Journal.check(to)
        out.line(f"{to} has {found.rows:,} rows" + (f"; {found.loss}" if found.loss else ""))
        out.document({"journal": to, **_describe(found)})
        return Exit.OK

    return perform(Work(out), job)


@click.command("check")
@click.argument("journal", type=click.Path(), metavar="JOURNAL")
@json_option
def check(*, journal: str, is_json: bool) -> Exit:
    """Check that JOURNAL is intact and has all that was recorded. The batch may be running.

    Exits with 1 if not. If it is not whole, the rows that may have been started after its last write are listed:
    with --accept-loss the batch starts them again, and so rows of its input that the journal does not have.
    """
    out = Output(is_json=is_json)

    async def job() -> Exit:
        found = Journal.check(journal)
        out.document({"journal": journal, **_describe(found)})
        if not found.is_whole:
            _list(out, journal, found)
            return Exit.FAILED
        use = ", in use" if found.is_in_use else ""
        out.line(f"{journal} is whole: {found.rows:,} rows, {found.writes:,} writes{use}")
        return Exit.OK

    return perform(Work(out), job)


def list_losses(out: Output, journal: str) -> None:
    """Print the rows of a journal that may be started twice if its loss is accepted, none if it is whole.

    Raise JournalError for a journal that is damaged.
    """
    found = Journal.check(journal)
    if not found.is_whole:
        _list(out, journal, found)


def _list(out: Output, journal: str, found: JournalCheck) -> None:
    out.warn(f"the journal {journal} is not whole: {found.loss}")
    out.note("these rows may have been started already, and so may rows of the input that it does not have:")
    with Journal.read_only(journal, accepts_loss=True) as reader:
        for record in reader.records(state=RowState.PLANNED):
            out.line(f"  {record.key}  {record.target}")
            out.document({"event": "doubtful", "key": record.key, "target": record.target})


def _describe(found: JournalCheck) -> dict[str, object]:
    return {
        "rows": found.rows,
        "writes": found.writes,
        "is_in_use": found.is_in_use,
        "is_whole": found.is_whole,
        "loss": found.loss or None,
    }
