"""Deliveries to the fake AGH Runtime: authentication, the order of checks, and the runs of deliveries."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aioagents.codec import encode_json
from aioagents.contract.fake import RunPlan, Step
from aioagents.model import Reply
from aioagents.providers.agh.fake import AghRules, FakeAgh, sign
from aioagents.providers.agh.fake.deliveries import Delivery
from aioagents.providers.agh.fake.times import read_moment
from tests.providers.agh.agh_fake_rig import (
    BACKOFF,
    EPOCH,
    HOOK,
    SECOND,
    SECRET,
    TRIGGERS,
    Client,
    body_of,
    delayed,
    endpoint,
    error_of,
    final,
    run_id_of,
    scripted,
    settled,
)

_STAMP, _SIGNATURE, _ID = (f"x-agh-webhook-{name}" for name in ("timestamp", "signature", "delivery-id"))
_BODY = b'{"action":"deploy","branch":"main","build":42}'


def _done() -> Client:
    return scripted(Step("completed"), name="review")


def _status(reply: Any) -> int:
    assert isinstance(reply, Reply)
    return reply.status


# Signatures and ids


_PLAIN = "089c468014388124d8aa1055513ab91e89ec5f2575e3ddf26e45e961563ac8b6"
_EMPTY = "1cd4b899045f0ae2af2576b706c52fcf566859001cf1a1275e06277c69ddf7d7"
_ACCENTS = "0574af4791bbe5222a9fe85de644cfda8845dfca2b2576a63a34716489ed1252"
_SPACES = "a1cba65251ce61c27a2cef7068bb6d11a9aec25e0f54cd41e2112a97e1a48d13"


@pytest.mark.parametrize(
    ("secret", "stamp", "body", "value"),
    [
        (SECRET, "1767225600", _BODY, _PLAIN),
        (f"  {SECRET}\n", "2026-01-01T00:00:00Z", _BODY, _PLAIN),
        (SECRET, "2026-01-01T01:00:00.75+01:00", _BODY, _PLAIN),
        (SECRET, "1767225600", b"", _EMPTY),
        (SECRET, "1767225600", '{"note":"caf\u00e9 \u2713"}'.encode(), _ACCENTS),
        (SECRET, "1767225600", b'{ "action": "deploy" }\n', _SPACES),
    ],
)
def test_signatures(secret: str, stamp: str, body: bytes, value: str) -> None:
    """The seconds of the timestamp and the exact bytes of the body are signed, with the secret stripped."""
    moment = read_moment(stamp)
    at = int(stamp) * SECOND if moment is None else moment
    assert sign(secret, at, body) == f"sha256={value}"
    fake = FakeAgh(RunPlan(epoch=datetime(2026, 1, 1, tzinfo=UTC), scripts={"review": [Step("completed")]}))
    client = Client(fake)
    trigger = client.trigger(webhook_secret_value=secret)
    for delivery, given in (("lower", value), ("upper", value.upper())):
        headers = {_SIGNATURE: f"  sha256={given} "}
        reply = client.deliver(trigger, body, stamp=stamp, headers=headers, delivery=delivery)
        assert _status(reply) == 200


def test_ids_follow_from_trigger_and_delivery() -> None:
    """Run and fire ids are those of the facts' example."""
    fake = FakeAgh(RunPlan(scripts={"review": [Step("completed")]}))
    trigger_id = fake.install_trigger(HOOK, trigger_id="trg-0011223344556677")
    client = Client(fake)
    trigger = client.get(f"{TRIGGERS}/{trigger_id}")["trigger"]
    body = body_of(client.deliver(trigger, delivery="  order-1001 "))
    (run,) = body["result"]["runs"]
    assert run["id"] == "run_wbh_a5293902177aecadb3c43d92"
    assert run["fire_id"] == "webhook:a5293902177aecadb3c43d92814954f42d28d4e62fa591f7235cf634b6fe52b8"
    assert run["trigger_id"] == trigger_id
    assert "job_id" not in run
    assert client.run(run["id"]) == run
    assert run["id"] == run_id_of(trigger, "order-1001")


