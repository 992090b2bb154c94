"""Callbacks: what is POSTed when a run that was started with a callback URL ends. Pure."""

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from ....codec import decode_json, encode_json
from ....contract.fake import Webhook
from .runs import AppRun, RunSerializer, text_of
from .state import ServerState

_NO_RUN = "r-00000000-0000-4000-8000-000000000000"


class Callbacks:
    """The callbacks that are due in the future, in the order in which their runs end."""

    def __init__(self, server: ServerState, serializer: RunSerializer) -> None:
        self._server = server
        self._serializer = serializer
        self._planned: list[tuple[float, int, str, AppRun]] = []
        self._order = count()
        self._last_ids = ("", "")

    def plan(self, run: AppRun) -> None:
        """Plan the callback of a run, which has an end, to the URL that it was started with."""
        form = self._server.vary("callback", *self._server.rules.callbacks)
        heappush(self._planned, (run.ended_at, next(self._order), form, run))
        self._last_ids = (run.id, self._last_ids[0])
        self._server.counts["webhooks_planned"] += 1

    def next_at(self) -> float | None:
        """Return when the next callback is due; None if none is planned."""
        return self._planned[0][0] if self._planned else None

    def take_due(self, now: float) -> Sequence[Webhook]:
        """Remove and return the callbacks that are due by now."""
        due = []
        while self._planned and self._planned[0][0] <= now:
            at, _, form, run = heappop(self._planned)
            headers = {"content-type": "application/json"}
            if run.request.callback_token:
                headers["authorization"] = f"Bearer {run.request.callback_token}"
            body = encode_json(self._serializer.callback_body(form, run, at))
            due.append(Webhook(run.request.callback_url or "", body, headers, at, run.id))
        return due

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return two forged bodies of this callback: one with another run's id, one with the opposite outcome."""
        other = next((known for known in self._last_ids if known not in ("", webhook.run)), _NO_RUN)
        body = decode_json(webhook.body)
        return webhook.body.replace(webhook.run.encode(), other.encode()), encode_json(
            _with_opposite_outcome(body)
        )


def _with_opposite_outcome(body: dict[str, Any]) -> dict[str, Any]:
    if "run" in body:
        return {"run": _with_opposite_outcome(body["run"])}
    if "sessionInfo" in body:
        info = body["sessionInfo"]
        return {**body, "sessionInfo": {**info, "status": "error" if info["status"] == "idle" else "idle"}}
    forged = {**body, "status": "failed" if body["status"] == "success" else "success"}
    return {**forged, "kwargs": {"output": [text_of("A lie.")]}} if "kwargs" in body else forged
