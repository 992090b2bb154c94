"""Runs with a webhook: how rarely they are polled, and what lost, late and odd deliveries do."""

import asyncio
import gc
import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import pytest

from aioagents import Growing, NotSent, ReplyLost, RunHandle, RunState, StartUnknown, WebhookReceiver
from aioagents.model import Reply, Request
from aioagents.providers.leap.fake import LeapRules
from tests.fakes import FakeClock, FakeSend, settle
from tests.polling.rig import begin, reply, until_end
from tests.providers.leap.leap_rig import TEA, LeapRig, deliver, fake_leap, leap_rig

_RARE = Growing(first=1.0, factor=1.25, cap=60.0)


class _DelayedSend(FakeSend):
    """A send whose answers can be delayed."""

    release: asyncio.Event | None = None

    async def send(self, request: Request, **options: Any) -> Reply:
        reply = await super().send(request, **options)
        if self.release is not None:
            await self.release.wait()
        return reply


def _url(r: LeapRig, n: int = -1) -> str:
    """Return the webhook URL that a start was sent with."""
    starts = [each for each in r.send.sent if each.method == "POST"]
    body = json.loads(starts[n].body or b"")
    url: str = body.get("webhookUrl") or body["webhook_url"]
    return url


async def _wait(r: LeapRig, run: RunHandle, seconds: float) -> "asyncio.Task[object]":
    waiter = await begin(until_end(run))
    await r.clock.advance(seconds)
    return waiter


async def test_run_with_a_webhook_costs_one_poll() -> None:
    """A run shorter than the cadence's cap is not polled before its delivery, and once after it."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 40.0)
        assert r.polls == 0
        assert await r.send_webhooks() == [HTTPStatus.ACCEPTED]
        await r.clock.advance(0)
        assert (await run).state is RunState.COMPLETED
        assert waiter.done()
        assert r.polls == 1
        assert r.receiver.statistics().accepted == 1
        assert r.receiver.statistics().missed == 0


async def test_same_run_without_a_receiver() -> None:
    """The same run costs a dozen polls by the ordinary cadence: a URL that is not a receiver's changes no cadence."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url="https://elsewhere.example.com/x")
        await _wait(r, run, 60.0)
        assert r.polls > 8


@pytest.mark.parametrize("dialect", ["workflows", "runs"])
async def test_each_run_has_a_url_of_its_own(dialect: str) -> None:
    """Each start carries a URL under the receiver's, and no two have the same; bulk runs too."""
    async with leap_rig("running", dialect=dialect) as r:
        handles = [await r.leap.run(TEA, webhook_url=r.receiver) for _ in range(20)]
        handles += [
            await r.leap.run_bulk(TEA, "https://f.example.com/in.csv", webhook_url=r.receiver)
            for _ in range(20)
        ]
        urls = {_url(r, n) for n in range(len(handles))}
        assert len(urls) == r.receiver.statistics().tickets == 40
        assert all(url.startswith("https://hooks.example.com/leap/") for url in urls)


async def test_bulk_run_with_a_webhook() -> None:
    """A bulk run is woken like any other."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run_bulk(TEA, "https://f.example.com/in.csv", webhook_url=r.receiver)
        waiter = await _wait(r, run, 40.0)
        assert await r.send_webhooks() == [HTTPStatus.ACCEPTED]
        await r.clock.advance(0)
        assert waiter.done()
        assert r.polls == 1


async def test_awaited_at_once() -> None:
    """A handle that only an `await` refers to is woken all the same."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:

        async def work() -> RunState:
            return (await (await r.leap.run(TEA, webhook_url=r.receiver))).state

        waiter = await begin(work())
        gc.collect()
        assert r.receiver.statistics().tickets == 1
        await r.clock.advance(40.0)
        assert await r.send_webhooks() == [HTTPStatus.ACCEPTED]
        await r.clock.advance(0)
        assert waiter.done()
        assert await waiter is RunState.COMPLETED
        assert r.polls == 1
        del waiter
        gc.collect()
        assert r.receiver.statistics().tickets == 0