# Who is let in


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({}, 200, ""),
        ({"path": "/api/webhooks/global/deploy"}, 400, "endpoint"),
        ({"path": "/api/webhooks/global/deploy--hook"}, 400, "endpoint"),
        ({"path": "/api/webhooks/global/--wbh_1"}, 400, "endpoint"),
        ({"path": "/api/webhooks/global/deploy--"}, 400, "endpoint"),
        ({"path": "/api/webhooks/global/%20--wbh_1"}, 400, "endpoint"),
        ({"path": "/api/webhooks/global/deploy-wbh_1"}, 400, "endpoint"),
        ({"headers": {_STAMP: ""}}, 400, "timestamp"),
        ({"headers": {_STAMP: " "}}, 400, "timestamp"),
        ({"headers": {_STAMP: "now"}}, 400, "timestamp"),
        ({"headers": {_STAMP: "1767603600.5"}}, 400, "timestamp"),
        ({"headers": {_STAMP: "2026-01-05T09:00:00"}}, 400, "timestamp"),
        ({"headers": {_SIGNATURE: ""}}, 400, "signature"),
        ({"headers": {_ID: ""}}, 400, "delivery id"),
        ({"headers": {_ID: "  "}}, 400, "delivery id"),
        ({"body": b" " * 1_048_577}, 413, "large"),
        ({"body": b" " * 1_048_576}, 200, ""),
        ({"path": "/api/webhooks/global/other--wbh_1"}, 404, "enabled trigger"),
        ({"path": "/api/webhooks/global/deploy--wbh_2"}, 404, "enabled trigger"),
        ({"path": "/api/webhooks/workspaces/ws-1/deploy--wbh_1"}, 404, "enabled trigger"),
        ({"headers": {_STAMP: str(EPOCH - 301)}}, 401, "freshness"),
        ({"headers": {_SIGNATURE: "sha256=" + "0" * 64}}, 401, "signature"),
        ({"headers": {_SIGNATURE: "sha1=" + "0" * 64}}, 401, "signature"),
        ({"headers": {_SIGNATURE: "SHA256=" + "0" * 64}}, 401, "signature"),
        ({"headers": {_SIGNATURE: "sha256=" + "0" * 63}}, 401, "signature"),
        ({"headers": {_SIGNATURE: "sha256=" + "z" * 64}}, 401, "signature"),
        ({"headers": {_STAMP: str(EPOCH + 1)}}, 401, "signature"),
    ],
)
def test_statuses_of_deliveries(change: dict[str, Any], status: int, text: str) -> None:
    """Each thing that may be wrong with a delivery has its status; a delivery that is refused leaves no run."""
    client = _done()
    trigger = client.trigger(webhook_id="wbh_1")
    reply = client.deliver(trigger, **change)
    assert _status(reply) == status
    assert len(client.runs(trigger["id"])) == (status == 200)
    if status != 200:
        assert text in error_of(reply)
    assert client.fake.statistics()["deliveries"] == (status == 200)


