"""Triggers of AGH Runtime: the client against its fake, secrets that are written and never shown."""

import asyncio
import json
import logging
import pickle
from typing import Any

import pytest

from aioagents import (
    AgentsError,
    Agh,
    BadRequest,
    Conflict,
    NotFound,
    PermissionDenied,
    ReplyLost,
    RetryPolicy,
    Secret,
    ServerError,
    StartUnknown,
)
from aioagents.model import Reply, Request
from aioagents.observe import StartAbandoned
from aioagents.providers.agh import FireLimit, Retry, Trigger
from aioagents.providers.agh.fake import AghRules
from tests.fakes import settle
from tests.providers.agh.agh_rig import GLOBAL, SECRET, AghRig, agh_rig

_DEPLOY: dict[str, Any] = {
    "scope": "global",
    "name": "deploy-review",
    "agent_name": "reviewer",
    "prompt": 'Check branch {{ index .Data "branch" }}.',
    "event": "webhook",
    "filter": {"data.action": "deploy"},
    "endpoint_slug": "deploy",
    "webhook_secret_value": SECRET,
}
_STOPPED: dict[str, Any] = {
    "scope": "global",
    "name": "after-session",
    "agent_name": "writer",
    "prompt": "Write it down.",
    "event": "session.stopped",
}


async def _deploy(r: AghRig, **members: Any) -> Trigger:
    return await r.agh.triggers.create(**{**_DEPLOY, **members})


async def _call(agh: Agh, verb: str) -> Any:
    match verb:
        case "list":
            return await agh.triggers.list()
        case "create":
            return await agh.triggers.create(**_DEPLOY)
        case "update":
            return await agh.triggers.update("trg-1", enabled=True)
        case "runs":
            return await anext(agh.triggers.runs("trg-1"))
        case _:
            return await getattr(agh.triggers, verb)("trg-1")


# Round trips


async def test_trigger_from_creation_to_deletion() -> None:
    """A trigger is created, read, listed, changed and deleted."""
    async with agh_rig() as r:
        made = await _deploy(r, retry=Retry.backoff(1, 2), fire_limit=FireLimit(4, "1h"))
        assert made.id.startswith("trg-")
        assert (made.name, made.source, made.enabled) == ("deploy-review", "dynamic", True)
        assert (made.event, made.filter) == ("webhook", {"data.action": "deploy"})
        assert (made.retry, made.fire_limit) == (Retry.backoff(1, "2s"), FireLimit(4, "1h"))
        assert made.webhook_secret_present
        assert made.endpoint == f"deploy--{made.webhook_id}"
        assert await r.agh.triggers.get(made.id) == made
        assert await r.agh.triggers.list() == [made]
        changed = await r.agh.triggers.update(made.id, name="review", enabled=False)
        assert (changed.name, changed.enabled, changed.filter) == ("review", False, made.filter)
        await r.agh.triggers.delete(made.id)
        with pytest.raises(NotFound):
            await r.agh.triggers.get(made.id)
        assert await r.agh.triggers.list() == []


async def test_what_goes_over_the_wire() -> None:
    """Requests go to the paths of the vendor's page, as JSON; the secret goes in the body alone."""
    async with agh_rig() as r:
        trigger = await _deploy(r, webhook_secret_value=Secret(SECRET), webhook_id="wbh_mine")
        await r.agh.triggers.get(trigger.id)
        await r.agh.triggers.update(trigger.id, webhook_secret_value=Secret("new"), filter={})
        await r.agh.triggers.list(event="webhook", source="dynamic", limit=3)
        [run async for run in r.agh.triggers.runs(trigger.id)]
        await r.agh.triggers.delete(trigger.id)
        base = "http://127.0.0.1:2123/api/automation/triggers"
        assert [(each.call, each.method, each.url) for each in r.send.sent] == [
            ("triggers.create", "POST", base),
            ("triggers.get", "GET", f"{base}/{trigger.id}"),
            ("triggers.update", "PATCH", f"{base}/{trigger.id}"),
            ("triggers.list", "GET", f"{base}?source=dynamic&event=webhook&limit=3"),
            ("triggers.runs", "GET", f"{base}/{trigger.id}/runs?limit=200"),
            ("triggers.delete", "DELETE", f"{base}/{trigger.id}"),
        ]
        created, _, updated, *_ = r.send.sent
        assert json.loads(created.body or b"") == {**_DEPLOY, "webhook_id": "wbh_mine"}
        assert json.loads(updated.body or b"") == {"webhook_secret_value": "new", "filter": {}}
        assert SECRET not in repr(r.send.sent)


