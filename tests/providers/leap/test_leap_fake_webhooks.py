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
    true_body: dict[str, Any] = decode_json(reply.body)
    return true_body


def _start(
    fake: FakeLeap,
    workflow: str = "completed",
    *,
    now: float = 0.0,
    hook: str | None = _HOOK,
    should_end_at_start: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    body = {"workflow_id": workflow} if hook is None else {"workflow_id": workflow, "webhook_url": hook}
    return _ask(fake, "runs.run", now, body=body, should_end_at_start=should_end_at_start)


def _poll(fake: FakeLeap, run: dict[str, Any], now: float) -> dict[str, Any]:
    return _ask(fake, "runs.get", now, path={"workflow_run_id": run["id"]})


def test_fake_server_sends_webhooks() -> None:
    """A fake server that sends webhooks is recognized by its methods; others have none of them."""
    assert isinstance(_fake(), SendsWebhooks)
    assert not isinstance(FakeLeena(), SendsWebhooks)


def test_webhook_is_due_once_at_the_end() -> None:
    """A webhook is due at the run's end, not before, is returned once, and its body equals a poll's."""
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
    ("workflow", "webhook_ends", "planned"),
    [
        ("completed", {"completed", "failed"}, True),
        ("failed", {"completed", "failed"}, True),
        ("cancelled", {"completed", "failed"}, False),
        ("cancelled", {"cancelled"}, True),
        ("endless", {"completed", "failed", "cancelled"}, False),
    ],
)
def test_ends_with_webhooks_can_be_chosen(workflow: str, webhook_ends: set[str], planned: bool) -> None:
    """Webhooks are sent for completed and failed runs, for cancelled ones if so chosen, for endless ones never."""
    fake = _fake(rules=LeapRules(webhook_ends=frozenset(webhook_ends)))
    _start(fake, workflow)
    assert [decode_json(each.body)["status"] for each in fake.take_webhooks(1e9)] == [workflow] * planned


@pytest.mark.parametrize("hook", [None, ""])
def test_no_webhook_without_a_url(hook: str | None) -> None:
    """A run without a webhook URL, or with an empty one, has no webhook."""
    fake = _fake()
    _start(fake, hook=hook)
    assert fake.next_webhook_at() is None


def test_webhooks_come_in_the_order_of_the_ends() -> None:
    """Webhooks that are taken together come in the order of the ends."""
    fake = FakeLeap(RunPlan(outcomes={"completed": 1.0}))
    runs = [_start(fake, "drawn") for _ in range(50)]
    taken = fake.take_webhooks(1e6)
    assert {webhook.run for webhook in taken} == {run["id"] for run in runs}
    assert [webhook.at for webhook in taken] == sorted(webhook.at for webhook in taken)
    assert all(webhook.at == fake.ended_at(webhook.run) for webhook in taken)


def test_webhook_has_the_dialect_of_the_start() -> None:
    """The webhook of a run in the first dialect has camel case, that of a bulk run the bulk run's members."""
    fake = _fake()
    _ask(fake, "workflows.run", 0.0, body={"workflowId": "completed", "webhookUrl": _HOOK})
    csv = {"workflow_id": "completed", "webhook_url": _HOOK, "input_csv_url": "https://files.example.com/x"}
    _ask(fake, "bulk.run", 0.0, body=csv)
    first, second = (decode_json(each.body) for each in fake.take_webhooks(5.0))
    assert {"workflowId", "versionId"} <= set(first)
    assert {"workflow_id", "version_id", "row_count", "output_csv_url"} <= set(second)


def test_a_run_may_end_at_its_start() -> None:
    """Where the caller says so, a run has ended at its start; the reply to the start does not show it."""
    fake, called_with = _fake(), list[str]()

    def should_end_at_start(run: str) -> bool:
        called_with.append(run)
        return True

    run = _start(fake, now=3.0, should_end_at_start=should_end_at_start)
    assert (called_with, run["status"], run["started_at"]) == ([run["id"]], "running", run["created_at"])
    assert fake.next_webhook_at() == fake.ended_at(run["id"]) == 3.0
    assert _poll(fake, run, 3.0)["status"] == "completed"
    (webhook,) = fake.take_webhooks(3.0)
    assert decode_json(webhook.body) == _poll(fake, run, 9.0)


def test_only_runs_with_a_webhook_may_end_at_their_start() -> None:
    """`should_end_at_start` is not called for runs without a webhook."""

    def should_end_at_start(run: str) -> bool:
        raise AssertionError(run)

    fake = _fake()
    _start(fake, hook=None, should_end_at_start=should_end_at_start)
    _start(fake, "cancelled", should_end_at_start=should_end_at_start)
    _start(fake, "endless", should_end_at_start=should_end_at_start)
    kept = _start(fake, should_end_at_start=lambda run: False)
    assert fake.ended_at(kept["id"]) == 5.0


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_false_bodies_differ_in_one_thing(end: str) -> None:
    """A false body has the id of another run, known or made up, or a final status that the run has not."""
    fake = _fake()
    run = _start(fake, end)
    (webhook,) = fake.take_webhooks(5.0)
    true_body = decode_json(webhook.body)
    for _ in range(2):
        other, untrue = (decode_json(each) for each in fake.false_bodies(webhook))
        assert {**other, "id": true_body["id"]} == true_body
        assert other["id"] != run["id"]
        assert untrue["id"] == run["id"]
        assert untrue["status"] == {"completed": "failed", "failed": "completed"}[end]
        second = _start(fake)
    assert other["id"] == fake.take_webhooks(5.0)[0].run != second["id"]


def test_webhook_shows_neither_url_nor_body() -> None:
    """The repr of a webhook has no secret and no personal data."""
    assert "secret" not in repr(Webhook("http://127.0.0.1/secret", b"secret", {}, 1.0, "rnp_x"))