def test_checks_come_in_order() -> None:
    """Of all that is wrong, the first in the server's order decides; with the first corrected, the next one does."""
    rules = AghRules(concurrency=1)
    client = scripted(Step("running", 1000), Step("completed"), name="blocker", rules=rules)
    trigger = client.trigger(webhook_id="wbh_1", fire_limit={"max": 1, "window": "1h"})
    client.fake.lose_secret(trigger["id"])
    client.fire(client.job(name="blocker")["id"])
    sent: dict[str, Any] = {
        "path": "/api/webhooks/global/other-wbh_1",
        "body": b" " * 1_048_577,
        "headers": {_STAMP: "", _SIGNATURE: "", _ID: ""},
    }
    mends: list[tuple[int, dict[str, Any], dict[str, str]]] = [
        (400, {"path": "/api/webhooks/global/other--wbh_1"}, {}),
        (400, {}, {_STAMP: str(EPOCH - 301)}),
        (400, {}, {_SIGNATURE: "sha256=0"}),
        (400, {}, {_ID: "d-2"}),
        (413, {"body": b"{}"}, {}),
        (404, {"path": "/api/webhooks/global/deploy--wbh_1"}, {}),
        (401, {}, {_STAMP: str(EPOCH)}),
        (400, {}, {}),
    ]
    for status, change, headers in mends:
        reply = client.deliver(trigger, **sent)
        assert _status(reply) == status, (change, headers, reply)
        sent |= change
        sent["headers"] |= headers
    assert "secret" in error_of(reply)
    client.json("PATCH", f"{TRIGGERS}/{trigger['id']}", {"webhook_secret_value": SECRET})
    assert _status(client.deliver(trigger, **sent)) == 401
    sent["headers"][_SIGNATURE] = sign(SECRET, EPOCH * SECOND, b"{}")
    reply = client.deliver(trigger, **sent)
    assert _status(reply) == 409
    assert "concurrency limit" in error_of(reply)


def test_automation_and_engine_may_be_off() -> None:
    """With automation off nothing else is checked; with only the engine off, the request's form is."""
    off = Client(FakeAgh(rules=AghRules(is_enabled=False)))
    bad = "/api/webhooks/global/deploy"
    reply = off.deliver({}, path=bad)
    assert (_status(reply), error_of(reply)) == (503, "Service Unavailable")
    stopped = Client(FakeAgh(rules=AghRules(has_engine=False)))
    trigger = stopped.trigger()
    assert _status(stopped.deliver(trigger, path=bad)) == 400
    assert _status(stopped.deliver(trigger)) == 503
    assert stopped.status("GET", TRIGGERS) == 200


def test_disabled_and_other_triggers_do_not_answer() -> None:
    """Only an enabled webhook trigger with a slug answers; a workspace's only at its own endpoint."""
    client = _done()
    trigger = client.trigger()
    path = f"{TRIGGERS}/{trigger['id']}"
    client.json("PATCH", path, {"enabled": False})
    assert _status(client.deliver(trigger)) == 404
    client.json("PATCH", path, {"enabled": True, "endpoint_slug": ""})
    assert _status(client.deliver(trigger)) == 404
    client.json("PATCH", path, {"event": "session.created"})
    assert _status(client.deliver(trigger)) == 404
    local = client.trigger(scope="workspace", workspace_id="ws-1", endpoint_slug="a/b--c d")
    assert endpoint(local).startswith("/api/webhooks/workspaces/ws-1/a%2Fb--c%20d--wbh_")
    assert _status(client.deliver(local)) == 200
    assert _status(client.deliver(local, path=endpoint({**local, "workspace_id": "ws-2"}))) == 404
    assert _status(client.deliver(local, path=endpoint({**local, "scope": "global"}))) == 404


def test_a_secret_is_changed_at_once() -> None:
    """After a rotation the new secret is valid, and the old one no longer."""
    client = _done()
    trigger = client.trigger()
    client.json("PATCH", f"{TRIGGERS}/{trigger['id']}", {"webhook_secret_value": "  new\n"})
    new = {_SIGNATURE: sign("new", EPOCH * SECOND, b"{}")}
    assert _status(client.deliver(trigger)) == 401
    assert _status(client.deliver(trigger, headers=new)) == 200


# Freshness and replay