async def test_trigger_of_another_event() -> None:
    """A trigger of another event has no webhook; towards one it needs slug and secret, and away it loses them."""
    async with agh_rig() as r:
        made = await r.agh.triggers.create(**_STOPPED)
        assert (made.endpoint, made.webhook_id, made.webhook_secret_present) == ("", "", False)
        hooked = await r.agh.triggers.update(
            made.id, event="webhook", endpoint_slug="stop", webhook_secret_value=SECRET
        )
        assert hooked.webhook_secret_present
        assert hooked.endpoint == f"stop--{hooked.webhook_id}"
        back = await r.agh.triggers.update(made.id, event="session.created")
        assert (back.event, back.endpoint, back.webhook_secret_present) == ("session.created", "", False)


async def test_filters_are_replaced_whole() -> None:
    """A filter is left alone, replaced whole, or cleared."""
    async with agh_rig() as r:
        made = await _deploy(r, filter={"data.a": "1", "data.b": "2"})
        assert (await r.agh.triggers.update(made.id, name="x")).filter == {"data.a": "1", "data.b": "2"}
        assert (await r.agh.triggers.update(made.id, filter={"kind": "webhook"})).filter == {
            "kind": "webhook"
        }
        assert (await r.agh.triggers.update(made.id, filter={})).filter == {}


async def test_secrets_are_replaced() -> None:
    """A new secret counts at once, the old one no more; the hash of its name stays the same."""
    async with agh_rig() as r:
        made = await _deploy(r, filter={}, prompt="Go.")
        changed = await r.agh.triggers.update(made.id, webhook_secret_value="another")
        assert changed.webhook_secret_hash == made.webhook_secret_hash != ""
        with pytest.raises(AgentsError):
            await r.done(r.agh.webhooks.deliver(made.endpoint, {}, secret=SECRET))
        delivery = await r.done(r.agh.webhooks.deliver(made.endpoint, {}, secret="another"))
        assert delivery.matched == 1


async def test_lists_are_filtered() -> None:
    """Lists are by name, and can be filtered by event, scope, workspace and source."""
    async with agh_rig() as r:
        await _deploy(r, name="bravo")
        await r.agh.triggers.create(**{**_STOPPED, "name": "alpha"})
        await r.agh.triggers.create(**{**_STOPPED, "scope": "workspace", "workspace_id": "ws-1"})
        r.fake.install_trigger({**GLOBAL, "name": "zulu", "event": "ext.x"}, source="config")
        triggers = r.agh.triggers
        assert [each.name for each in await triggers.list()] == ["after-session", "alpha", "bravo", "zulu"]
        assert [each.name for each in await triggers.list(event="webhook")] == ["bravo"]
        assert [each.name for each in await triggers.list(workspace_id="ws-1")] == ["after-session"]
        assert [each.name for each in await triggers.list(scope="global", limit=1)] == ["alpha"]
        assert [each.name for each in await triggers.list(source="config")] == ["zulu"]
        for asked in ({"event": " "}, {"limit": -1}, {"scope": "all"}):
            with pytest.raises(ValueError, match=next(iter(asked))):
                await triggers.list(**asked)


# Refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"webhook_secret_value": None}, "webhook_secret_value: "),
        ({"endpoint_slug": ""}, "endpoint_slug: "),
        ({"event": "session.stopped"}, "endpoint_slug: has to be left out"),
        ({"prompt": "{{ .Branch }}"}, "prompt: the template asks for"),
        ({"filter": {"branch": "main"}}, r"filter\[branch\]: "),
        ({"webhook_id": "mine"}, "webhook_id: "),
    ],
)
async def test_creations_that_are_not_sent(change: Any, words: str) -> None:
    """What the server would refuse is refused without a request."""
    async with agh_rig() as r:
        with pytest.raises(ValueError, match=f"^{words}"):
            await _deploy(r, **change)
        assert r.send.sent == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "there is nothing to change"),
        ({"filter": None}, "filter: the server ignores null"),
        ({"prompt": "{{ end }}"}, "prompt: "),
        ({"event": "ext.x", "webhook_secret_value": "s"}, "webhook_secret_value: has to be left out"),
        ({"webhook_secret_value": " "}, "webhook_secret_value: "),
        ({"scope": "global"}, "scope: cannot be changed"),
    ],
)
async def test_changes_that_are_not_sent(changes: Any, words: str) -> None:
    """What the server would answer with a masked 500 is refused without a request."""
    async with agh_rig() as r:
        with pytest.raises(ValueError, match=f"^{words}"):
            await r.agh.triggers.update("trg-1", **changes)
        assert r.send.sent == []


@pytest.mark.parametrize("trigger_id", ["", "..", None])
async def test_ids_that_are_not_sent(trigger_id: Any) -> None:
    """What cannot be an id is refused under the argument's name."""
    async with agh_rig() as r:
        for verb in (r.agh.triggers.get, r.agh.triggers.delete):
            with pytest.raises((ValueError, TypeError), match=r"^trigger_id"):
                await verb(trigger_id)
        with pytest.raises((ValueError, TypeError), match=r"^trigger_id"):
            r.agh.triggers.runs(trigger_id)
        assert r.send.sent == []


async def test_triggers_that_belong_to_others() -> None:
    """A trigger from the configuration takes `enabled` alone, one from a package nothing."""
    async with agh_rig() as r:
        body = {**GLOBAL, "name": "kept", "event": "ext.x"}
        config, package = (r.fake.install_trigger(body, source=source) for source in ("config", "package"))
        triggers = r.agh.triggers
        assert not (await triggers.update(config, enabled=False)).enabled
        for work in (triggers.update(config, name="mine"), triggers.delete(config)):
            with pytest.raises(BadRequest):
                await work
        for work in (triggers.update(package, enabled=False), triggers.delete(package)):
            with pytest.raises(Conflict) as caught:
                await work
            assert caught.value.reason == "read-only"


async def test_webhook_id_that_is_taken() -> None:
    """A webhook id that another trigger has is a conflict whose reason says so."""
    async with agh_rig() as r:
        await _deploy(r, webhook_id="wbh_mine")
        with pytest.raises(Conflict) as caught:
            await _deploy(r, name="other", webhook_id="wbh_mine")
        assert (caught.value.reason, caught.value.limit) == ("webhook-id", None)


async def test_name_that_is_taken() -> None:
    """Where names are unique, a second one is a conflict."""
    async with agh_rig(rules=AghRules(unique_names=True)) as r:
        await _deploy(r)
        with pytest.raises(Conflict) as caught:
            await _deploy(r)
        assert caught.value.reason == "name"


async def test_change_that_contradicts_what_stays() -> None:
    """A change that makes no sense beside what stays is answered with 500, after all tries."""
    async with agh_rig(retry=RetryPolicy(attempts=2)) as r:
        made = await r.agh.triggers.create(**_STOPPED)
        with pytest.raises(ServerError) as caught:
            await r.done(r.agh.triggers.update(made.id, endpoint_slug="stop"))
        assert (caught.value.status, caught.value.tries) == (500, 2)


async def test_unknown_trigger() -> None:
    """A trigger that is not there is NotFound by every verb."""
    async with agh_rig() as r:
        for verb in ("get", "update", "delete", "runs"):
            with pytest.raises(NotFound):
                await _call(r.agh, verb)


