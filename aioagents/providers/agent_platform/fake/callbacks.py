"""What the platform POSTs when runs with a callback end: in which form, when, and what would be lies. Pure."""

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from ....codec import decode_json, encode_json
from ....contract.fake import Webhook
from .desk import Desk
from .runs import AppRun, Dispatcher, text_of

_NO_RUN = "r-00000000-0000-4000-8000-000000000000"


class Callbacks:
    """What is to be announced, in the order of the runs' ends."""

    def __init__(self, desk: Desk, teller: Dispatcher) -> None:
        self._desk = desk
        self._teller = teller
        self._planned: list[tuple[float, int, str, AppRun]] = []
        self._order = count()
        self._last_ids = ("", "")

    def plan(self, run: AppRun) -> None:
        """Announce the end of a run, which has one, to the URL that it was begun with."""
        form = self._desk.turn("callback", *self._desk.rules.callbacks)
        heappush(self._planned, (run.ended_at, next(self._order), form, run))
        self._last_ids = (run.id, self._last_ids[0])
        self._desk.counts["webhooks_planned"] += 1

    def next_at(self) -> float | None:
        """Return when the next announcement is due; None when none is planned."""
        return self._planned[0][0] if self._planned else None

    def take(self, now: float) -> Sequence[Webhook]:
        """Return what is due by now, each once."""
        due = []
        while self._planned and self._planned[0][0] <= now:
            at, _, form, run = heappop(self._planned)
            headers = {"content-type": "application/json"}
            if run.order.callback_token:
                headers["authorization"] = f"Bearer {run.order.callback_token}"
            body = encode_json(self._teller.registration(form, run, at))
            due.append(Webhook(run.order.callback_url or "", body, headers, at, run.id))
        return due

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return the same announcement with another run's id, and with an end that is not how it ended."""
        other = next((known for known in self._last_ids if known not in ("", webhook.run)), _NO_RUN)
        body = decode_json(webhook.body)
        return webhook.body.replace(webhook.run.encode(), other.encode()), encode_json(_untrue(body))


def _untrue(body: dict[str, Any]) -> dict[str, Any]:
    if "run" in body:
        return {"run": _untrue(body["run"])}
    if "sessionInfo" in body:
        info = body["sessionInfo"]
        return {**body, "sessionInfo": {**info, "status": "error" if info["status"] == "idle" else "idle"}}
    told = {**body, "status": "failed" if body["status"] == "success" else "success"}
    return {**told, "kwargs": {"output": [text_of("A lie.")]}} if "kwargs" in body else told
