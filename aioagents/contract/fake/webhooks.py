"""The webhooks of a fake server's runs, by the moments at which they are due. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count

from .routes import Call
from .server import Webhook
from .timelines import FakeRun


class WebhookQueue:
    """One webhook for the end of each run that was started with a URL, counted as `webhooks_planned`."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._planned: list[tuple[float, int, Callable[[float], Webhook]]] = []
        self._order = count()
        self._last_ids = ("", "")

    def plan(self, call: Call, run: FakeRun, build: Callable[[float], Webhook]) -> None:
        """Plan the webhook of a run that `call` starts; `build(at)` makes it when it is due.

        The run ends at its start if the call says so. Does nothing for a run that never ends.
        """
        if run.end is None:
            return
        if call.should_end_at_start is not None and call.should_end_at_start(run.id):
            run.end_at_start()
        heappush(self._planned, (run.end[0], next(self._order), build))
        self._last_ids = (run.id, self._last_ids[0])
        self._counts["webhooks_planned"] += 1

    def next_at(self) -> float | None:
        """Return when the next webhook is due; None if none is planned."""
        return self._planned[0][0] if self._planned else None

    def take_due(self, now: float) -> Sequence[Webhook]:
        """Remove and return the webhooks that are due by now, in the order of the runs' ends."""
        due = []
        while self._planned and self._planned[0][0] <= now:
            at, _, build = heappop(self._planned)
            due.append(build(at))
        return due

    def other_run(self, run_id: str) -> str | None:
        """Return the id of another run with a webhook, for a body that is false; None if there is no other."""
        return next((known for known in self._last_ids if known not in ("", run_id)), None)
