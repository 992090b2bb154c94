"""Secrets that servers repeat in what they refuse."""

import base64
import html
import json
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import BadRequest, ReplyError
from aioagents.calls.redaction import known_secrets, redact
from aioagents.calls.reply_errors import error_of_reply
from aioagents.clock import LoopClock
from aioagents.model import Reply, Request

#: Secrets as they are made: without what a text could have by chance.
_SECRETS = st.text(st.sampled_from("abcXYZ0129-_/+=&<>\"'\\% \u00e9"), min_size=12, max_size=60)


def _request(body: object = None, **headers: str) -> Request:
    written = None if body is None else json.dumps(body).encode()
    return Request(method="POST", url="https://a.example/b", call="c", headers=headers, body=written)


def _error(
    answer: bytes,
    request: Request,
    signature: Mapping[str, str],
    *,
    shown_body: bytes | None = None,
    status: int = 400,
) -> ReplyError:
    return error_of_reply(
        "v",
        request,
        Reply(status, {}, answer),
        utcnow=LoopClock().utcnow(),
        headers=signature,
        shown_body=shown_body,
    )


def _written(secret: str) -> list[tuple[str, str]]:
    """Return texts with a secret in them, each with the part that gives it away."""
    encoded = [
        (len(before), encode(f"{before}{secret}{after}".encode()).decode())
        for before, after, encode in [
            ("", "", base64.b64encode),
            ("user:", "", base64.urlsafe_b64encode),
            ("x", "y", base64.b64encode),
            ("xx", "", base64.b64encode),
        ]
    ]
    return [
        (secret, secret),
        (json.dumps(secret), json.dumps(secret)[1:-1]),
        (json.dumps(json.dumps(secret)), json.dumps(json.dumps(secret)[1:-1])[1:-1]),
        (html.escape(secret), html.escape(secret)),
        (quote(secret), quote(secret)),
        (quote(secret, safe="").lower(), quote(secret, safe="").lower()),
        (quote_plus(secret), quote_plus(secret)),
        (repr({"key": secret}), repr(secret)[1:-1]),
        *((text, text[count * 4 // 3 + 4 : -4]) for count, text in encoded),
    ]


@given(secret=_SECRETS, index=st.integers(0, 11), before=st.integers(0, 520), is_json=st.booleans())
def test_no_form_of_a_secret_is_kept(secret: str, index: int, before: int, is_json: bool) -> None:
    """However a server writes a secret, and wherever the detail is cut, no four characters of it are left."""
    written, revealing = _written(secret)[index]
    text = "." * before + written
    answer = json.dumps({"message": text}).encode() if is_json else text.encode()
    error = _error(answer, _request({"password": secret}), {})
    assert len(error.detail) <= 503
    assert revealing not in error.detail
    assert revealing[:5] not in error.detail.replace("***", "\n")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Basic", "Token"])
def test_signatures(scheme: str) -> None:
    """The headers of a signature are secret with and without their scheme."""
    value = base64.b64encode(b"user:hunter22").decode() if scheme == "Basic" else "hunter22"
    shown = f"got '{scheme} {value}', that is {value}, of hunter22".encode()
    error = _error(shown, _request(), {"Authorization": f"{scheme} {value}"})
    assert error.detail == "got '***', that is ***, of ***"


def test_what_a_request_itself_carries() -> None:
    """In a request's own headers and body, secrets are known by the names of headers and members."""
    body = {
        "name": "harmless-1",
        "author": "harmless-2",
        "nested": [
            {"API_KEY": "secret-1"},
            {"webhook_secret_value": "secret-2"},
            {"callbackToken": "secret-3"},
        ],
        "credentials": {"user": ["secret-4"], "count": 5},
    }
    request = _request(body, **{"X-Webhook-Signature": "secret-5", "Content-Type": "harmless-3"})
    assert known_secrets(request, {}, None) == {f"secret-{number}" for number in range(1, 6)}


def test_what_may_not_be_shown_is_secret() -> None:
    """Where a start says which part of its body may be shown, all else is secret under any name."""
    body = {"shown": "harmless", "odd": {"name": ["the-secret"]}}
    shown = json.dumps({"shown": "harmless"}).encode()
    assert known_secrets(_request(body), {}, shown) == {"the-secret"}
    error = _error(b"no the-secret for harmless", _request(body), {}, shown_body=shown)
    assert error.detail == "no *** for harmless"


@pytest.mark.parametrize("body", [b"\xff{", b"", b"[1, null, {}]", b'"text"'])
def test_bodies_of_any_kind(body: bytes) -> None:
    """A body without names has no secrets that are known."""
    request = Request(method="POST", url="https://a.example/b", call="c", body=body)
    assert known_secrets(request, {"X-Key": "abc"}, None) == set()  # too short to be one


def test_texts_besides_the_detail() -> None:
    """The vendor's code and request id are cleaned as well."""
    error = BadRequest("x", detail="one hunter22", code="two HUNTER22", request_id="three-hunter2")
    redact(error, {"hunter22"})
    assert (error.detail, error.code, error.request_id) == ("one ***", "two ***", "three-***")


def test_harmless_texts_stay() -> None:
    """Without a secret in it, a text stays as it is."""
    error = _error(b'{"message": "unknown workflow w1"}', _request({"password": "hunter22"}), {})
    assert error.detail == "unknown workflow w1"


def test_request_ids_are_short_words() -> None:
    """What is no id is not kept as one."""
    for name, kept in (("r-1", "r-1"), ("a b", None), ("x" * 201, None)):
        reply = Reply(400, {"x-request-id": name})
        assert error_of_reply("v", _request(), reply, utcnow=LoopClock().utcnow()).request_id == kept
