"""What a delivery says, and whether that is worth a poll. Pure; what it says is never taken as the run's state."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from ..model import RunState

_GOES_ON: Final = frozenset({RunState.QUEUED, RunState.RUNNING})


class DeliveryClaim(NamedTuple):
    """What a delivery says of a run.

    `run_id` is empty where only the URL identifies the run. `is_news` is False where the run merely goes on, which
    is not worth a poll. `delivery_id` is the delivery's own id or time, by which repeats are recognized; empty where
    it has none.
    """

    run_id: str
    status: str | None = None
    is_news: bool = True
    delivery_id: str = ""


#: Reads a delivery's JSON; returns None where the JSON cannot be a delivery.
DeliveryReader: TypeAlias = Callable[[Any], DeliveryClaim | None]


def is_news(state: RunState) -> bool:
    """Return whether a delivery with this state is worth a poll: ends, pauses and unknown words are."""
    return state not in _GOES_ON


def read_run(content: Any) -> DeliveryClaim | None:
    """Read a delivery that is the run itself: an object with `id` and, perhaps, `status`. Each one is news."""
    match content:
        case {"id": str() as run_id} if run_id:
            status = content.get("status")
            return DeliveryClaim(run_id, status if isinstance(status, str) else None)
    return None


def run_reader(state_of: Callable[[str], RunState]) -> DeliveryReader:
    """Return a reader as `read_run` that knows the vendor's status words: queued and running are no news."""

    def read(content: Any) -> DeliveryClaim | None:
        claim = read_run(content)
        if claim is None or claim.status is None:
            return claim
        return claim._replace(is_news=is_news(state_of(claim.status)))

    return read
