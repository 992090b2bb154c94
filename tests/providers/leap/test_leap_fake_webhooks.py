"""What the Leap fake announces, when, and in which words."""

from collections.abc import Callable
from typing import Any

import pytest

from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import Call, Route, RunPlan, SendsWebhooks, Step, Webhook
from aioagents.model import Reply, Request
from aioagents.providers.leap.fake import FakeLeap, LeapRules
from aioagents.providers.leena.fake import FakeLeena

_HOOK = "http://127.0.0.1:9/hook/secret"
_ENDING = {end: [Step("running", 5), Step(end)] for end in ("completed", "failed", "cancelled")}


def _fake(**more: Any) -> FakeLeap:
    return FakeLeap(RunPlan(scripts={**_ENDING, "endless": [Step("running")]}), **more)


def _ask(fake: FakeLeap, name: str, now: float, **more: Any) -> dict[str, Any]:
    route: Route = next(route for route in fake.routes if route.call == name)
    headers = {"x-api-key": "demo-key", "content-type": "application/json"}
    path, body = more.get("path", {}), more.get("body")
    request = Request(
        method=route.method,
        url="",
        call=name,
        headers=headers,
        body=None if body is None else encode_json(body),
    )
    reply = route.handler(
        Call(
            request=request, path=path, query={}, now=now, should_end_at_start=more.get("should_end_at_start")
        )
    )
    assert isinstance(reply, Reply)
    assert reply.status == 200
    told: dict[str, Any] = decode_json(reply.body)
    return told


def _start(
    fake: FakeLeap,
    workflow: str = "completed",
    *,
    now: float = 0.0,
    hook: str | None = _HOOK,
    hastens: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    body = {"workflow_id": workflow} if hook is None else {"workflow_id": workflow, "webhook_url": hook}
    return _ask(fake, "runs.run", now, body=body, should_end_at_start=hastens)


def _poll(fake: FakeLeap, run: dict[str, Any], now: float) -> dict[str, Any]:
    return _ask(fake, "runs.get", now, path={"workflow_run_id": run["id"]})


def test_worlds_with_webhooks_are_announcers() -> None:
    """A world that sends webhooks is known by its methods; one that sends none needs nothing."""
    assert isinstance(_fake(), SendsWebhooks)
    assert not isinstance(FakeLeena(), SendsWebhooks)


def test_end_is_announced_once_and_on_time() -> None:
    """A webhook is due at the run's end, not before, is given once, and tells what a poll tells."""
    fake = _fake()
    assert fake.next_webhook_at() is None
    run = _start(fake, now=1.0)
    assert fake.next_webhook_at() == 6.0
    assert fake.take_webhooks(5.9) == []
    (webhook,) = fake.take_webhooks(7.0)
    assert (webhook.url, webhook.at, webhook.run) == (_HOOK, 6.0, run["id"])
    assert webhook.headers == {"content-type": "application/json"}
    assert decode_json(webhook.body) == _poll(fake, run, 6.0)
    assert fake.take_webhooks(99.0) == []
    assert fake.next_webhook_at() is None
    assert fake.statistics()["webhooks_planned"] == 1


@pytest.mark.parametrize(
    ("workflow", "announced", "planned"),
    [
        ("completed", {"completed", "failed"}, True),
        ("failed", {"completed", "failed"}, True),
        ("cancelled", {"completed", "failed"}, False),
        ("cancelled", {"cancelled"}, True),
        ("endless", {"completed", "failed", "cancelled"}, False),
    ],
)
def test_announced_ends_can_be_chosen(workflow: str, announced: set[str], planned: bool) -> None:
    """Completed and failed runs are announced, cancelled ones if so chosen, endless ones never."""
    fake = _fake(rules=LeapRules(announced=frozenset(announced)))
    _start(fake, workflow)
    assert [decode_json(each.body)["status"] for each in fake.take_webhooks(1e9)] == [workflow] * planned


@pytest.mark.parametrize("hook", [None, ""])
def test_without_url_nothing_is_announced(hook: str | None) -> None:
    """A run without a webhook URL, or with an empty one, is not announced."""
    fake = _fake()
    _start(fake, hook=hook)
    assert fake.next_webhook_at() is None


def test_announcements_come_in_the_order_of_the_ends() -> None:
    """What fell due together is given in the order of the ends."""
    fake = FakeLeap(RunPlan(outcomes={"completed": 1.0}))
    runs = [_start(fake, "drawn") for _ in range(50)]
    taken = fake.take_webhooks(1e6)
    assert {webhook.run for webhook in taken} == {run["id"] for run in runs}
    assert [webhook.at for webhook in taken] == sorted(webhook.at for webhook in taken)
    assert all(webhook.at == fake.ended_at(webhook.run) for webhook in taken)


def test_announcement_has_the_dialect_of_the_start() -> None:
    """A run of the first dialect is announced in camel case, a bulk run as the bulk run it is."""
    fake = _fake()
    _ask(fake, "workflows.run", 0.0, body={"workflowId": "completed", "webhookUrl": _HOOK})
    csv = {"workflow_id": "completed", "webhook_url": _HOOK, "input_csv_url": "https://files.example.com/x"}
    _ask(fake, "bulk.run", 0.0, body=csv)
    first, second = (decode_json(each.body) for each in fake.take_webhooks(5.0))
    assert {"workflowId", "versionId"} <= set(first)
    assert {"workflow_id", "version_id", "row_count", "output_csv_url"} <= set(second)


def test_hastened_run_is_over_at_once() -> None:
    """Where the caller says so, a run is over from its start on; the reply still tells of its start."""
    fake, asked = _fake(), list[str]()

    def hastens(run: str) -> bool:
        asked.append(run)
        return True

    run = _start(fake, now=3.0, hastens=hastens)
    assert (asked, run["status"], run["started_at"]) == ([run["id"]], "running", run["created_at"])
    assert fake.next_webhook_at() == fake.ended_at(run["id"]) == 3.0
    assert _poll(fake, run, 3.0)["status"] == "completed"
    (webhook,) = fake.take_webhooks(3.0)
    assert decode_json(webhook.body) == _poll(fake, run, 9.0)


def test_only_announced_runs_are_asked_about() -> None:
    """Nobody is asked whether a run is to be hastened that is not going to be announced."""

    def hastens(run: str) -> bool:
        raise AssertionError(run)

    fake = _fake()
    _start(fake, hook=None, hastens=hastens)
    _start(fake, "cancelled", hastens=hastens)
    _start(fake, "endless", hastens=hastens)
    kept = _start(fake, hastens=lambda run: False)
    assert fake.ended_at(kept["id"]) == 5.0


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_lies_differ_in_one_thing(end: str) -> None:
    """A lie has the id of another run, known or made up, or an end that is not how the run ended."""
    fake = _fake()
    run = _start(fake, end)
    (webhook,) = fake.take_webhooks(5.0)
    told = decode_json(webhook.body)
    for _ in range(2):
        other, untrue = (decode_json(lie) for lie in fake.false_bodies(webhook))
        assert {**other, "id": told["id"]} == told
        assert other["id"] != run["id"]
        assert untrue["id"] == run["id"]
        assert untrue["status"] == {"completed": "failed", "failed": "completed"}[end]
        second = _start(fake)
    assert other["id"] == fake.take_webhooks(5.0)[0].run != second["id"]


def test_webhook_shows_neither_url_nor_body() -> None:
    """The repr of a webhook has no secret and no personal data."""
    assert "secret" not in repr(Webhook("http://127.0.0.1/secret", b"secret", {}, 1.0, "rnp_x"))
