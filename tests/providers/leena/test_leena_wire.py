"""Requests to Leena AI and the reading of its replies, which are kept as files."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import DecodeError, LeenaCredentials, RunRef, RunState
from aioagents.model import Purpose, Reply
from aioagents.providers.leena import wire
from aioagents.providers.leena.states import ACCEPTED, STATES, state_of

SAMPLES = Path(__file__).parents[2] / "samples" / "leena"
_AT = datetime(2026, 1, 5, tzinfo=UTC)
_ITEM = "0123456789abcdef01234567"
_CREDENTIALS = LeenaCredentials(client_id="id", client_secret="s:é", username="svc", password="pw-123")


def sample(name: str) -> Reply:
    """Return a reply as it was received."""
    (path,) = SAMPLES.glob(f"{name}.json")
    return Reply(int(path.name[:3]), {"content-type": "application/json"}, path.read_bytes())


def _status(reply: Reply) -> Any:
    return wire.read_status(reply, RunRef("leena", "", _ITEM), _AT)


def _json(value: Any) -> Reply:
    return Reply(200, {}, json.dumps(value).encode())


# States


@pytest.mark.parametrize(("word", "state"), STATES.items())
def test_each_word_has_a_sample(word: str, state: RunState) -> None:
    """Each word of the vendor's table is read from a reply as the state it stands for."""
    run = _status(sample(f"status/200-{word}"))
    assert (run.status, run.state) == (word, state)
    assert run.raw["status"] == word
    assert run.state.is_terminal == (word in {"completed", "failed", "aborted"})


@pytest.mark.parametrize(
    "word", ["accepted", "waiting_for_approval", "Completed", "in-progress", "cancelled", "", "failed "]
)
def test_other_words_are_unknown(word: str) -> None:
    """A word that differs by one letter is unknown, as is `accepted` in the status call."""
    assert state_of(word) is RunState.UNKNOWN
    assert _status(_json({"status": word})).state is RunState.UNKNOWN


# Token


def test_token_request_is_as_the_vendor_has_it() -> None:
    """Basic client credentials in UTF-8, and a JSON body where RFC 6749 has a form."""
    request = wire.token_request("https://acl.leena.ai", _CREDENTIALS)
    assert (request.method, request.url) == ("POST", "https://acl.leena.ai/api/v1.0/oauth/token")
    assert request.headers["Content-Type"] == "application/json"
    basic = request.headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic).decode() == "id:s:é"
    assert json.loads(request.body or b"") == {
        "username": "svc",
        "password": "pw-123",
        "grant_type": "password",
    }
    assert request.purpose is Purpose.TOKEN
    assert "pw-123" not in repr(request)
    assert basic not in repr(request)


@pytest.mark.parametrize(
    ("name", "lifetime"), [("issued", 3600), ("half-an-hour", 1800), ("without-lifetime", 300)]
)
def test_token_lives_as_long_as_the_vendor_says(name: str, lifetime: float) -> None:
    """`expires_in` is the lifetime; without it, a token is taken to live five minutes."""
    assert wire.read_token(sample(f"token/200-{name}")) == ("hdr.payload.sig", lifetime)


@pytest.mark.parametrize("stated", [0, -5, None, "soon", "", True, [], {}, "3600"])
def test_odd_lifetimes(stated: Any) -> None:
    """A lifetime that is no positive number is ignored; a number in a string is read."""
    value, lifetime = wire.read_token(_json({"access_token": "t", "expires_in": stated}))
    assert (value, lifetime) == ("t", 3600 if stated == "3600" else 300)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"access_token": null}', b'{"access_token": ""}']
)
def test_token_reply_without_a_token(body: bytes) -> None:
    """An answer without a token is a `DecodeError` that does not quote it."""
    with pytest.raises(DecodeError, match="leena: the ") as caught:
        wire.read_token(Reply(200, {}, body))
    assert caught.value.call == "token"
    assert "html" not in str(caught.value)


# Execute


def test_execute_request_is_as_the_vendor_has_it() -> None:
    """The three members are always sent, and the request starts something."""
    request = wire.execute_request(
        "https://aic.leena.ai", "it_ticket_triage", "Hi", {"ticket": "INC1", "n": [1]}
    )
    assert (request.method, request.url) == ("POST", "https://aic.leena.ai/api/v1/external/aop/execute")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body or b"") == {
        "aop_id": "it_ticket_triage",
        "message_to_start": "Hi",
        "context": {"ticket": "INC1", "n": [1]},
    }
    assert request.purpose is Purpose.START
    assert not request.is_repeatable
    assert not request.refused_by
    assert "INC1" not in repr(request)


def test_any_mapping_may_be_the_context() -> None:
    """A context that is no dict but a mapping is sent as what it holds."""
    request = wire.execute_request("https://x", "a", "", MappingProxyType({"k": "v"}))
    assert json.loads(request.body or b"")["context"] == {"k": "v"}


@pytest.mark.parametrize(
    "context",
    [
        {"a": object()},
        {1: "a"},
        {"a": {2: 3}},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": "\ud800"},
        [],
        "x",
        0,
        [("a", 1)],
    ],
)
def test_context_that_is_no_json_object_is_refused(context: Any) -> None:
    """What JSON cannot hold is refused, naming `context` and what is accepted."""
    with pytest.raises(TypeError, match="context has to "):
        wire.execute_request("https://x", "a", "", context)


@pytest.mark.parametrize("name", ["accepted", "without-run-id", "more-members"])
def test_accepted_run(name: str) -> None:
    """An accepted start names its run, whatever else is there or missing."""
    run = wire.read_accepted(sample(f"execute/200-{name}"), scope="us-east-1", seen_at=_AT)
    assert str(run.ref) == f"leena:us-east-1/{_ITEM}"
    assert (run.state, run.status, run.seen_at) == (RunState.QUEUED, ACCEPTED, _AT)
    assert run.raw["request_id"] == "0123456789abcdef01234560"


