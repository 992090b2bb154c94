"""Events emitted to hooks and to the log."""

import inspect
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import define

from aioagents import observe
from aioagents.errors import AgentsError, ServerError, StartUnknown
from aioagents.model import Run, RunRef, RunState
from aioagents.observe import Dispatcher, Event, RetryScheduled, StartAbandoned, TokenRenewed
from aioagents.observe.logs import _LEVELS

REF = RunRef("leena", "", "1")
NOW = datetime(2026, 1, 5, tzinfo=UTC)
RUN = Run(
    ref=REF,
    state=RunState.FAILED,
    status="failed",
    output="hunter2",
    error="hunter2",
    raw="hunter2",
    seen_at=NOW,
)
ERROR = ServerError("leena: broke", detail="hunter2", status=500)
UNKNOWN = StartUnknown("leena: who knows", body=b"hunter2", detail="hunter2", run=RUN)
FACTS: dict[str, object] = {
    "vendor": "leena", "call": "c", "method": "GET", "status": 500, "seconds": 1.0, "error": UNKNOWN,
    "failures": 1, "delay": 1.0, "per_second": 1.0, "hold": 0.0, "lifetime": 60.0, "target": "t",
    "run": RUN, "previous": RUN, "ref": REF, "sent_at": NOW, "from_store": False, "runs": 2, "answer": "resume",
}  # fmt: skip
KINDS = [
    each
    for _, each in inspect.getmembers(observe, inspect.isclass)
    if issubclass(each, Event) and each is not Event
]
EVENT = TokenRenewed(vendor="leena", lifetime=60.0, seconds=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_events_show_no_secret(kind: type[Event], caplog: pytest.LogCaptureFixture) -> None:
    """Neither an event's repr nor its line in the log has a body, an output or the server's own message."""
    make: Any = kind
    event = make(**{name: FACTS[name] for name in inspect.signature(kind).parameters})
    assert "hunter2" not in repr(event)
    with caplog.at_level(logging.DEBUG, "aioagents"):
        Dispatcher()(event)
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text
    assert caplog.records[0].__dict__["event"] is event


def test_every_event_has_a_level() -> None:
    """Each kind of event has a log level; what a person has to act upon is a warning."""
    assert set(_LEVELS) == set(KINDS)
    assert _LEVELS[StartAbandoned] == logging.WARNING


def test_hooks_get_every_event_in_order() -> None:
    """Each hook gets each event, in the order of the hooks."""
    heard: list[tuple[str, Event]] = []
    emit = Dispatcher([lambda event: heard.append(("a", event)), lambda event: heard.append(("b", event))])
    emit(EVENT)
    assert heard == [("a", EVENT), ("b", EVENT)]
    assert emit.is_detailed


@define  # with a comparison and therefore without a hash
class _Broken:
    calls: int = 0

    def __call__(self, event: Event) -> None:
        self.calls += 1
        raise RuntimeError("a listener's own fault")


def test_a_hook_that_raises_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises is logged once, still gets events, and does not affect the others."""
    heard: list[Event] = []
    broken = _Broken()
    emit = Dispatcher([broken, _Broken(), heard.append])
    for _ in range(3):
        emit(EVENT)
    assert heard == [EVENT] * 3
    assert broken.calls == 3
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def _awaited(event: Event) -> None:
    raise AssertionError


@pytest.mark.parametrize("hook", [None, 3, "print", _awaited])
def test_what_cannot_be_called_is_refused(hook: object) -> None:
    """What is not callable, or would have to be awaited, is refused at once rather than never called."""
    with pytest.raises(TypeError, match="hook"):
        Dispatcher([hook])  # type: ignore[list-item]


def test_details_are_emitted_where_they_are_wanted(caplog: pytest.LogCaptureFixture) -> None:
    """What every request causes is emitted only where there is a hook, or the log is at DEBUG."""
    with caplog.at_level(logging.INFO, "aioagents"):
        assert not Dispatcher().is_detailed
    with caplog.at_level(logging.DEBUG, "aioagents"):
        assert Dispatcher().is_detailed
    with caplog.at_level(logging.ERROR, "aioagents"):
        Dispatcher()(RetryScheduled(vendor="v", call="c", failures=1, delay=1.0, error=AgentsError("x")))
    assert caplog.records == []
