"""Runs with a callback: what is sent to the platform, and what its deliveries do."""

import gc
from http import HTTPStatus
from typing import Any

import pytest

from aioagents import (
    AuthorizationRequired,
    BadRequest,
    Growing,
    NotSent,
    ReplyLost,
    RunState,
    Secret,
    StartUnknown,
    WebhookReceiver,
)
from aioagents.codec import decode_json, encode_json
from aioagents.model import Reply
from aioagents.providers.agent_platform.fake import CALLBACK_FORMS
from tests.fakes import settle
from tests.polling.rig import begin, until_end
from tests.providers.agent_platform.platform_rig import HELLO, deliver, platform_rig, sample_body

_RARE = Growing(first=1.0, factor=1.25, cap=60.0)
_STEPS: tuple[Any, ...] = (("running", 40.0), "success")


@pytest.mark.parametrize("form", CALLBACK_FORMS)
async def test_run_with_a_callback_costs_one_poll(form: str) -> None:
    """A run is not polled before its delivery, of any form, and once after it."""
    async with platform_rig(*_STEPS, cadence=_RARE, rules={"callbacks": (form,)}) as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7", callback_url=r.receiver)
        waiter = await begin(until_end(run))
        await r.clock.advance(40.0)
        assert r.polls == 0
        assert await r.send_webhooks() == [HTTPStatus.ACCEPTED]
        await r.clock.advance(0)
        assert (await waiter).state is RunState.COMPLETED
        assert r.polls == 1
        statistics = r.receiver.statistics()
        assert (statistics.accepted, statistics.missed, statistics.refused) == (1, 0, 0)


async def test_run_without_a_receiver() -> None:
    """The same run costs a dozen polls at the regular cadence if the callback goes elsewhere."""
    async with platform_rig(*_STEPS, cadence=_RARE) as r:
        run = await r.platform.runs.start(
            HELLO,
            session_reference="chat-7",
            callback_url="https://elsewhere.example.com/x",
            callback_token=Secret("demo-token"),
        )
        assert (r.body["callbackUrl"], r.body["callbackToken"]) == (
            "https://elsewhere.example.com/x",
            "demo-token",
        )
        waiter = await begin(until_end(run))
        await r.clock.advance(60)
        assert r.polls > 8
        assert "demo-token" not in str((await waiter).raw)


async def test_each_run_has_a_url_and_a_token_of_its_own() -> None:
    """Each start sends a URL under the receiver's and a token, all of them different."""
    async with platform_rig("running") as r:
        handles, values = [], set()
        for n in range(20):
            handles.append(
                await r.platform.runs.start(HELLO, session_reference=f"chat-{n}", callback_url=r.receiver)
            )
            values |= {r.body["callbackUrl"], r.body["callbackToken"]}
        assert len(values) == 40
        assert r.receiver.statistics().tickets == 20
        del handles
        await settle()
        gc.collect()
        assert r.receiver.statistics().tickets == 0


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Basic eDp5"])
async def test_deliveries_without_the_token(authorization: str) -> None:
    """A delivery without its run's token is refused and wakes nothing."""
    async with platform_rig(*_STEPS, cadence=_RARE) as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7", callback_url=r.receiver)
        url, token = r.body["callbackUrl"], r.body["callbackToken"]
        waiter = await begin(until_end(run))
        body = b'{"runId": "' + run.id.encode() + b'"}'
        headers = {"Authorization": authorization} if authorization else {}
        assert await deliver(r.receiver, url, body, headers) == HTTPStatus.UNAUTHORIZED
        await r.clock.advance(1)
        assert r.polls == 0
        assert (
            await deliver(r.receiver, url, body, {"Authorization": f"Bearer {token}"}) == HTTPStatus.ACCEPTED
        )
        await r.clock.advance(0)
        assert (r.polls, waiter.done()) == (1, False)


