"""State that all handlers of the fake server share: its events, counters, and the form of its replies. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from ....codec import encode_json
from ....contract.fake import Call, Endpoint, Refused, Route, make_routes
from ....model import Reply
from .event_queue import EventQueue
from .times import SECOND, nanoseconds, write_date

_JSON: Final = "application/json; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"


class ServerState:
    """The events and counters of one fake server, and the form of its replies. `epoch` is the date of second 0."""

    def __init__(self, epoch: datetime, counts: Counter[str]) -> None:
        self._epoch = nanoseconds(epoch.astimezone(UTC))
        self.events = EventQueue(self._epoch)
        self.counts = counts

    def advance(self, now: float) -> None:
        """Advance to the server's second `now`: all events that are due by then happen."""
        self.events.advance(self._epoch + round(now * SECOND))

    def seconds(self, moment: int) -> float:
        """Return a moment as the server's second."""
        return (moment - self._epoch) / SECOND

    def due(self, moment: int) -> float:
        """Return the first float, in the server's seconds, at which `advance` reaches a moment."""
        seconds = self.seconds(moment)
        while self._epoch + round(seconds * SECOND) < moment:
            seconds = math.nextafter(seconds, math.inf)
        return seconds

    def reply(self, body: Any, status: int = 200) -> Reply:
        """Return a JSON reply, with the server's date."""
        return Reply(status, self._headers(_JSON), encode_json(body))

    def empty(self) -> Reply:
        """Return a reply without content."""
        return Reply(HTTPStatus.NO_CONTENT, {"date": write_date(self.events.now)})

    def text(self, status: int, body: bytes = b"", **headers: str) -> Reply:
        """Return a reply with plain text."""
        return Reply(status, self._headers(_TEXT) | headers, body)

    def refusal(self, refused: Refused, now: float) -> Reply:
        """Return the reply to a refused call; a 5xx never says what went wrong."""
        self.advance(now)
        is_masked = refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        text = HTTPStatus(refused.status).phrase if is_masked else str(refused)
        return self.reply({"error": text}, refused.status)

    def routes(self, endpoints: Iterable[Endpoint], guard: Callable[[Call], None]) -> tuple[Route, ...]:
        """Build routes whose refusals have the form of `refusal`."""
        return make_routes(endpoints, counts=self.counts, refuse=self.refusal, guard=guard)

    def _headers(self, content_type: str) -> dict[str, str]:
        return {"content-type": content_type, "date": write_date(self.events.now)}
