"""A bearer token and the moments at which it is to be renewed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

from attrs import field, frozen

# The vendor decides how long a token lives; where it does not say, we ask again after this many seconds.
DEFAULT_LIFETIME: Final = 300.0
_ADVISORY_SHARE, _ADVISORY_MOST = 0.2, 300.0
_MANDATORY_SHARE, _MANDATORY_MOST = 0.05, 30.0


@frozen(kw_only=True)
class Token:
    """A bearer token. Moments are seconds on the monotonic clock of the process that holds it.

    From `advisory_at` on it is renewed in the background while callers keep using it; from `mandatory_at`
    on callers wait for the new one.
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
        """Reckon the moments of a token that lives `lifetime` seconds and has `remaining` of them left."""
        left = lifetime if remaining is None else min(max(remaining, 0.0), lifetime)
        expires_at = now + left
        return cls(
            value=value,
            headers=MappingProxyType({"Authorization": f"Bearer {value}"}),
            lifetime=lifetime,
            advisory_at=expires_at - min(lifetime * _ADVISORY_SHARE, _ADVISORY_MOST),
            mandatory_at=expires_at - min(lifetime * _MANDATORY_SHARE, _MANDATORY_MOST),
            expires_at=expires_at,
        )
