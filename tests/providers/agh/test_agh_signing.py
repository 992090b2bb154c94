"""Webhook signatures, endpoints and ids, against the vectors that were computed by other means."""

import hmac
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import Secret
from aioagents.providers.agh.signing import (
    check_endpoint,
    default_webhook_id,
    signature,
    webhook_fire_id,
    webhook_run_id,
)
from aioagents.webhooks import sign

_SECRET = "k3y-for-docs-only"
_AT = 1767225600
_BODY = b'{"action":"deploy","branch":"main","build":42}'
_SIGNED = "sha256=089c468014388124d8aa1055513ab91e89ec5f2575e3ddf26e45e961563ac8b6"
_TRIGGER = "trg-0011223344556677"
_DIGEST = "a5293902177aecadb3c43d92814954f42d28d4e62fa591f7235cf634b6fe52b8"


@pytest.mark.parametrize(
    ("secret", "body", "signed"),
    [
        (_SECRET, _BODY, _SIGNED),
        (f"  {_SECRET}\n", _BODY, _SIGNED),
        (Secret(_SECRET), _BODY, _SIGNED),
        (_SECRET, b"", "sha256=1cd4b899045f0ae2af2576b706c52fcf566859001cf1a1275e06277c69ddf7d7"),
        (
            _SECRET,
            '{"note":"café ✓"}'.encode(),
            "sha256=0574af4791bbe5222a9fe85de644cfda8845dfca2b2576a63a34716489ed1252",
        ),
        (
            _SECRET,
            b'{ "action": "deploy" }\n',
            "sha256=a1cba65251ce61c27a2cef7068bb6d11a9aec25e0f54cd41e2112a97e1a48d13",
        ),
    ],
)
def test_signature_vectors(secret: str | Secret, body: bytes, signed: str) -> None:
    """Each vector's body is signed as it was there, byte for byte, whatever stands around the secret."""
    assert signature(secret, _AT, body) == signed


@pytest.mark.parametrize("timestamp", ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00.75+01:00", str(_AT)])
def test_timestamp_vectors(timestamp: str) -> None:
    """What is signed of a timestamp are its whole seconds, in whichever form the header has it."""
    assert sign(Secret(_SECRET), _BODY, timestamp=timestamp) == signature(_SECRET, _AT, _BODY) == _SIGNED


def test_message_vector() -> None:
    """The signed message is the seconds, a dot and the body: 57 bytes for the first vector."""
    message = bytes.fromhex(
        "313736373232353630302e"
        "7b22616374696f6e223a226465706c6f79222c226272616e6368223a226d61696e222c226275696c64223a34327d"
    )
    assert len(message) == 57
    assert message == f"{_AT}.".encode() + _BODY
    digest = hmac.new(_SECRET.encode(), message, sha256).hexdigest()
    assert signature(_SECRET, _AT, _BODY) == f"sha256={digest}"


@pytest.mark.parametrize("secret", ["", " \n", Secret("")])
def test_blank_secret(secret: str | Secret) -> None:
    """By a blank secret anybody could sign: it is refused."""
    with pytest.raises(ValueError, match="the secret is empty"):
        signature(secret, _AT, _BODY)


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 2**40), st.integers(0, 2**40))
def test_signatures_differ_with_what_is_signed(one: bytes, two: bytes, first: int, second: int) -> None:
    """Two bodies or two moments have two signatures."""
    assert (signature(_SECRET, first, one) == signature(_SECRET, second, two)) == (
        (first, one) == (second, two)
    )


@pytest.mark.parametrize(
    ("trigger", "delivery"), [(_TRIGGER, "order-1001"), (f" {_TRIGGER}\n", "\torder-1001 ")]
)
def test_run_id_vector(trigger: str, delivery: str) -> None:
    """The run and fire ids of a delivery follow from trigger and delivery id, trimmed."""
    assert webhook_run_id(trigger, delivery) == "run_wbh_a5293902177aecadb3c43d92"
    assert webhook_fire_id(trigger, delivery) == f"webhook:{_DIGEST}"


def test_default_webhook_id_vector() -> None:
    """The webhook id that the server makes follows from the trigger's."""
    assert default_webhook_id(_TRIGGER) == default_webhook_id(f" {_TRIGGER} ") == "wbh_fc2d53399f18b9a4"


@pytest.mark.parametrize(("trigger", "delivery"), [("", "order-1001"), (_TRIGGER, " ")])
def test_ids_of_nothing(trigger: str, delivery: str) -> None:
    """Without a trigger or a delivery id there is no run to name."""
    with pytest.raises(ValueError, match="_id: is required"):
        webhook_run_id(trigger, delivery)


@pytest.mark.parametrize(
    ("endpoint", "segment"),
    [
        ("deploy--wbh_fc2d53399f18b9a4", "deploy--wbh_fc2d53399f18b9a4"),
        (" deploy--wbh_1 ", "deploy--wbh_1"),
        ("a--b--wbh_1", "a--b--wbh_1"),
        ("ship it/now?--wbh_1", "ship%20it%2Fnow%3F--wbh_1"),
        ("déjà#vu--wbh_1", "d%C3%A9j%C3%A0%23vu--wbh_1"),
        ("..--wbh_1", "..--wbh_1"),
        ("100%--wbh_1", "100%25--wbh_1"),
    ],
)
def test_endpoints(endpoint: str, segment: str) -> None:
    """An endpoint is one segment of a path, whatever its slug holds; the id stands behind the last `--`."""
    assert check_endpoint(endpoint) == segment
    assert "/" not in segment
    assert unquote(segment) == endpoint.strip()


@pytest.mark.parametrize(
    "endpoint",
    ["deploy", "deploy--", "--wbh_1", "  --wbh_1", "deploy--1", "deploy-wbh_1", "wbh_1", "a--wbh_1--b"],
)
def test_endpoints_that_reach_nothing(endpoint: str) -> None:
    """What is not slug, `--` and webhook id is refused before it is sent."""
    with pytest.raises(ValueError, match=r"^endpoint: expected <endpoint_slug>--wbh_<id>"):
        check_endpoint(endpoint)


@pytest.mark.parametrize(("endpoint", "kind"), [("", ValueError), (" ", ValueError), (None, TypeError)])
def test_endpoints_that_are_none(endpoint: Any, kind: type[Exception]) -> None:
    """An endpoint has to be a text with something in it."""
    with pytest.raises(kind, match=r"^endpoint: "):
        check_endpoint(endpoint)