async def test_every_kind_of_wait_is_woken() -> None:
    """`result`, `wait`, `wait` for a state, and `updates` are woken as well, with one poll for all."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)

        async def last() -> RunState:
            return [seen.state async for seen in run.updates()][-1]

        waiters = [
            await begin(run.result()),
            await begin(run.wait(timeout=1000)),
            await begin(run.wait(until={RunState.PAUSED})),
            await begin(last()),
            await begin(until_end(r.leap.get(run.id))),
        ]
        await r.clock.advance(40.0)
        await r.send_webhooks()
        await r.clock.advance(0)
        assert all(waiter.done() for waiter in waiters)
        assert r.polls == 1


async def test_lost_delivery() -> None:
    """Where no delivery comes, the next regular poll finds the end, at the cadence's cap at the latest."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 59.9)
        assert not waiter.done()
        await r.clock.advance(0.2)
        assert waiter.done()
        assert r.polls == 1
        assert r.receiver.statistics().missed == 1


async def test_three_lost_deliveries() -> None:
    """After three ends without a delivery, runs are polled by the ordinary cadence, until a delivery comes."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        for n in range(3):
            assert r.receiver.is_working
            await _wait(r, await r.leap.run(TEA, webhook_url=r.receiver), 70.0)
            assert r.polls == n + 1
        assert not r.receiver.is_working
        r.fake.take_webhooks(r.now)
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 39.0)
        assert r.polls > 8
        await r.clock.advance(1.0)
        assert await r.send_webhooks() == [HTTPStatus.ACCEPTED]
        await r.clock.advance(0)
        assert waiter.done()
        assert r.receiver.is_working
        before = r.polls
        await _wait(r, await r.leap.run(TEA, webhook_url=r.receiver), 39.0)
        assert r.polls == before
        await r.clock.advance(60.0)


async def test_late_delivery() -> None:
    """A delivery after the end was found is answered, and costs no poll."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 70.0)
        assert waiter.done()
        assert await r.send_webhooks() == [HTTPStatus.ACCEPTED]
        await r.clock.advance(0)
        assert (await run).state is RunState.COMPLETED
        assert r.polls == 1


async def test_repeated_deliveries() -> None:
    """A delivery that comes five times costs one poll, also while the poll is in flight."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 40.0)
        (due,) = r.fake.take_webhooks(r.now)
        for _ in range(5):
            assert await deliver(r.receiver, due.url, due.body) == HTTPStatus.ACCEPTED
        await r.clock.advance(0)
        assert waiter.done()
        assert r.polls == 1
        assert r.receiver.statistics().repeated == 4


async def test_early_delivery() -> None:
    """After a delivery before the start's reply, the run is polled as soon as a wait begins, without any gap."""
    fake, clock, held = fake_leap("completed"), FakeClock(), asyncio.Event()

    class _DelayedStart(FakeSend):
        """Delays the reply to a start, whose run is still running in it."""

        async def send(self, request: Request, **options: Any) -> Reply:
            answer = await super().send(request, **options)
            if request.method == "GET":
                return answer
            await held.wait()
            return Reply(200, {}, answer.body.replace(b'"completed"', b'"running"'))

    async with leap_rig(fake=fake, clock=clock, send=_DelayedStart(fake, clock=clock), cadence=_RARE) as r:
        starting = await begin(r.leap.run(TEA, webhook_url=r.receiver))
        (due,) = fake.take_webhooks(0.0)
        assert await deliver(r.receiver, due.url, due.body) == HTTPStatus.ACCEPTED
        assert not starting.done()
        held.set()
        run = await starting
        assert run.last is not None
        assert run.last.state is RunState.RUNNING
        assert r.polls == 0
        assert (await _wait(r, run, 0)).done()
        assert (await run).state is RunState.COMPLETED
        assert r.polls == 1


