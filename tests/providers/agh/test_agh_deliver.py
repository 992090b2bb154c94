"""Delivering webhooks: signed as sent, accepted once, never cancelled by accident, followed to the end."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from aioagents import (
    AuthenticationError,
    BadRequest,
    Conflict,
    NotFound,
    NotSent,
    PoolLimits,
    RateLimit,
    ReplyLost,
    RunState,
    ServerError,
    StartUnknown,
)
from aioagents.model import Reply
from aioagents.observe import RunStarted, StartAbandoned
from aioagents.providers.agh import Delivery
from aioagents.providers.agh.fake import AghRules
from aioagents.providers.agh.signing import signature, webhook_run_id
from tests.fakes import EPOCH, settle
from tests.providers.agh.agh_rig import SECRET, AghRig, agh_rig, script

SCRIPTS = {
    "hook": script(("running", 20.0), "completed"),
    "bad": script(("running", 20.0), "failed"),
    "long": script(("running", 3600.0), "completed"),
}
HEADERS = ("x-agh-webhook-timestamp", "x-agh-webhook-signature", "x-agh-webhook-delivery-id")


async def _deliver(rig: AghRig, trigger: str, *, known: bool = True, **options: object) -> Delivery:
    settings: dict[str, object] = {"secret": SECRET, "trigger_id": trigger if known else None, **options}
    endpoint = await rig.endpoint(trigger)
    return await rig.agh.webhooks.deliver(endpoint, {"action": "deploy"}, **settings)  # type: ignore[arg-type]


async def test_signs_the_exact_bytes() -> None:
    """The signature is that of the sent bytes: bytes and text unchanged, a mapping as its JSON."""
    async with agh_rig(scripts={"hook": script("completed")}) as rig:
        endpoint = await rig.endpoint(rig.trigger("hook"))
        for body, sent in (
            (b'{ "a": 1 }\n', b'{ "a": 1 }\n'),
            ('{"note":"café ✓"}', '{"note":"café ✓"}'.encode()),
            ({"a": 1}, b'{"a":1}'),
            (b"", b""),
        ):
            await rig.done(rig.agh.webhooks.deliver(endpoint, body, secret=f"  {SECRET}\n"))
            request = rig.calls("webhooks.deliver")[-1]
            assert request.body == sent
            timestamp = request.headers["x-agh-webhook-timestamp"]
            assert request.headers["x-agh-webhook-signature"] == signature(SECRET, int(timestamp), sent)
            assert request.headers["content-type"] == "application/json"
        ids = [request.headers["x-agh-webhook-delivery-id"] for request in rig.calls("webhooks.deliver")]
        assert len(set(ids)) == 4


async def test_waits_for_the_end() -> None:
    """The result comes when the run has ended: matched, its records, and a handle of the ended run."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        delivery = await rig.done(_deliver(rig, trigger, known=False, delivery_id="order-1"))
        assert rig.clock.now() >= 1020.0
        assert (delivery.matched, delivery.delivery_id, delivery.is_replay) == (1, "order-1", False)
        assert delivery.run is not None
        assert delivery.run.id == delivery.runs[0].id == webhook_run_id(trigger, "order-1")
        assert delivery.run.last is not None
        assert delivery.run.last.state is RunState.COMPLETED
        assert rig.fake.starts_by_target[trigger] == 1


async def test_filter_that_does_not_match() -> None:
    """A delivery that the filter excludes is authenticated, matches nothing and runs nothing."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook", filter={"data.action": "other"})
        delivery = await rig.done(_deliver(rig, trigger))
        assert (delivery.matched, delivery.runs, delivery.run) == (0, (), None)


async def test_workspace() -> None:
    """With a workspace the delivery goes to the workspace's own path."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook", scope="workspace", workspace_id="ws 1")
        delivery = await rig.done(_deliver(rig, trigger, workspace_id="ws 1"))
        assert delivery.matched == 1
        assert "/api/webhooks/workspaces/ws%201/hook--" in rig.calls("webhooks.deliver")[0].url


