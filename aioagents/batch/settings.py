"""How a batch goes about its rows. Pure."""

import math
from typing import Any, Final

from attrs import Attribute, field, frozen

from ..transport import RateLimit

#: Rows that may be read and claimed ahead of what is in flight.
AHEAD: Final = 256


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


@frozen(kw_only=True)
class BatchSettings:
    """What a batch may do at most, and what it does about rows whose fate is unknown; see `Batch`."""

    in_flight: int = field(default=1000, validator=_count)
    sending: int = field(default=64, validator=_count)
    starts_per_second: RateLimit | None = field(default=None, converter=_rate)
    on_unknown: str = field(default="report", validator=_choice)
    timeout: float | None = field(default=None, converter=_endless, validator=_seconds_or_none)
    grace: float = field(default=5.0, validator=_seconds)

    @property
    def is_resending(self) -> bool:
        """Return whether rows whose fate is unknown are sent once more."""
        return self.on_unknown == "resend"
