"""Signatures of webhooks against the vendor's vectors, and with anything else in the headers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioagents import WebhookRejected
from aioagents.model import Secret
from aioagents.webhooks import sign, verify
from aioagents.webhooks.signature import TOLERANCE, read_timestamp

_SECRET = Secret("k3y-for-docs-only")
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_STAMP = "1767225600"
_DEPLOY = b'{"action":"deploy","branch":"main","build":42}'
_RIGHT = "sha256=089c468014388124d8aa1055513ab91e89ec5f2575e3ddf26e45e961563ac8b6"
_VECTORS = [
    (_SECRET, _STAMP, _DEPLOY, _RIGHT),
    (Secret("  k3y-for-docs-only\n"), "2026-01-01T00:00:00Z", _DEPLOY, _RIGHT),
    (_SECRET, "2026-01-01T01:00:00.75+01:00", _DEPLOY, _RIGHT),
    (_SECRET, _STAMP, b"", "sha256=1cd4b899045f0ae2af2576b706c52fcf566859001cf1a1275e06277c69ddf7d7"),
    (
        _SECRET,
        _STAMP,
        '{"note":"café ✓"}'.encode(),
        "sha256=0574af4791bbe5222a9fe85de644cfda8845dfca2b2576a63a34716489ed1252",
    ),
    (
        _SECRET,
        _STAMP,
        b'{ "action": "deploy" }\n',
        "sha256=a1cba65251ce61c27a2cef7068bb6d11a9aec25e0f54cd41e2112a97e1a48d13",
    ),
]


@pytest.mark.parametrize(("secret", "timestamp", "body", "value"), _VECTORS)
def test_vectors(secret: Secret, timestamp: str, body: bytes, value: str) -> None:
    """What is signed is byte for byte what the vendor's server signs, and is accepted."""
    assert sign(secret, body, timestamp=timestamp) == value
    verify(secret, body, timestamp=timestamp, signature=value, now=_AT)


@pytest.mark.parametrize(
    "signature",
    [
        "sha256=" + _RIGHT.removeprefix("sha256=").upper(),
        f"  {_RIGHT}\t",
    ],
)
def test_signatures_that_are_as_good(signature: str) -> None:
    """Upper-case digits count as lower-case ones, and white space around the value does not count."""
    verify(_SECRET, _DEPLOY, timestamp=_STAMP, signature=signature, now=_AT)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        _RIGHT.removeprefix("sha256="),
        _RIGHT.replace("sha256=", "SHA256="),
        _RIGHT.replace("sha256=", "sha1="),
        _RIGHT.replace("sha256=", "sha256= "),
        f"sha256={_RIGHT}",
        _RIGHT[:-1],
        _RIGHT + "0",
        _RIGHT[:-1] + "é",
        _RIGHT[:-1] + "\uff16",
        _RIGHT[:-1] + "\udcff",
        "\x00",
    ],
)
def test_wrong_signatures(signature: str) -> None:
    """A value with another prefix, other digits, or bytes that are not text raises `WebhookRejected` alone."""
    with pytest.raises(WebhookRejected, match="signature is wrong") as caught:
        verify(_SECRET, _DEPLOY, timestamp=_STAMP, signature=signature, now=_AT)
    assert "089c" not in str(caught.value)
    assert "k3y" not in str(caught.value)


def test_other_secret_body_or_moment() -> None:
    """A signature is good for one secret, one body to the byte, and one second."""
    for secret, body, stamp in [
        (Secret("k3y-for-docs-onlY"), _DEPLOY, _STAMP),
        (_SECRET, _DEPLOY + b"\n", _STAMP),
        (_SECRET, _DEPLOY, "1767225601"),
    ]:
        with pytest.raises(WebhookRejected):
            verify(secret, body, timestamp=stamp, signature=_RIGHT, now=_AT)


