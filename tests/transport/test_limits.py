"""Settings for connections, quotas and timeouts: what is accepted, and what it means."""

import math
from typing import Any

import pytest

from aioagents.transport import PoolLimits, RateLimit, Timeouts


@pytest.mark.parametrize("wrong", [0, -1, math.nan, True, "3", None])
def test_rates_are_above_zero(wrong: Any) -> None:
    """A rate that sends nothing is refused at once."""
    with pytest.raises(ValueError, match="requests has to be a number above 0"):
        RateLimit(wrong)
    with pytest.raises(ValueError, match="seconds has to be a number above 0"):
        RateLimit(1, wrong)


def test_rates_are_numbers_or_values() -> None:
    """A plain number stands for so many requests a second, None for no bound."""
    assert PoolLimits(requests_per_second=3).requests_per_second == RateLimit(3, 1)
    assert PoolLimits(polls_per_second=RateLimit(60, 60)).polls_per_second == RateLimit(60, 60)
    assert PoolLimits().requests_per_second is None
    assert RateLimit(90, 60).per_second == 1.5
    with pytest.raises(ValueError, match="requests"):
        PoolLimits(requests_per_second=0)


@pytest.mark.parametrize("name", ["requests_at_once", "per_host", "long_at_once", "pollers", "reply_bytes"])
@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, None, "3"])
def test_counts_are_whole_numbers(name: str, wrong: Any) -> None:
    """A limit that is not a whole number above 0 is refused by name."""
    with pytest.raises(ValueError, match=f"{name} has to be a whole number above 0"):
        PoolLimits(**{name: wrong})


@pytest.mark.parametrize("name", ["connect", "read", "start", "token", "close", "keep_alive"])
@pytest.mark.parametrize("wrong", [0, -1, math.nan, True, "3"])
def test_timeouts_are_above_zero(name: str, wrong: Any) -> None:
    """A timeout that would end at once is refused by name."""
    with pytest.raises(ValueError, match=f"{name} has to be a number above 0"):
        Timeouts(**{name: wrong})


@pytest.mark.parametrize("name", ["close", "keep_alive"])
@pytest.mark.parametrize("wrong", [math.inf, None])
def test_closing_and_keeping_have_an_end(name: str, wrong: Any) -> None:
    """The timeouts that have to end cannot be endless."""
    with pytest.raises(ValueError, match=f"{name} has to be a number above 0"):
        Timeouts(**{name: wrong})


def test_no_end_is_none() -> None:
    """None and infinity both mean without end."""
    endless = Timeouts(connect=math.inf, read=math.inf, start=None, token=math.inf)
    assert endless == Timeouts(connect=None, read=None, start=None, token=None)
    assert Timeouts(connect=2).total(3) == 5
    assert Timeouts(connect=2).total(None) is None
    assert endless.total(3) is None
