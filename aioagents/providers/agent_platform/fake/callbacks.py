"""Callbacks: what is POSTed when a run that was started with a callback URL ends. Pure."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from ....codec import decode_json, encode_json
from ....contract.fake import Call, Webhook, WebhookQueue
from .runs import AppRun, RunSerializer, text_of
from .state import ServerState

_NO_RUN = "r-00000000-0000-4000-8000-000000000000"


class Callbacks:
    """The callbacks that are due in the future, in the order in which their runs end."""

    def __init__(self, server: ServerState, serializer: RunSerializer) -> None:
        self._server = server
        self._serializer = serializer
        self.queue = WebhookQueue(server.counts)

    def plan(self, call: Call, run: AppRun) -> None:
        """Plan the callback of a run that `call` starts with a URL."""
        if run.end is not None:
            form = self._server.vary("callback", *self._server.rules.callbacks)
            self.queue.plan(call, run, partial(self._callback, run, form))

    def _callback(self, run: AppRun, form: str, at: float) -> Webhook:
        headers = {"content-type": "application/json"}
        if run.request.callback_token:
            headers["authorization"] = f"Bearer {run.request.callback_token}"
        body = encode_json(self._serializer.callback_body(form, run, at))
        return Webhook(run.request.callback_url or "", body, headers, at, run.id)

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return two forged bodies of this callback: one with another run's id, one with the opposite outcome."""
        other = self.queue.other_run(webhook.run) or _NO_RUN
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