@pytest.mark.parametrize(
    ("stamp", "status"),
    [
        ("2026-01-05T09:05:00Z", 200),
        ("2026-01-05T09:15:00Z", 200),
        ("2026-01-05T09:04:59.999999999Z", 401),
        ("2026-01-05T09:15:00.000000001Z", 401),
        ("2026-01-05T11:05:00+02:00", 200),
        (str(EPOCH + 300), 200),
        (str(EPOCH + 299), 401),
        (f"+{EPOCH + 600}", 200),
        ("0", 401),
        ("-1", 401),
    ],
)
def test_freshness_is_inclusive(stamp: str, status: int) -> None:
    """Five minutes either way are fresh, to the nanosecond."""
    client = _done()
    trigger = client.trigger()
    moment = read_moment(stamp)
    at = int(stamp) * SECOND if moment is None else moment
    headers = {_SIGNATURE: sign(SECRET, at, b"{}")}
    assert _status(client.deliver(trigger, now=600.0, stamp=stamp, headers=headers)) == status


@pytest.mark.parametrize(("off", "status"), [(0, 200), (300, 200), (-300, 200), (301, 401), (-301, 401)])
def test_freshness_by_the_clock_of_the_caller(off: int, status: int) -> None:
    """A delivery is fresh by the server's clock or by the client's own."""
    client = _done()
    trigger = client.trigger()
    moment = datetime(2031, 5, 5, tzinfo=UTC)
    stamp = int(moment.timestamp()) + off
    headers = {_SIGNATURE: sign(SECRET, stamp * SECOND, b"{}")}
    assert _status(client.deliver(trigger, stamp=str(stamp), headers=headers)) == 401
    assert _status(client.deliver(trigger, stamp=str(stamp), headers=headers, moment=moment)) == status
    assert _status(client.deliver(trigger, delivery="d-2", moment=moment + timedelta(days=1))) == 200


def test_a_delivery_is_taken_once() -> None:
    """An id is used up for five minutes, for this trigger; then its run is replaced by the new one's."""
    client = _done()
    trigger, other = client.trigger(), client.trigger(endpoint_slug="other")
    assert _status(client.deliver(trigger)) == 200
    assert _status(client.deliver(other)) == 200
    again = client.deliver(trigger, now=299.9)
    assert (_status(again), client.fake.statistics()["refused_409"]) == (409, 1)
    assert "already processed" in error_of(again)
    assert _status(client.deliver(trigger, b"other", now=299.9)) == 409
    assert _status(client.deliver(trigger, now=300.0)) == 200
    (run,) = client.runs(trigger["id"], now=300.0)
    assert run["started_at"] == "2026-01-05T09:05:00Z"
    assert len(client.get("/api/automation/runs", now=300.0)["runs"]) == 2
    assert client.fake.statistics()["starts"] == 3


def test_an_id_stays_used_across_restarts() -> None:
    """Ids are remembered by the records, which outlive the daemon."""
    client = scripted(Step("running", 5), Step("completed"), name="review")
    trigger = client.trigger()
    delayed(client.deliver(trigger))
    client.fake.restart(1.0)
    assert _status(client.deliver(trigger, now=2.0)) == 409
    assert client.runs(trigger["id"], now=9.0)[0]["status"] == "running"


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {_ID: "d-1", _SIGNATURE: "sha256=0"}},
        {"headers": {_STAMP: str(EPOCH - 999)}},
        {"path": "/api/webhooks/global/other--wbh_1"},
        {"headers": {_SIGNATURE: ""}},
        {"body": b'{"data":"does not match"}'},
    ],
)
def test_an_id_stays_free(change: dict[str, Any]) -> None:
    """After a 400, 401 or 404, and where the filter did not match, the id may be used again."""
    client = _done()
    trigger = client.trigger(webhook_id="wbh_1", filter={"data.payload": "go"})
    client.deliver(trigger, **change)
    assert client.runs(trigger["id"]) == []
    assert _status(client.deliver(trigger, b"go")) == 200
    assert len(client.runs(trigger["id"])) == 1


