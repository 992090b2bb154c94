"""The settings of a batch. Pure."""

import math
from typing import Any, Final

from attrs import Attribute, field, frozen

from ..transport import RateLimit


def _count(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} has to be a whole number above 0, not {value!r}")


def _seconds(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{attribute.name} has to be 0 or more seconds, not {value!r}")


def _endless(value: float | None) -> float | None:
    return None if value == math.inf else value


def _seconds_or_none(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if value is not None:
        _seconds(_, attribute, value)


def _choice(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if value not in ("report", "resend"):
        raise ValueError(f"{attribute.name} has to be 'report' or 'resend', not {value!r}")


def _rate(value: "float | RateLimit | None") -> "RateLimit | None":
    return value if value is None or isinstance(value, RateLimit) else RateLimit(value)


#: Seconds for the journal's last answer, when nothing else is waited for.
LAST_RECORD: Final = 0.5


@frozen(kw_only=True)
class BatchSettings:
    """What a batch may do at most, and what it does about rows whose outcome is unknown; see `Batch`.

    At most `ahead` rows are read and claimed ahead of what is started. After `outage` failures in a row, rows are
    tried one at a time, until one is started.
    """

    in_flight: int = field(default=1000, validator=_count)
    sending: int = field(default=64, validator=_count)
    starts_per_second: RateLimit | None = field(default=None, converter=_rate)
    on_unknown: str = field(default="report", validator=_choice)
    timeout: float | None = field(default=None, converter=_endless, validator=_seconds_or_none)
    grace: float = field(default=5.0, validator=_seconds)
    ahead: int = field(default=256, validator=_count)
    outage: int = field(default=8, validator=_count)

    @property
    def chunk(self) -> int:
        """Return how many rows are claimed at a time, at most. So many are gone when reading goes on."""
        return max(self.ahead // 2, 1)

    @property
    def is_resending(self) -> bool:
        """Return whether rows whose outcome is unknown are sent once more."""
        return self.on_unknown == "resend"