@pytest.mark.parametrize("secret", ["", " ", "\r\n"])
def test_empty_secret(secret: str) -> None:
    """With an empty secret anybody could sign, so it is refused as a setting."""
    with pytest.raises(ValueError, match="secret is empty"):
        sign(Secret(secret), b"", timestamp=_STAMP)
    with pytest.raises(ValueError, match="secret is empty"):
        verify(Secret(secret), _DEPLOY, timestamp=_STAMP, signature=_RIGHT, now=_AT)


@pytest.mark.parametrize("tolerance", [TOLERANCE, 0.0, 10.0])
@pytest.mark.parametrize("way", [-1, 1])
def test_borders_of_the_tolerance(tolerance: float, way: int) -> None:
    """A timestamp exactly as far off as the tolerance is accepted, before and after; a moment further is not."""
    far = timedelta(seconds=tolerance)
    verify(_SECRET, _DEPLOY, timestamp=_STAMP, signature=_RIGHT, now=_AT + way * far, tolerance=tolerance)
    beyond = far + timedelta(milliseconds=1)
    with pytest.raises(WebhookRejected, match="timestamp"):
        verify(
            _SECRET, _DEPLOY, timestamp=_STAMP, signature=_RIGHT, now=_AT + way * beyond, tolerance=tolerance
        )


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        " ",
        "soon",
        "17672256 00",
        "1767225600.5",
        "1e9",
        "0x10",
        "\uff12\uff10\uff12\uff16",
        "2026-01-01",
        "T",
        "nan",
        "9" * 16,
    ],
)
def test_timestamps_that_are_none(timestamp: str) -> None:
    """A timestamp is whole Unix seconds or RFC 3339: anything else is refused, and cannot be signed."""
    with pytest.raises(WebhookRejected, match="timestamp"):
        verify(_SECRET, _DEPLOY, timestamp=timestamp, signature=_RIGHT, now=_AT)
    with pytest.raises(ValueError, match="timestamp has to be"):
        sign(_SECRET, _DEPLOY, timestamp=timestamp)


@pytest.mark.parametrize("timestamp", [f" {_STAMP}\t", f"0{_STAMP}", "20260101T000000Z"])
def test_timestamps_in_other_words(timestamp: str) -> None:
    """The signed second is the same however it is written."""
    assert sign(_SECRET, _DEPLOY, timestamp=timestamp) == _RIGHT


def test_seconds_before_the_epoch_are_rounded_down() -> None:
    """The fraction is dropped towards the past, as the vendor's clock has it."""
    assert read_timestamp("1969-12-31T23:59:59.25Z") == -0.75
    assert sign(_SECRET, b"", timestamp="1969-12-31T23:59:59.25Z") == sign(_SECRET, b"", timestamp="-1")


@given(
    secret=st.text(min_size=1).filter(lambda text: text.strip() and text.isprintable()),
    body=st.binary(max_size=200),
    at=st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001
    minutes=st.integers(-14 * 60, 14 * 60),
    is_text=st.booleans(),
)
def test_what_is_signed_is_accepted(
    secret: str, body: bytes, at: datetime, minutes: int, *, is_text: bool
) -> None:
    """Whatever the secret, the body, the second and the form of the timestamp: the signature verifies."""
    moment = at.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    stamp = moment.isoformat() if is_text else str(int(moment.timestamp() // 1))
    signature = sign(Secret(secret), body, timestamp=stamp)
    verify(Secret(f"\n{secret} "), body, timestamp=stamp, signature=signature, now=moment)
    with pytest.raises(WebhookRejected):
        verify(Secret(secret), body + b".", timestamp=stamp, signature=signature, now=moment)


@given(st.text(), st.text())
@example("2026-01-01T00:00:00Z", "\ud800")
@example("0001-01-01T00:00:00+23:59", "")
@example("9999-12-31T23:59:59-23:59", "")
def test_nothing_but_a_refusal_comes_of_any_headers(timestamp: str, signature: str) -> None:
    """Any two headers are accepted or refused; nothing else is raised."""
    with pytest.raises(WebhookRejected):
        verify(_SECRET, _DEPLOY, timestamp=timestamp, signature=signature, now=_AT)