async def test_delivery_before_the_end() -> None:
    """After a delivery that a poll does not confirm, the run is polled by the ordinary cadence."""
    async with leap_rig(("running", 100.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 50.0)
        assert r.polls == 0
        body = json.dumps({"id": run.id, "status": "completed", "output": "forged"}).encode()
        assert await deliver(r.receiver, _url(r), body) == HTTPStatus.ACCEPTED
        await r.clock.advance(0)
        assert r.polls == 1
        assert not waiter.done()
        await r.clock.advance(10.0)
        assert 3 < r.polls < 12
        await r.clock.advance(60.0)
        assert waiter.done()
        done = await run
        assert done.output != "forged"
        assert r.receiver.statistics().missed == 0


async def test_what_a_delivery_says_is_not_believed() -> None:
    """Waiters see what polls see: neither state, output nor error of a delivery reaches them."""
    async with leap_rig(fake=fake_leap(("running", 20.0), "failed", rules=LeapRules()), cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 20.0)
        body = json.dumps(
            {"id": run.id, "status": "completed", "output": "forged", "error": "forged"}
        ).encode()
        await deliver(r.receiver, _url(r), body)
        await r.clock.advance(0)
        assert waiter.done()
        done = await run
        assert (done.state, done.output) == (RunState.FAILED, None)
        assert done.error != "forged"


async def test_forged_deliveries_change_nothing() -> None:
    """Deliveries to guessed paths, or about other runs, cause no poll and change no poll's time."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        other = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await _wait(r, run, 10.0)
        body = json.dumps({"id": run.id, "status": "completed"}).encode()
        name = _url(r, 0).split("/")[-2]
        for guess in (f"/{name}/guess", f"/{name}/", f"/guess/{name}", "/", f"/{run.id}", f"/{name}/{name}"):
            assert await deliver(r.receiver, guess, body) == HTTPStatus.NOT_FOUND
        assert await deliver(r.receiver, _url(r, 1), body) == HTTPStatus.BAD_REQUEST
        await r.clock.advance(0)
        assert r.polls == 0
        assert not waiter.done()
        assert run.last == run.accepted
        assert other.last == other.accepted
        await r.clock.advance(49.0)
        assert r.polls == 0


async def test_delivery_to_a_run_without_waiters() -> None:
    """A delivery is remembered: the first poll of a later wait comes at once."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        await r.clock.advance(45.0)
        assert await r.send_webhooks() == [HTTPStatus.ACCEPTED]
        await r.clock.advance(0)
        assert r.polls == 0
        assert (await _wait(r, run, 0)).done()
        assert (await run).state is RunState.COMPLETED
        assert r.polls == 1


async def test_other_handles_after_the_one_with_the_webhook_is_gone() -> None:
    """Once the handle behind a URL is gone, other waits for the run find its end by the usual polls."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        first = await begin(until_end(run))
        other = await begin(until_end(r.leap.get(run.id)))
        await r.clock.advance(10.0)
        assert r.polls == 0
        first.cancel()
        del run, first
        await settle()
        assert r.receiver.statistics().tickets == 0
        await r.clock.advance(45.0)
        assert other.done()
        assert 5 < r.polls < 15
        assert r.receiver.statistics().missed == 0


async def test_later_waits_after_the_handle_with_the_webhook_is_gone() -> None:
    """A wait that begins after the handle behind the URL is gone has its first poll after the usual gap."""
    async with leap_rig(("running", 20.0), "completed", cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        first = await begin(until_end(run))
        again = r.leap.get(run.id)
        second = await begin(until_end(again))
        for task in (first, second):
            task.cancel()
        await settle()
        del run, first, second, task
        await settle()
        other = await begin(until_end(again))
        await r.clock.advance(2.0)
        assert r.polls == 1
        other.cancel()


async def test_handle_that_is_dropped_during_a_poll() -> None:
    """The poll that is in flight when the handle behind the URL goes is followed by one after the usual gap."""
    fake, clock = fake_leap(("running", 100.0), "completed"), FakeClock()
    send = _DelayedSend(fake, clock=clock)
    async with leap_rig(fake=fake, clock=clock, send=send, cadence=_RARE) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        first = await begin(until_end(run))
        other = await begin(until_end(r.leap.get(run.id)))
        send.release = asyncio.Event()
        await r.clock.advance(60.0)
        first.cancel()
        del run, first
        await settle()
        send.release.set()
        await r.clock.advance(0.0)
        assert r.polls == 1
        await r.clock.advance(20.0)
        assert r.polls == 2
        other.cancel()


# What is left behind


async def test_urls_are_forgotten_with_their_runs() -> None:
    """A thousand starts leave no URL behind once their handles are dropped."""
    async with leap_rig("running") as r:
        for _ in range(1000):
            await r.leap.run(TEA, webhook_url=r.receiver)
        await settle()
        gc.collect()
        assert r.receiver.statistics().tickets == 0


@pytest.mark.parametrize("fault", [reply(400), reply(401), ReplyLost("x"), reply(200, b"<html>")])
async def test_failed_start_leaves_no_url(fault: Reply | Exception) -> None:
    """When a start fails its URL is revoked; a delivery that comes all the same is refused."""
    async with leap_rig("completed") as r:
        r.answer("workflows.run", fault)
        r.answer("bulk.run", fault)
        for call in (
            r.leap.run(TEA, webhook_url=r.receiver),
            r.leap.run_bulk(TEA, "https://f.example.com/in.csv", webhook_url=r.receiver),
        ):
            with pytest.raises(Exception, match=r"answered|cannot be known"):
                await call
        assert r.receiver.statistics().tickets == 0
        assert await deliver(r.receiver, _url(r), b'{"id": "rnp_1"}') == HTTPStatus.NOT_FOUND


async def test_start_that_cannot_be_sent_leaves_no_url() -> None:
    """Neither arguments that cannot be sent, nor a cancellation before the first byte, leave a URL behind."""
    async with leap_rig("completed") as r:
        with pytest.raises(ValueError, match="workflow_id"):
            await r.leap.run("", webhook_url=r.receiver)
        r.answer("workflows.run", *[NotSent("refused", call="workflows.run")] * 50)
        starting = await begin(r.leap.run(TEA, webhook_url=r.receiver))
        assert r.receiver.statistics().tickets == 1
        starting.cancel()
        await r.clock.advance(0)
        assert starting.cancelled()
        del starting
        assert r.receiver.statistics().tickets == 0
        with pytest.raises(ValueError, match="public_url"):
            await r.leap.run(TEA, webhook_url=WebhookReceiver())


async def test_unknown_outcome_is_no_leak() -> None:
    """A start of unknown outcome keeps neither URL nor handle."""
    async with leap_rig("completed") as r:
        r.answer("workflows.run", ReplyLost("reset", call="workflows.run"))
        with pytest.raises(StartUnknown):
            await r.leap.run(TEA, webhook_url=r.receiver)
        assert r.receiver.statistics().tickets == 0
        assert urlsplit(_url(r)).path


async def test_poll_after_a_delivery_that_fails() -> None:
    """When the poll after a delivery fails, the next comes soon, and the delivery does not count as missed."""
    async with leap_rig(("running", 40.0), "completed", cadence=_RARE) as r:
        for fault in (reply(500), ReplyLost("x", call="runs.get"), reply(404), reply(429)):
            run = await r.leap.run(TEA, webhook_url=r.receiver)
            waiter = await _wait(r, run, 25.0)
            r.answer("runs.get", fault)
            body = json.dumps({"id": run.id, "status": "completed"}).encode()
            await r.clock.advance(0.0)
            assert await deliver(r.receiver, _url(r), body) == HTTPStatus.ACCEPTED
            await r.clock.advance(30.0)
            assert waiter.done()
            assert r.receiver.statistics().missed == 0