@pytest.mark.parametrize("verb", ["list", "create", "get", "update", "delete", "runs"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (413, BadRequest),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_every_status_is_its_error(verb: str, status: int, kind: type[AgentsError]) -> None:
    """Each status of the vendor's tables raises the error of that name from every verb."""
    async with agh_rig(retry=RetryPolicy(attempts=1)) as r:
        r.answer(f"triggers.{verb}", Reply(status, {}, b'{"error": "no"}'))
        if (verb, status) == ("create", 500):
            kind = StartUnknown
        with pytest.raises(kind) as caught:
            await _call(r.agh, verb)
        assert caught.value.status == status


# Lost answers


async def test_creation_whose_answer_is_lost() -> None:
    """A creation whose answer is lost is not sent again; the error holds what was sent but for the secret."""
    async with agh_rig() as r:
        r.lose("triggers.create", lambda: ReplyLost("cut", call="triggers.create"))
        with pytest.raises(StartUnknown, match=r"whether triggers\.create created a trigger") as caught:
            await r.done(_deploy(r))
        error = caught.value
        assert (error.target, error.call) == ("deploy-review", "triggers.create")
        assert json.loads(error.body or b"") == {
            name: value for name, value in _DEPLOY.items() if name != "webhook_secret_value"
        }
        assert SECRET.encode() not in pickle.dumps(error)
        assert len(await r.agh.triggers.list()) == len(r.calls("triggers.create")) == 1


async def test_secret_of_an_abandoned_creation() -> None:
    """The event of an abandoned creation is without the secret, too."""
    async with agh_rig() as r:
        out = asyncio.Event()

        def let_go(_: Request) -> None:
            out.set()

        r.send.before = let_go
        r.lose("triggers.create", lambda: ReplyLost("cut", call="triggers.create"))
        task = asyncio.ensure_future(_deploy(r))
        await out.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()
        (body,) = r.events_of(StartAbandoned)
        assert isinstance(body.error, StartUnknown)
        assert SECRET.encode() not in pickle.dumps(body.error)
        assert (body.error.body or b"").startswith(b"{")


@pytest.mark.parametrize("secret", [SECRET, Secret(SECRET)])
async def test_secrets_show_nowhere(secret: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A secret shows in no repr, no error, no event and no log line, whatever becomes of the call."""
    caplog.set_level(logging.DEBUG)
    async with agh_rig(retry=RetryPolicy(attempts=2)) as r:
        shown: list[Any] = [await _deploy(r, webhook_secret_value=secret)]
        shown.append(await r.agh.triggers.update(shown[0].id, webhook_secret_value=secret))
        for verb, fault in (
            ("create", Reply(400, {}, b'{"error": "no"}')),
            ("create", ReplyLost("cut")),
            ("update", Reply(500)),
        ):
            r.answer(f"triggers.{verb}", fault, fault)
            work = (
                _deploy(r, webhook_secret_value=secret)
                if verb == "create"
                else r.agh.triggers.update(shown[0].id, webhook_secret_value=secret)
            )
            with pytest.raises(AgentsError) as caught:
                await r.done(work)
            shown += [caught.value, vars(caught.value)]
        assert SECRET not in f"{shown!r} {[str(each) for each in shown]} {r.events!r} {caplog.text}"


async def test_deletion_that_was_done_by_an_earlier_try() -> None:
    """When the answer to a deletion is lost, the 404 of the next try means that it is done."""
    async with agh_rig() as r:
        made = await _deploy(r)
        faults = [ReplyLost("cut", call="triggers.delete")]

        def after(request: Request, reply: Reply) -> Reply:
            if request.call == "triggers.delete" and faults:
                raise faults.pop()
            return reply

        r.send.after = after
        await r.done(r.agh.triggers.delete(made.id))
        assert len(r.calls("triggers.delete")) == 2
