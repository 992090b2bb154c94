"""The tree of errors: what survives pickling, what is shown, and which status is which error."""

import copy
import inspect
import pickle
from datetime import UTC, datetime

import pytest

from aioagents import errors
from aioagents.errors import AgentsError, StartUnknown, StreamCut, TransportError, WaitTimeout, error_class
from aioagents.model import Run, RunRef, RunState

REF = RunRef("leena", "us-east-1", "0123")
RUN = Run(
    ref=REF,
    state=RunState.FAILED,
    status="failed",
    output={"to": "someone@example.com"},
    error="someone@example.com is unknown",
    raw={"body": "private"},
    seen_at=datetime(2026, 1, 5, tzinfo=UTC),
)
CLASSES = sorted(
    (each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, AgentsError)),
    key=lambda each: each.__name__,
)
FACTS: dict[str, object] = {
    "vendor": "leena",
    "call": "aop.status",
    "ref": REF,
    "run": RUN,
    "status": 418,
    "retry_after": 2.5,
    "request_id": "req-1",
    "detail": "someone@example.com may not",
    "path": "$.rows[3]",
    "target": "triage",
    "sent_at": datetime(2026, 1, 5, tzinfo=UTC),
    "body": b'{"message_to_start": "private"}',
    "advice": "check the report",
    "received": b'{"output": "private',
    "events": 3,
}


def test_tree_is_complete() -> None:
    """Every class in the tree of the module's docstring exists, and the other way round."""
    drawn = set((errors.__doc__ or "").replace(",", " ").split())
    assert {each.__name__ for each in CLASSES} <= drawn


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_class_message_and_facts(kind: type[AgentsError], protocol: int) -> None:
    """An error that crosses processes is the same error on the other side."""
    again = pickle.loads(pickle.dumps(kind("what happened", **FACTS), protocol))  # noqa: S301 - our own
    assert type(again) is kind
    assert str(again) == "what happened"
    assert {name: getattr(again, name) for name in FACTS} == FACTS


@pytest.mark.parametrize("kind", CLASSES)
def test_copy_keeps_the_facts(kind: type[AgentsError]) -> None:
    """A copied error has all that the first one had."""
    again = copy.copy(kind("what happened", **FACTS))
    assert (str(again), vars(again)) == ("what happened", FACTS)


@pytest.mark.parametrize("kind", CLASSES)
def test_facts_are_not_printed(kind: type[AgentsError]) -> None:
    """Neither text form of an error contains the server's message, the body or anything of the run."""
    error = kind("what happened", **FACTS)
    for shown in (str(error), repr(error)):
        assert "example.com" not in shown
        assert "private" not in shown


@pytest.mark.parametrize("kind", CLASSES)
def test_facts_have_defaults(kind: type[AgentsError]) -> None:
    """A fact that does not apply is None or empty, never missing."""
    error = kind()
    assert (error.vendor, error.call, error.detail) == ("", "", "")
    assert (error.ref, error.run, error.status, error.retry_after, error.request_id) == (None,) * 5


def test_passing_errors() -> None:
    """No reply, too many requests and errors of the server pass; nothing else does."""
    passing = {each.__name__ for each in CLASSES if each.is_passing}
    assert passing == {"TransportError", "NotSent", "ReplyLost", "Throttled", "ServerError"}


def test_wait_timeout_is_a_timeout_error() -> None:
    """`except TimeoutError` catches the wait's deadline too, with its facts."""
    with pytest.raises(TimeoutError) as caught:
        raise WaitTimeout("not yet", run=RUN)
    assert caught.value.run is RUN  # type: ignore[attr-defined]


def test_start_unknown_has_its_own_facts() -> None:
    """An unknown start has neither target nor time by default."""
    error = StartUnknown("x")
    assert (error.target, error.sent_at, error.body, error.advice) == ("", None, None, "")


def test_a_cut_stream_has_its_own_facts() -> None:
    """A stream that was cut has neither bytes nor events by default, and is not passing."""
    error = StreamCut("x")
    assert (error.received, error.events, error.is_passing) == (b"", 0, False)
    assert isinstance(error, TransportError)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (300, "ReplyError"), (302, "ReplyError"), (400, "BadRequest"), (401, "AuthenticationError"),
        (402, "ReplyError"), (403, "PermissionDenied"), (404, "NotFound"), (409, "Conflict"),
        (410, "NotFound"), (413, "BadRequest"), (415, "BadRequest"), (418, "ReplyError"),
        (422, "BadRequest"), (429, "Throttled"), (500, "ServerError"), (503, "ServerError"),
        (599, "ServerError"), (999, "ServerError"),
    ],
)  # fmt: skip
def test_class_of_a_status(status: int, name: str) -> None:
    """Each status that is not 2xx has its class."""
    assert error_class(status).__name__ == name