@pytest.mark.parametrize("status", [None, 5, [], {}])
def test_run_is_known_by_its_id_alone(status: Any) -> None:
    """Where the answer names the run, an odd status makes no `StartUnknown`."""
    for body in ({"aop_item_id": _ITEM}, {"aop_item_id": _ITEM, "status": status}):
        run = wire.read_accepted(_json(body), scope="", seen_at=_AT)
        assert (run.id, run.state) == (_ITEM, RunState.QUEUED)


@pytest.mark.parametrize(
    ("reply", "path"),
    [
        (sample("execute/200-without-item"), "$"),
        (_json({"aop_item_id": ""}), "$.aop_item_id"),
        (_json({"aop_item_id": "  "}), "$.aop_item_id"),
        (_json({"aop_item_id": 5}), "$.aop_item_id"),
        (_json({"aop_item_id": None}), "$.aop_item_id"),
        (_json([]), "$"),
        (_json(None), "$"),
        (Reply(200, {}, b"<html>secret</html>"), "$"),
        (Reply(200, {}, b""), "$"),
    ],
)
def test_answer_that_names_no_run(reply: Reply, path: str) -> None:
    """Without an id there is a `DecodeError` that says where, and quotes nothing."""
    with pytest.raises(DecodeError) as caught:
        wire.read_accepted(reply, scope="", seen_at=_AT)
    assert (caught.value.vendor, caught.value.call) == ("leena", "aop.execute")
    assert caught.value.path.startswith(path)
    assert "secret" not in str(caught.value)


# Status


@pytest.mark.parametrize(
    ("item", "segment"),
    [
        (_ITEM, _ITEM),
        ("a/b", "a%2Fb"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("ä ö", "%C3%A4%20%C3%B6"),
        ("%2e%2e", "%252e%252e"),
        ("..a", "..a"),
        ("a\r\nb", "a%0D%0Ab"),
    ],
)
def test_id_stays_one_segment_of_the_path(item: str, segment: str) -> None:
    """An id is percent-encoded and can change neither host nor path."""
    request = wire.status_request("https://aic.leena.ai", item)
    assert request.url == f"https://aic.leena.ai/api/v1/external/aop/items/{segment}/status"
    assert (request.method, request.purpose, request.body) == ("GET", Purpose.POLL, None)


@given(st.text(min_size=1))
def test_any_id_stays_one_segment(item: str) -> None:
    """Any id is refused or becomes one segment."""
    try:
        request = wire.status_request("https://h", item)
    except ValueError:
        return
    segment = request.url.removeprefix("https://h/api/v1/external/aop/items/").removesuffix("/status")
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", segment)
    assert segment not in {".", ".."}


@pytest.mark.parametrize("item", ["", " ", "\t", ".", ".."])
def test_empty_ids_are_refused(item: str) -> None:
    """An id that is empty or would climb the path is refused."""
    with pytest.raises(ValueError, match="aop_item_id"):
        wire.status_request("https://h", item)


def test_moments_without_zone_are_utc() -> None:
    """The vendor's dates are read as UTC, and `raw` keeps what was written."""
    run = _status(sample("status/200-completed"))
    assert run.started_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert run.ended_at == datetime(2026, 1, 2, 3, 14, 5, 250_000, tzinfo=UTC)
    assert run.raw["completed_at"] == "2026-01-02T03:14:05.250000"
    assert (run.created_at, run.output, run.error) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1234567", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1767323045, None),
        ({}, None),
    ],
)
def test_moments_of_all_kinds(text: Any, moment: datetime | None) -> None:
    """A moment is read in any ISO form; other text reads as None."""
    run = _status(_json({"status": "in_progress", "initiated_at": text}))
    assert run.started_at == moment


@pytest.mark.parametrize(
    ("name", "state", "ended"),
    [
        ("completed-without-moment", RunState.COMPLETED, False),
        ("in_progress-with-moment", RunState.RUNNING, True),
        ("unknown-word", RunState.UNKNOWN, False),
        ("bare", RunState.COMPLETED, False),
    ],
)
def test_status_alone_decides(name: str, state: RunState, *, ended: bool) -> None:
    """Moments that are missing, or there too early, and members that are new, change no state."""
    run = _status(sample(f"status/200-{name}"))
    assert run.state is state
    assert (run.ended_at is not None) == ended


@pytest.mark.parametrize(
    "reply",
    [
        sample("status/200-without-status"),
        _json({"status": None}),
        _json({"status": 1}),
        _json({"status": ["completed"]}),
        _json([{"status": "completed"}]),
        _json("completed"),
        _json(None),
        Reply(200, {"content-type": "text/html"}, b"<html>a@example.com</html>"),
        Reply(200, {}, b""),
        Reply(200, {}, b'{"status": "completed"'),
        Reply(200, {}, b"\xff\xfe"),
    ],
)
def test_status_reply_of_the_wrong_shape(reply: Reply) -> None:
    """Without a status word there is a `DecodeError` that names the call and quotes nothing."""
    with pytest.raises(DecodeError, match=r"leena: the answer to aop\.status") as caught:
        _status(reply)
    assert (caught.value.vendor, caught.value.call) == ("leena", "aop.status")
    assert "example" not in str(caught.value)


def test_content_type_does_not_matter() -> None:
    """JSON under another content type is read."""
    reply = Reply(200, {"content-type": "text/plain"}, b'\n{"status": "completed"}\n')
    assert _status(reply).state is RunState.COMPLETED