@pytest.mark.parametrize("form", ["nameless", "digest"])
async def test_deliveries_that_name_no_run_or_another(form: str) -> None:
    """A delivery that names no run wakes the one of its URL; one that names another run is refused."""
    async with platform_rig(*_STEPS, cadence=_RARE) as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7", callback_url=r.receiver)
        headers = {"Authorization": f"Bearer {r.body['callbackToken']}"}
        url = r.body["callbackUrl"]
        waiter = await begin(until_end(run))
        status = await deliver(r.receiver, url, encode_json(sample_body(f"webhook/{form}")), headers)
        assert status == (HTTPStatus.ACCEPTED if form == "nameless" else HTTPStatus.BAD_REQUEST)
        await r.clock.advance(0)
        assert (r.polls, waiter.done()) == (1 if form == "nameless" else 0, False)


async def test_lies_are_not_believed() -> None:
    """A delivery with a wrong outcome wakes the run, and nothing else."""
    async with platform_rig(*_STEPS, cadence=_RARE) as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7", callback_url=r.receiver)
        waiter = await begin(until_end(run))
        await r.clock.advance(40)
        (due,) = r.fake.take_webhooks(r.now)
        _, untrue = r.fake.false_bodies(due)
        assert await deliver(r.receiver, due.url, untrue, due.headers) == HTTPStatus.ACCEPTED
        await r.clock.advance(0)
        assert (await waiter).state is RunState.COMPLETED


async def test_lost_delivery() -> None:
    """Without a delivery, the next regular poll finds the end."""
    async with platform_rig(*_STEPS, cadence=_RARE) as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7", callback_url=r.receiver)
        waiter = await begin(until_end(run))
        await r.clock.advance(60.1)
        assert (await waiter).state is RunState.COMPLETED
        assert (r.polls, r.receiver.statistics().missed) == (1, 1)


async def test_acknowledgement_without_a_run() -> None:
    """With a callback the platform may name no run: then one has started that cannot be followed."""
    async with platform_rig(*_STEPS, rules={"hides_run_id": True}) as r:
        with pytest.raises(StartUnknown) as caught:
            await r.platform.runs.start(HELLO, session_reference="chat-7", callback_url=r.receiver)
        assert (r.fake.statistics()["runs"], len(r.send.sent)) == (1, 1)
        assert r.receiver.statistics().tickets == 0
        token = r.body["callbackToken"]
        assert token.encode() not in (caught.value.body or b"")
        assert decode_json(caught.value.body or b"")["callbackUrl"] == r.body["callbackUrl"]
        assert token not in f"{caught.value!r} {vars(caught.value)}"


@pytest.mark.parametrize(
    "fault", [NotSent("no"), ReplyLost("lost"), Reply(400, {}, b'{"message": "no"}')], ids=str
)
async def test_start_that_fails_takes_its_url_back(fault: Any) -> None:
    """A start that fails leaves no URL registered."""
    async with platform_rig(rules={"signins": frozenset({"cust-42"}), "signin_forms": ("proceeds",)}) as r:
        r.answer("runs.start", *[fault] * 5)
        waiter = await begin(
            r.platform.runs.start(HELLO, session_reference="chat-7", callback_url=r.receiver)
        )
        await r.clock.advance(60)
        with pytest.raises((StartUnknown, NotSent, BadRequest)):
            await waiter
        assert r.receiver.statistics().tickets == 0
        r.send.before = None
        with pytest.raises(AuthorizationRequired):
            await r.platform.runs.start(
                HELLO, session_reference="cust-42", callback_url=r.receiver, require_authorization=True
            )
        assert r.receiver.statistics().tickets == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callback_url": "cb.example"}, "callback_url"),
        ({"callback_url": WebhookReceiver()}, "public_url"),
        ({"callback_token": "demo-token"}, "callback_token"),
        (
            {"callback_token": "demo-token", "callback_url": WebhookReceiver("https://h.example")},
            "callback_token",
        ),
        ({"callback_token": "demo-\n", "callback_url": "https://cb.example"}, "callback_token"),
        ({"callback_token": "", "callback_url": "https://cb.example"}, "callback_token"),
    ],
)
async def test_invalid_callbacks(options: dict[str, Any], message: str) -> None:
    """An invalid callback URL or token is refused before anything is sent."""
    async with platform_rig() as r:
        with pytest.raises(ValueError, match=message) as caught:
            await r.platform.runs.start(HELLO, session_reference="chat-7", **options)
        assert "demo" not in str(caught.value)
        assert r.send.sent == []
