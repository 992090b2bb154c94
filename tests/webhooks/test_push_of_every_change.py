"""A vendor that announces every change of a run, not only its end: what a push costs in polls."""

import json
from urllib.parse import urlsplit

import pytest

from aioagents import Growing, RunHandle, RunState, Steady
from aioagents.contract.fake import RunPlan
from aioagents.polling import Cadence
from aioagents.providers.leap.fake import FakeLeap, LeapRules
from tests.polling.rig import begin, until_end
from tests.providers.leap.leap_rig import TEA, LeapRig, deliver, leap_rig, script

_BREAK = "wkf_break"
_SCRIPTS = {
    TEA: (("queued", 5.0), ("running", 40.0), "completed"),
    _BREAK: (("queued", 5.0), ("running", 15.0), ("paused", 5.0), ("running", 20.0), "completed"),
}
_CADENCES = pytest.mark.parametrize("cadence", [Growing(), Steady(60.0)], ids=["default", "steady"])


def _fake() -> FakeLeap:
    return FakeLeap(
        RunPlan(scripts={name: script(*steps) for name, steps in _SCRIPTS.items()}),
        # The fake announces ends only; the test sends every delivery by itself.
        rules=LeapRules(webhook_ends=frozenset()),
    )


def _url(r: LeapRig) -> str:
    starts = [each for each in r.send.sent if each.method == "POST"]
    url: str = json.loads(starts[-1].body or b"")["webhookUrl"]
    return url


async def _announce(r: LeapRig, url: str, run: RunHandle, status: str) -> None:
    body = json.dumps({"id": run.id, "status": status}).encode()
    assert await deliver(r.receiver, urlsplit(url).path, body) // 100 == 2
    await r.clock.advance(0.0)


async def _follow(r: LeapRig, workflow: str, *, is_pushed: bool = True) -> int:
    """Follow one run to its end, with a delivery at each change, and return how often it was polled."""
    before = r.polls
    run = await r.leap.run(workflow, webhook_url=r.receiver if is_pushed else None)
    waiter = await begin(until_end(run))
    for step in script(*_SCRIPTS[workflow]):
        if is_pushed:
            await _announce(r, _url(r), run, step.status)
        if step.status != "completed":
            await r.clock.advance(step.seconds or 0.0)
    if not is_pushed:
        await r.clock.advance(60.0)
    assert waiter.done()
    assert (await run).state is RunState.COMPLETED
    return r.polls - before


@_CADENCES
async def test_polls_of_runs_whose_every_change_is_announced(cadence: Cadence) -> None:
    """Twenty runs, one in ten of which pauses, cost at most 1.2 polls each; each end and each pause costs one."""
    async with leap_rig(fake=_fake(), cadence=cadence) as r:
        polls = [await _follow(r, _BREAK if n % 10 == 0 else TEA) for n in range(20)]
        assert polls == [2 if n % 10 == 0 else 1 for n in range(20)]
        assert sum(polls) <= 1.2 * len(polls)
        assert r.receiver.statistics().missed == 0


async def test_push_costs_less_than_none() -> None:
    """The same run without a webhook costs several polls."""
    async with leap_rig(fake=_fake(), cadence=Growing()) as r:
        assert await _follow(r, _BREAK) < 0.25 * await _follow(r, _BREAK, is_pushed=False)


@_CADENCES
async def test_second_pause_is_news(cadence: Cadence) -> None:
    """Waiters for a pause are woken at the second one too, whose delivery says the same as the first's."""
    steps = (("running", 5.0), ("paused", 5.0), ("running", 5.0), ("paused", 5.0), "completed")
    fake = FakeLeap(RunPlan(scripts={TEA: script(*steps)}), rules=LeapRules(webhook_ends=frozenset()))
    async with leap_rig(fake=fake, cadence=cadence) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        url = _url(r)
        seen: list[str] = []

        async def follow() -> None:
            seen.extend([each.status async for each in run.updates()])

        waiter = await begin(follow())
        for step in script(*steps):
            for _ in range(2):  # each delivery comes twice
                await _announce(r, url, run, step.status)
            if step.status != "completed":
                await r.clock.advance(step.seconds or 0.0)
        assert waiter.done()
        assert r.polls <= 3
        assert r.receiver.statistics().repeated == 5


async def test_delivery_without_news_delays_no_poll() -> None:
    """Where deliveries say that a run goes on which has ended, the next regular poll finds the end."""
    fake = FakeLeap(
        RunPlan(scripts={TEA: script(("running", 5.0), "completed")}),
        rules=LeapRules(webhook_ends=frozenset()),
    )
    async with leap_rig(fake=fake, cadence=Growing()) as r:
        run = await r.leap.run(TEA, webhook_url=r.receiver)
        waiter = await begin(until_end(run))
        for n in range(12):
            await _announce(r, _url(r), run, "running" if n % 2 else "queued")
            await r.clock.advance(5.0)
        assert waiter.done()
        assert r.polls == 1
        assert r.receiver.statistics().missed == 1
