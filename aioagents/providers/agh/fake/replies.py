"""The form of all replies, the time in which they are given, and what is counted. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from ....codec import encode_json
from ....contract.fake import Call, Endpoint, Refused, Route, make_routes
from ....model import Reply
from .courses import Timeline
from .times import SECOND, nanoseconds, write_date

_JSON: Final = "application/json; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"


class Desk:
    """Where calls are answered. `epoch` is the moment of the world's second 0."""

    def __init__(self, epoch: datetime) -> None:
        self._epoch = nanoseconds(epoch.astimezone(UTC))
        self.timeline = Timeline(self._epoch)
        self.counts: Counter[str] = Counter()

    def advance(self, now: float) -> None:
        """Let everything happen that is due by the world's second `now`."""
        self.timeline.advance(self._epoch + round(now * SECOND))

    def seconds(self, moment: int) -> float:
        """Return a moment as the world's second."""
        return (moment - self._epoch) / SECOND

    def due(self, moment: int) -> float:
        """Return the first of the world's seconds at which a moment has come, also where these are coarse."""
        seconds = self.seconds(moment)
        while self._epoch + round(seconds * SECOND) < moment:
            seconds = math.nextafter(seconds, math.inf)
        return seconds

    def reply(self, body: Any, status: int = 200) -> Reply:
        """Return JSON, with the world's date."""
        return Reply(status, self._headers(_JSON), encode_json(body))

    def empty(self) -> Reply:
        """Return the reply that has nothing to tell."""
        return Reply(HTTPStatus.NO_CONTENT, {"date": write_date(self.timeline.now)})

    def text(self, status: int, body: bytes = b"", **headers: str) -> Reply:
        """Return plain text."""
        return Reply(status, self._headers(_TEXT) | headers, body)

    def refusal(self, refused: Refused, now: float) -> Reply:
        """Tell a refusal; a 5xx never says what went wrong."""
        self.advance(now)
        is_masked = refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        text = HTTPStatus(refused.status).phrase if is_masked else str(refused)
        return self.reply({"error": text}, refused.status)

    def routes(self, endpoints: Sequence[Endpoint], guard: Callable[[Call], None]) -> tuple[Route, ...]:
        """Build routes that refuse as this desk does."""
        return make_routes(endpoints, counts=self.counts, refuse=self.refusal, guard=guard)

    def _headers(self, content_type: str) -> dict[str, str]:
        return {"content-type": content_type, "date": write_date(self.timeline.now)}
