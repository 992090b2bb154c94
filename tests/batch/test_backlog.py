"""Changes on their way to the journal."""

from aioagents.batch import Change, RowState
from aioagents.batch.backlog import Backlog
from aioagents.batch.states import Phase, Row
from tests.fakes import EPOCH


def _add(backlog: Backlog, key: str, phase: Phase = Phase.CONFIRMING) -> Row:
    row = Row(key, "t", phase)
    backlog.add(row, Change(key=key, state=RowState.SENDING, at=EPOCH))
    return row


def _keys(backlog: Backlog) -> str:
    """Return the keys of the next call, one after another."""
    return "".join(change.key for change in backlog.next_call() or ())


def test_one_call_at_a_time() -> None:
    """What is asked for while a call is out shares the next one, in order."""
    backlog = Backlog()
    first = _add(backlog, "a")
    assert _keys(backlog) == "a"
    second, third = _add(backlog, "b"), _add(backlog, "c")
    assert backlog.next_call() is None
    assert (backlog.answered(), len(backlog)) == ([first], 2)
    assert _keys(backlog) == "bc"
    assert backlog.answered() == [second, third]
    assert (backlog.next_call(), bool(backlog)) == (None, False)


def test_call_that_failed_is_made_again_one_by_one() -> None:
    """Each row of a failed call is asked for by itself, before what came meanwhile; one row's fault is its own."""
    backlog = Backlog()
    a, b = _add(backlog, "a"), _add(backlog, "b")
    assert _keys(backlog) == "ab"
    c = _add(backlog, "c")
    assert backlog.failed() == []
    assert _keys(backlog) == "a"
    assert backlog.failed() == [a]
    assert _keys(backlog) == "b"
    assert backlog.answered() == [b]
    assert _keys(backlog) == "c"
    assert backlog.answered() == [c]


def test_rows_that_were_to_be_sent_are_given_up() -> None:
    """After a failure no row becomes SENDING any more, whether its change was asked for or waits."""
    backlog = Backlog()
    a, b = _add(backlog, "a", Phase.RECORDING), _add(backlog, "b")
    assert _keys(backlog) == "ab"
    c, d = _add(backlog, "c", Phase.RECORDING), _add(backlog, "d")
    assert backlog.failed() == [a, c]
    assert _keys(backlog) == "b"
    assert backlog.answered() == [b]
    assert _keys(backlog) == "d"
    assert backlog.answered() == [d]


def test_a_single_row_that_was_to_be_sent() -> None:
    """Where the call was for that row alone, it is given up once."""
    backlog = Backlog()
    a = _add(backlog, "a", Phase.RECORDING)
    assert _keys(backlog) == "a"
    assert backlog.failed() == [a]
    assert not backlog


def test_giving_up() -> None:
    """All rows whose answer is owed come back, and nothing is left."""
    backlog = Backlog()
    a, b = _add(backlog, "a"), _add(backlog, "b")
    backlog.next_call()
    backlog.failed()
    backlog.next_call()
    c = _add(backlog, "c")
    assert backlog.give_up() == [a, b, c]
    assert not backlog