def test_an_id_stays_free_when_there_is_no_slot() -> None:
    """A refusal by the concurrency limit leaves no record, and removes the old one that it would have replaced."""
    client = scripted(Step("running", 5), Step("completed"), name="review", rules=AghRules(concurrency=1))
    trigger = client.trigger()
    reply = client.deliver(trigger)
    assert _status(client.deliver(trigger, delivery="d-2")) == 409
    assert [run["id"] for run in client.runs(trigger["id"])] == [run_id_of(trigger)]
    assert final(reply).status == 200
    delayed(client.deliver(trigger, now=400.0, delivery="d-3"))
    assert _status(client.deliver(trigger, now=400.0)) == 409
    assert [run["id"] for run in client.runs(trigger["id"], now=400.0)] == [run_id_of(trigger, "d-3")]


def test_a_fire_limit_uses_the_id_up() -> None:
    """A delivery beyond the fire limit is a 409 with a failed record; with retries there are further attempts."""
    client = _done()
    trigger = client.trigger(fire_limit={"max": 1, "window": "1m"})
    assert _status(client.deliver(trigger, now=1.0)) == 200
    refused = client.deliver(trigger, now=2.0, delivery="d-2")
    assert "fire limit" in error_of(refused)
    assert "fires=1 limit=1 window=1m0s retry_at=2026-01-05T09:01:01Z" in error_of(refused)
    run = client.run(run_id_of(trigger, "d-2"), now=2.0)
    assert (run["status"], run["attempt"], run["ended_at"]) == ("failed", 1, "2026-01-05T09:00:02Z")
    assert run["error"] == error_of(refused)
    again = client.deliver(trigger, now=3.0, delivery="d-2")
    assert "already processed" in error_of(again)
    patient = client.trigger(
        fire_limit={"max": 1, "window": "15s"}, retry=BACKOFF, now=100.0, endpoint_slug="patient"
    )
    assert _status(client.deliver(patient, now=100.0)) == 200
    assert final(client.deliver(patient, now=100.0, delivery="d-2")).status == 200


# What is let through


def _filtered(name: str, wanted: str, body: bytes) -> int:
    client = _done()
    trigger = client.trigger(filter={name: wanted}, webhook_id="wbh_1")
    result = body_of(client.deliver(trigger, body))["result"]
    assert ("runs" in result) is (result["matched"] == 1)
    assert len(client.runs(trigger["id"])) == result["matched"]
    matched: int = result["matched"]
    return matched


@pytest.mark.parametrize(
    ("name", "wanted", "value", "matched"),
    [
        ("data.a", "text", "text", 1),
        ("data.a", " text ", "text", 1),
        ("data.a", "text", " text ", 0),
        ("data.a", "Text", "text", 0),
        ("data.a", "true", True, 1),
        ("data.a", "True", True, 0),
        ("data.a", "false", False, 1),
        ("data.a", "42", 42, 1),
        ("data.a", "42", 42.0, 1),
        ("data.a", "42", "42", 1),
        ("data.a", "42.0", 42, 0),
        ("data.a", "1.5", 1.5, 1),
        ("data.a", "0.000001", 1e-6, 1),
        ("data.a", "1000000000000000000000", 1e21, 1),
        ("data.a", "9007199254740992", 9007199254740993, 1),
        ("data.a", "-3", -3, 1),
        ("data.a", "0", 0, 1),
        ("data.a", "null", None, 0),
        ("data.a", "[]", [], 0),
        ("data.a", "{}", {}, 0),
        ("data.a.b.c", "x", {"b": {"c": "x"}}, 1),
        ("data.a.b.c", "x", {"b": "x"}, 0),
        ("data. a . b ", "x", {"b": "x"}, 1),
        ("data.b", "x", "x", 0),
    ],
)
def test_filters_compare_texts(name: str, wanted: str, value: Any, matched: int) -> None:
    """Values of the data are compared as texts; null, arrays and objects never match."""
    assert _filtered(name, wanted, encode_json({"a": value})) == matched


