"""The times at which a token is renewed and expires."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.model import Token


@pytest.mark.parametrize(
    ("lifetime", "advisory", "mandatory"), [(3600, 300, 30), (1000, 200, 30), (100, 20, 5), (1, 0.2, 0.05)]
)
def test_windows_follow_the_lifetime(lifetime: float, advisory: float, mandatory: float) -> None:
    """The windows are a fifth and a twentieth of the lifetime, at most five minutes and half a minute."""
    token = Token.from_lifetime("t", lifetime=lifetime, now=1000.0)
    assert token.expires_at == 1000.0 + lifetime
    assert token.expires_at - token.advisory_at == pytest.approx(advisory)
    assert token.expires_at - token.mandatory_at == pytest.approx(mandatory)


@given(
    st.floats(1e-6, 1e9),
    st.floats(0, 1e9),
    st.none() | st.floats(allow_nan=False, allow_infinity=True),
)
def test_moments_are_in_order(lifetime: float, now: float, remaining: float | None) -> None:
    """A token is renewed before callers wait for it, and they wait before it expires; none outlives its lifetime."""
    token = Token.from_lifetime("t", lifetime=lifetime, now=now, remaining=remaining)
    assert token.advisory_at <= token.mandatory_at <= token.expires_at
    assert token.expires_at <= now + lifetime


def test_lifetime_without_end() -> None:
    """A token without an end is never renewed."""
    assert Token.from_lifetime("t", lifetime=math.inf, now=0.0).advisory_at == math.inf


def test_is_not_shown() -> None:
    """A token's repr has its times and not the token."""
    shown = repr(Token.from_lifetime("hunter2", lifetime=60, now=0.0))
    assert "hunter2" not in shown
    assert "expires_at=60" in shown
