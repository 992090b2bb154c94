"""How long a token is taken to be valid: what a server says, within bounds."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.model.token import DEFAULT_LIFETIME, LONGEST_LIFETIME, read_lifetime

_BAD: list[Any] = [None, 0, -1, -math.inf, math.nan, True, "", "soon", "-5", [], {"seconds": 5}]
_BAD += ["1e3", "1_0", "\u0663", " 5", "nan", "0"]
_HUGE: list[Any] = [10**400, math.inf, 9999999999, "9999999999", "9" * 300]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((60, 60.0), (0.5, 0.5), ("3600", 3600.0), ("3600.5", 3600.5)),
        *((value, DEFAULT_LIFETIME) for value in _BAD),
        *((value, LONGEST_LIFETIME) for value in _HUGE),
    ],
)
def test_lifetimes(value: Any, seconds: float) -> None:
    """Numbers above 0 are read, up to a day; anything else is a short lifetime."""
    assert read_lifetime(value) == seconds


@given(st.one_of(st.integers(), st.floats(), st.text(), st.from_regex(r"\A\d+\Z"), st.none()))
def test_no_lifetime_is_out_of_bounds(value: Any) -> None:
    """Whatever a server says, a token is valid for some time, and for a day at most."""
    assert 0 < read_lifetime(value) <= LONGEST_LIFETIME