async def test_a_failed_run_is_found() -> None:
    """The server hides a run that failed; with the trigger's id it is read, without it the start is unknown."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("bad")
        delivery = await rig.done(_deliver(rig, trigger))
        assert delivery.run is not None
        assert (await rig.done(delivery.run.wait())).state is RunState.FAILED
        assert delivery.runs[0].status == "failed"
        with pytest.raises(StartUnknown) as caught:
            await rig.done(_deliver(rig, trigger, known=False, delivery_id="again"))
        assert "'again'" in caught.value.advice
        assert len(rig.calls("webhooks.deliver")) == 2


@pytest.mark.parametrize(
    "error",
    [lambda: ReplyLost("cut"), lambda: ServerError("x", status=502), lambda: ServerError("x", status=504)],
)
@pytest.mark.parametrize("known", [True, False])
async def test_a_lost_answer_is_asked_for_again(error: Callable[[], Exception], known: bool) -> None:
    """A lost delivery is sent again under the same id, with a new signature; had it arrived before, that counts."""
    async with agh_rig(scripts={"hook": script(("running", 0.5), "completed")}) as rig:
        trigger = rig.trigger("hook")
        rig.lose("webhooks.deliver", error)
        task = await rig.begin(_deliver(rig, trigger, known=known))
        await rig.clock.advance(0.6)
        rig.send.after = None
        await rig.clock.advance(60.0)
        delivery = task.result()
        assert delivery.is_replay
        assert rig.fake.starts_by_target[trigger] == 1
        first, second = rig.calls("webhooks.deliver")[:2]
        assert first.headers[HEADERS[2]] == second.headers[HEADERS[2]]
        if known:
            assert delivery.run is not None
            assert (await rig.done(delivery.run.wait())).state is RunState.COMPLETED
        else:
            assert (delivery.matched, delivery.run) == (None, None)


async def test_lost_before_it_arrived() -> None:
    """A delivery that never arrived is sent again with a new signature, and runs once."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        rig.answer(
            "webhooks.deliver", ReplyLost("cut"), NotSent("no way"), Reply(503, {}, b'{"error": "off"}')
        )
        delivery = await rig.done(_deliver(rig, trigger))
        assert (delivery.matched, delivery.is_replay) == (1, False)
        assert rig.fake.starts_by_target[trigger] == 1
        sent = rig.calls("webhooks.deliver")
        assert len(sent) == 4
        assert len({request.headers["x-agh-webhook-delivery-id"] for request in sent}) == 1


async def test_not_sent_again_when_the_id_may_be_forgotten() -> None:
    """Once the server may have forgotten the id, a lost delivery is not sent again: it would run twice."""
    async with agh_rig(scripts={"hook": script(("running", 400.0), "completed")}) as rig:
        trigger = rig.trigger("hook")
        rig.lose("webhooks.deliver", lambda: ReplyLost("cut"))
        with pytest.raises(StartUnknown):
            await rig.done(_deliver(rig, trigger, known=False), within=900.0)
        assert len(rig.calls("webhooks.deliver")) == 1
        assert rig.fake.starts_by_target[trigger] == 1


@pytest.mark.parametrize("status", [500, 200])
async def test_a_hidden_answer_is_never_asked_for_again(status: int) -> None:
    """A 500, and a success that cannot be read, are no reason to send a delivery again."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        rig.answer("webhooks.deliver", Reply(status, {}, b"<html>"))
        with pytest.raises(StartUnknown):
            await rig.done(_deliver(rig, trigger))
        assert len(rig.calls("webhooks.deliver")) == 1


async def test_replay_of_the_users_own() -> None:
    """A delivery id that the user gave twice is reported as a replay, with the run that the first one began."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        first = await rig.done(_deliver(rig, trigger, delivery_id="d-1"))
        again = await rig.done(_deliver(rig, trigger, delivery_id="d-1"))
        assert again.is_replay
        assert again.run is not None
        assert first.run is not None
        assert again.run.ref == first.run.ref
        assert again.runs[0].status == "completed"
        assert rig.fake.starts_by_target[trigger] == 1