@pytest.mark.parametrize(
    ("name", "wanted", "body", "matched"),
    [
        ("kind", "webhook", b"", 1),
        ("kind", "Webhook", b"", 0),
        ("source", "webhook", b"", 1),
        ("scope", "global", b"", 1),
        ("workspace_id", "ws-1", b"", 0),
        ("data.payload", "plain \u2713", "plain \u2713".encode(), 1),
        ("data.payload", '{"a":1}', b'{"a":1}', 1),
        ("data.payload", "own", b'{"payload":"own"}', 1),
        ("data.payload", "[1]", b"[1]", 1),
        ("data.payload", "\ufffd", b"\xff", 1),
        ("data.endpoint", "deploy--wbh_1", b'{"endpoint":"forged"}', 1),
        ("data.endpoint_slug", "deploy", b"", 1),
        ("data.webhook_id", "wbh_1", b'{"webhook_id":7}', 1),
        ("data.timestamp", "2026-01-05T09:00:00Z", b'{"timestamp":"forged"}', 1),
    ],
)
def test_filters_know_what_the_server_adds(name: str, wanted: str, body: bytes, matched: int) -> None:
    """The event has its kind, scope and source, and data of its own in addition to the body's."""
    assert _filtered(name, wanted, body) == matched


def test_all_of_a_filter_has_to_match() -> None:
    """One entry that does not match is enough."""
    client = _done()
    trigger = client.trigger(filter={"data.a": "1", "data.b": "2"})
    bodies = (b'{"a":1,"b":2}', b'{"a":1}', b'{"b":2}')
    matched = [
        body_of(client.deliver(trigger, body, delivery=f"d-{index}"))["result"]["matched"]
        for index, body in enumerate(bodies)
    ]
    assert matched == [1, 0, 0]
    assert client.counted({"starts": 1, "deliveries": 3})


def test_a_workspace_is_part_of_the_event() -> None:
    """A workspace's trigger sees its own workspace."""
    client = _done()
    wanted = {"workspace_id": "ws-1", "scope": "workspace"}
    trigger = client.trigger(scope="workspace", workspace_id="ws-1", filter=wanted)
    assert body_of(client.deliver(trigger))["result"]["matched"] == 1


# The run


def test_a_delivery_blocks_until_its_run_has_ended() -> None:
    """The run can be read at once under the id that can be computed; the reply comes with its end."""
    client = scripted(Step("running", 8), Step("completed"), name="review")
    trigger = client.trigger()
    reply = delayed(client.deliver(trigger, _BODY, now=1.0))
    assert reply.until == 9.0
    running = client.run(run_id_of(trigger), now=1.0)
    assert (running["status"], running["started_at"]) == ("running", "2026-01-05T09:00:01Z")
    body = body_of(settled(reply, 9.0))
    assert body["result"]["matched"] == 1
    assert body["result"]["runs"] == [client.run(running["id"], now=9.0)]
    assert body["result"]["runs"][0]["status"] == "completed"
    assert client.fake.ended_at(running["id"]) == 9.0
    assert client.fake.starts_by_target == {trigger["id"]: 1}


def test_a_delivery_whose_run_fails() -> None:
    """A failed run is a masked 500; its record is found by its id."""
    client = scripted(Step("running", 8), Step("failed"), name="review")
    trigger = client.trigger()
    reply = final(client.deliver(trigger))
    assert (reply.status, error_of(reply)) == (500, "Internal Server Error")
    assert client.run(run_id_of(trigger), now=8.0)["status"] == "failed"


def test_retries_of_a_delivery_keep_its_record() -> None:
    """With backoff the same record goes from failed to running; the reply waits for the last attempt."""
    client = scripted(Step("failed"), Step("running", 1), Step("completed"), name="review")
    trigger = client.trigger(retry=BACKOFF)
    reply = delayed(client.deliver(trigger))
    assert reply.until == 10.0
    seen = [client.run(run_id_of(trigger), now=now) for now in (0, 10, 11)]
    assert [(run["status"], run["attempt"]) for run in seen] == [
        ("failed", 1),
        ("running", 2),
        ("completed", 2),
    ]
    assert body_of(settled(reply, 11.0))["result"]["runs"] == [seen[2]]


