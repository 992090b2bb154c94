"""A bearer token, and the times at which it is to be renewed."""

import re
from collections.abc import Mapping
from typing import Any, Final, Self

from attrs import field, frozen

from .secret import SecretMapping

# Where a vendor does not say how long a token is valid, another one is requested after so many seconds.
DEFAULT_LIFETIME: Final = 300.0
#: Seconds above which no lifetime is taken at its word: a renewal a day costs nothing.
LONGEST_LIFETIME: Final = 86400.0
_NUMBER: Final = re.compile(r"[0-9]{1,300}(\.[0-9]{1,300})?", flags=re.ASCII)
_ADVISORY_SHARE, _ADVISORY_MOST = 0.2, 300.0
_MANDATORY_SHARE, _MANDATORY_MOST = 0.05, 30.0


@frozen(kw_only=True)
class Token:
    """A bearer token. Its times are seconds on the monotonic clock of this process.

    From `advisory_at` on it is renewed in the background while callers go on using it; from `mandatory_at` on,
    callers wait for the new one.
    """

    value: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    lifetime: float
    advisory_at: float
    mandatory_at: float
    expires_at: float

    @classmethod
    def from_lifetime(
        cls, value: str, *, lifetime: float, now: float, remaining: float | None = None
    ) -> Self:
        """Return a token that is valid for `lifetime` seconds, of which `remaining` are left."""
        left = lifetime if remaining is None else min(max(remaining, 0.0), lifetime)
        expires_at = now + left
        return cls(
            value=value,
            headers=SecretMapping({"Authorization": f"Bearer {value}"}),
            lifetime=lifetime,
            advisory_at=expires_at - min(lifetime * _ADVISORY_SHARE, _ADVISORY_MOST),
            mandatory_at=expires_at - min(lifetime * _MANDATORY_SHARE, _MANDATORY_MOST),
            expires_at=expires_at,
        )


def read_lifetime(value: Any) -> float:
    """Return a lifetime in seconds as a server gives it, a number or a text in ASCII digits: at most a day.

    What is missing, or no number above 0, is replaced by a short lifetime.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return DEFAULT_LIFETIME
    return float(min(value, LONGEST_LIFETIME))