async def test_limits_are_conflicts() -> None:
    """A delivery at a limit is refused with its reason and figures, and is not sent again."""
    async with agh_rig(rules=AghRules(concurrency=1), scripts=SCRIPTS) as rig:
        await rig.done(rig.agh.jobs.trigger(rig.job("long")))
        with pytest.raises(Conflict) as caught:
            await rig.done(_deliver(rig, rig.trigger("hook")))
        assert (caught.value.reason, caught.value.active, caught.value.limit) == ("concurrency", 1, 1)
        assert len(rig.calls("webhooks.deliver")) == 1


async def test_fire_limit_leaves_a_failed_run() -> None:
    """At the fire limit the conflict says when, and the delivery id is used up."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook", fire_limit={"max": 1, "window": "1h"})
        await rig.done(_deliver(rig, trigger))
        with pytest.raises(Conflict) as caught:
            await rig.done(_deliver(rig, trigger, delivery_id="second"))
        assert (caught.value.reason, caught.value.limit) == ("fire", 1)
        assert (await rig.agh.runs.get(webhook_run_id(trigger, "second"))).status == "failed"


@pytest.mark.parametrize(
    ("change", "error"),
    [({"secret": "wrong"}, AuthenticationError), ({"workspace_id": "none"}, NotFound)],
)
async def test_refusals(change: dict[str, Any], error: type[Exception]) -> None:
    """A wrong secret and an unknown endpoint raise their own errors, after one request."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        with pytest.raises(error):
            await rig.done(_deliver(rig, trigger, **change))
        assert len(rig.calls("webhooks.deliver")) == 1


async def test_a_clock_that_is_off_is_refused() -> None:
    """A delivery signed by a clock that is more than 300 seconds off is refused as not authentic."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        real = rig.clock.utcnow
        rig.clock.utcnow = lambda: real() - timedelta(seconds=302)  # type: ignore[method-assign]
        with pytest.raises(AuthenticationError):
            await rig.done(_deliver(rig, trigger))


async def test_secret_that_the_server_lost() -> None:
    """A trigger without a usable secret is a bad request."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        endpoint = await rig.endpoint(trigger)
        rig.fake.lose_secret(trigger)
        with pytest.raises(BadRequest):
            await rig.done(rig.agh.webhooks.deliver(endpoint, b"", secret=SECRET))


async def test_cancelling_keeps_the_connection() -> None:
    """A cancelled caller does not cancel the run: the connection is kept, and the outcome is reported."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        task = await rig.begin(_deliver(rig, trigger, delivery_id="d-1"))
        await rig.clock.advance(5.0)
        task.cancel()
        await settle()
        await rig.clock.advance(60.0)
        assert (await rig.agh.runs.get(webhook_run_id(trigger, "d-1"))).status == "completed"
        (body,) = rig.events_of(StartAbandoned)
        assert body.run is not None
        assert body.run.ref.id == webhook_run_id(trigger, "d-1")


@pytest.mark.parametrize("known", [True, False])
async def test_run_is_reported_once(known: bool) -> None:
    """The run of a delivery is reported to hooks once, also where the answer hid it; none where none began."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("bad" if known else "hook")
        await rig.done(_deliver(rig, trigger, known=known, delivery_id="d-1"))
        assert [event.run.ref.id for event in rig.events_of(RunStarted)] == [webhook_run_id(trigger, "d-1")]
        other = rig.trigger("other", filter={"data.action": "none"})
        assert (await rig.done(_deliver(rig, other, known=known))).matched == 0
        assert len(rig.events_of(RunStarted)) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_timeout_drops_the_connection(known: bool) -> None:
    """After its timeout the connection is closed, which cancels the run: found where it can be, else unknown."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("long")
        task = await rig.begin(_deliver(rig, trigger, known=known, timeout=5.0, delivery_id="d-1"))
        await rig.clock.advance(4.9)
        assert not task.done()
        await rig.clock.advance(20.0)
        assert (await rig.agh.runs.get(webhook_run_id(trigger, "d-1"))).status == "canceled"
        assert len(rig.calls("webhooks.deliver")) == 1
        if known:
            run = task.result().run
            assert run is not None
            assert run.last is not None
            assert run.last.state is RunState.ABORTED
        else:
            assert isinstance(task.exception(), StartUnknown)


async def test_signed_just_before_it_is_sent() -> None:
    """A delivery that waited for a slot longer than a signature holds is signed when it is sent."""
    limits = PoolLimits(requests_per_second=RateLimit(1, 600.0))
    async with agh_rig(scripts=SCRIPTS, limits=limits) as rig:
        rig.answer("webhooks.deliver", Reply(503, {}, b'{"error": "off"}'))
        delivery = await rig.done(_deliver(rig, rig.trigger("hook"), known=False), within=1500.0)
        assert delivery.matched == 1
        signed = [int(request.headers[HEADERS[0]]) for request in rig.calls("webhooks.deliver")]
        assert [round((each - EPOCH.timestamp()) / 600) for each in signed] == [1, 2]


async def test_timeout_before_it_is_sent() -> None:
    """A delivery that times out before it is sent raises `NotSent`."""
    limits = PoolLimits(requests_per_second=RateLimit(1, 600.0))
    async with agh_rig(scripts=SCRIPTS, limits=limits) as rig:
        with pytest.raises(NotSent):
            await rig.done(_deliver(rig, rig.trigger("hook"), timeout=5.0))
        await rig.clock.advance(1000.0)
        assert rig.calls("webhooks.deliver") == []


async def test_an_answer_that_never_comes() -> None:
    """When polls find the end of the run and no answer comes, the delivery is returned all the same."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("hook")
        never = asyncio.Event()
        sending = rig.send.send

        async def hang(request: object, **options: object) -> Reply:
            reply = await sending(request, **options)  # type: ignore[arg-type]
            if getattr(request, "call", "") == "webhooks.deliver":
                await never.wait()
            return reply

        rig.send.send = hang  # type: ignore[method-assign]
        delivery = await rig.done(_deliver(rig, trigger), within=120.0)
        assert delivery.runs[0].status == "completed"
        assert delivery.matched == 1