@pytest.mark.parametrize("body", [b'{"branch":"main"}', b"{}"])
def test_a_prompt_needs_its_data(body: bytes) -> None:
    """A field that the prompt asks for and the event lacks fails the run before it begins."""
    client = _done()
    trigger = client.trigger(prompt="Look at {{ .Data.branch }}.")
    reply = client.deliver(trigger, body)
    run = client.run(run_id_of(trigger))
    if body == b"{}":
        assert _status(reply) == 500
        assert run["status"] == "failed"
        assert ".Data.branch" in run["error"]
        assert "session_id" not in run
    else:
        assert _status(reply) == 200


def test_a_client_that_leaves_cancels_the_run() -> None:
    """Closing the connection cancels the run, and the id is used up all the same."""
    client = scripted(Step("running", 8), Step("completed"), name="review")
    trigger = client.trigger()
    reply = delayed(client.deliver(trigger))
    assert reply.on_disconnect is not None
    reply.on_disconnect(3.0)
    run = client.run(run_id_of(trigger), now=3.0)
    assert (run["status"], run["ended_at"]) == ("canceled", "2026-01-05T09:00:03Z")
    assert run["error"]
    assert client.run(run["id"], now=99.0) == run
    assert client.fake.ended_at(run["id"]) == 3.0
    assert _status(client.deliver(trigger, now=4.0)) == 409
    assert settled(reply, 8.0).status == 500


def test_a_client_that_leaves_between_attempts_ends_them() -> None:
    """While the run waits for its next attempt, a disconnect keeps it failed; one after the end changes nothing."""
    client = scripted(Step("failed"), Step("completed"), name="review")
    trigger = client.trigger(retry=BACKOFF)
    reply = delayed(client.deliver(trigger))
    assert reply.on_disconnect is not None
    reply.on_disconnect(3.0)
    run = client.run(run_id_of(trigger), now=99.0)
    assert (run["status"], run["attempt"]) == ("failed", 1)
    assert client.fake.ended_at(run["id"]) == 0.0
    late = delayed(client.deliver(trigger, now=100.0, delivery="d-2"))
    assert late.on_disconnect is not None
    late.on_disconnect(200.0)
    assert client.run(run_id_of(trigger, "d-2"), now=200.0)["status"] == "completed"


def test_a_run_that_outlasts_its_id() -> None:
    """When an id is used again while the run of the first delivery still goes on, each reply has its own run."""
    client = scripted(Step("running", 1000), Step("completed"), name="review")
    trigger = client.trigger()
    first = delayed(client.deliver(trigger))
    second = delayed(client.deliver(trigger, now=400.0))
    runs = [body_of(settled(reply, 1400.0))["result"]["runs"][0] for reply in (first, second)]
    assert [run["started_at"] for run in runs] == ["2026-01-05T09:00:00Z", "2026-01-05T09:06:40Z"]
    assert client.run(runs[0]["id"], now=1400.0) == runs[1]
    assert (first.until, second.until) == (1000.0, 1400.0)


def test_a_run_without_an_end_is_delayed_for_ever() -> None:
    """Only a disconnect ends the wait."""
    client = scripted(Step("running"), name="review")
    assert delayed(client.deliver(client.trigger())).until == math.inf


def test_nothing_secret_is_shown() -> None:
    """Secrets, signatures and bodies stay out of what is printed."""
    client = scripted(Step("running"), name="review")
    reply = delayed(client.deliver(client.trigger(), _BODY))
    delivery = Delivery("deploy", "wbh_1", 0, "sha256=private", "d-1", b"private")
    assert not {text for text in (SECRET, "branch", "private") if text in repr((reply, delivery))}