async def test_many_deliveries_at_once() -> None:
    """A hundred deliveries of slow runs are all in flight at once, though the account sends two at a time."""
    async with agh_rig(scripts=SCRIPTS, limits=PoolLimits(requests_at_once=2)) as rig:
        trigger = rig.trigger("hook")
        endpoint = await rig.endpoint(trigger)
        deliveries = [rig.agh.webhooks.deliver(endpoint, {"n": n}, secret=SECRET) for n in range(100)]
        gathered = await rig.done(asyncio.wait_for(asyncio.gather(*deliveries), None), within=120.0)
        assert len({each.runs[0].id for each in gathered}) == 100
        assert rig.clock.now() < 1060.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"endpoint": "deploy"}, "endpoint"),
        ({"endpoint": "--wbh_1"}, "endpoint"),
        ({"body": b"x" * 1_048_577}, "1048576"),
        ({"secret": "  "}, "secret"),
        ({"delivery_id": " "}, "delivery_id"),
        ({"delivery_id": "a\nb"}, "delivery_id"),
        ({"delivery_id": "café"}, "delivery_id"),
        ({"workspace_id": ""}, "workspace_id"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
async def test_what_cannot_be_sent(arguments: dict[str, object], words: str) -> None:
    """What the server would refuse is refused before anything is sent, with the argument's name."""
    async with agh_rig() as rig:
        given: dict[str, object] = {"endpoint": "deploy--wbh_1", "body": b"", "secret": SECRET, **arguments}
        endpoint, body = given.pop("endpoint"), given.pop("body")
        with pytest.raises(ValueError, match=words):
            await rig.agh.webhooks.deliver(endpoint, body, **given)  # type: ignore[arg-type]
        assert rig.send.sent == []


async def test_no_secret_is_shown() -> None:
    """The secret is in no representation, error or event of a delivery."""
    async with agh_rig(scripts=SCRIPTS) as rig:
        trigger = rig.trigger("bad")
        with pytest.raises(StartUnknown) as caught:
            await rig.done(_deliver(rig, trigger, known=False))
        delivery = await rig.done(_deliver(rig, trigger))
        shown = [repr(caught.value), str(caught.value), repr(delivery), *map(repr, rig.events)]
        assert not any(SECRET in text for text in shown)
