"""Connections to other companies' models: each provider's rules, secrets that are never shown, failures."""

from typing import Any

import pytest

from aioagents import BadRequest, DecodeError, NotFound, ReplyLost, Secret, StartUnknown
from aioagents.codec import decode_json
from aioagents.model import Purpose, Reply
from aioagents.providers.agent_platform import Connection, ModelProvider
from tests.polling.rig import begin, reply
from tests.providers.agent_platform.platform_rig import TOOLS_URL, PlatformRig, platform_rig, sample

_KEY = "sk-demo-secret-AA"
_AZURE: dict[str, Any] = {
    "API_KEY": Secret(_KEY),
    "api_version": "2026-01-01",
    "your_resource_name": "demo",
    "deployment_id": "gpt",
}
_OWN: dict[str, Any] = {
    "endpointUrl": "https://llm.example.com/v1",
    "headers": [{"key": "Authorization", "value": _KEY}],
    "status": "FINALIZED",
    "isEnable": True,
    "payload": {"prompt": "{{prompt}}"},
    "outputPath": "text",
    "inputTokensPath": "in",
    "outputTokensPath": "out",
}


async def _open_ai(r: PlatformRig, name: str = "GPT") -> Connection:
    return await r.platform.connections.create(
        provider="Open AI", name=name, model="gpt-4o", fields={"API_KEY": _KEY}
    )


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (
            {"provider": "Open AI", "model": "gpt-4o", "fields": {"API_KEY": _KEY}},
            {"provider": "Open AI", "model": "gpt-4o", "fields": {"API_KEY": _KEY}},
        ),
        (
            {"provider": ModelProvider.ANTHROPIC, "model": "claude", "fields": {"API_KEY": Secret(_KEY)}},
            {
                "provider": "Anthropic",
                "model": "claude",
                "modelType": "EASY_INTEGRATION",
                "fields": {"API_KEY": _KEY},
            },
        ),
        (
            {
                "provider": "Azure Open AI",
                "model": "gpt",
                "model_type": "EASY_INTEGRATION",
                "fields": _AZURE,
            },
            {
                "provider": "Azure Open AI",
                "model": "gpt",
                "modelType": "EASY_INTEGRATION",
                "fields": {**_AZURE, "API_KEY": _KEY},
            },
        ),
        (
            {"provider": "API", "fields": {"BASE_URL": "https://x", "API_KEY": _KEY, "MODEL_NAME": "m"}},
            {"provider": "API", "fields": {"BASE_URL": "https://x", "API_KEY": _KEY, "MODEL_NAME": "m"}},
        ),
        ({"provider": "API", "model": "m", "settings": _OWN}, {"provider": "API", "model": "m", **_OWN}),
    ],
)
async def test_each_provider(options: dict[str, Any], sent: dict[str, Any]) -> None:
    """A connection is created by its provider's rules; the answer shows no secret."""
    async with platform_rig() as r:
        made = await r.platform.connections.create(name="Mine", **options)
        assert (r.last.method, r.last.url, r.last.purpose) == (
            "POST",
            f"{TOOLS_URL}/connections",
            Purpose.START,
        )
        assert r.body == {"connectionName": "Mine", **sent}
        assert (made.name, made.provider, made.status) == ("Mine", sent["provider"], "ACTIVE")
        assert made.created_at is not None
        assert made.modified_at is None
        assert _KEY not in f"{made!r} {made.raw}"


async def test_list_and_get() -> None:
    """Connections are listed by provider and status, without fields, and read one by one with fields."""
    async with platform_rig() as r:
        made = [await _open_ai(r, f"GPT {n}") for n in range(3)]
        await r.platform.connections.create(
            provider="Azure Open AI", name="Azure", model="gpt", fields=_AZURE
        )
        found = await r.platform.connections.list(provider=ModelProvider.OPEN_AI, status="ACTIVE", limit=2)
        assert r.last.url == f"{TOOLS_URL}/connections?provider=Open%20AI&status=ACTIVE&limit=2"
        assert [each.connection_id for each in found] == [each.connection_id for each in made[:2]]
        assert [dict(each.fields) for each in found] == [{}, {}]
        assert len(await r.platform.connections.list()) == 4
        assert r.last.url == f"{TOOLS_URL}/connections"
        one = await r.platform.connections.get(made[0].connection_id)
        assert "*" in one.fields["API_KEY"]
        assert "*" not in repr(one)
        with pytest.raises(NotFound):
            await r.platform.connections.get("cn-none")
        r.answer("connections.list", sample("connections_list/200-one"))
        (sampled,) = await r.platform.connections.list()
        assert (sampled.connection_id, sampled.model, sampled.modified_at) == (
            "cn-demo",
            "gpt-4o",
            sampled.created_at,
        )


async def test_update() -> None:
    """Fields of a connection are changed, a call that is retried; those of `API` cannot be changed."""
    async with platform_rig() as r:
        made = await _open_ai(r)
        r.answer("connections.update", ReplyLost("lost"))
        waiter = await begin(
            r.platform.connections.update(made.connection_id, fields={"API_KEY": Secret("sk-demo-newer")})
        )
        await r.clock.advance(5)
        changed = await waiter
        assert (r.last.method, r.body) == ("PATCH", {"fields": {"API_KEY": "sk-demo-newer"}})
        assert (changed.created_at, changed.modified_at is None) == (None, False)
        own = await r.platform.connections.create(provider="API", name="Own", model="m", settings=_OWN)
        with pytest.raises(BadRequest):
            await r.platform.connections.update(own.connection_id, fields={"API_KEY": "x"})


@pytest.mark.parametrize("fault", [ReplyLost("lost"), Reply(500), reply(200, b"{}")], ids=str)
@pytest.mark.parametrize("is_own", [True, False])
async def test_connection_whose_answer_is_lost(fault: Any, is_own: bool) -> None:
    """After a lost answer of any kind no second connection is created, and the error holds no secret."""
    async with platform_rig() as r:
        r.answer("connections.create", fault)
        options: dict[str, Any] = {"provider": "Open AI", "fields": {"API_KEY": _KEY}}
        if is_own:
            options = {"provider": "API", "settings": _OWN}
        with pytest.raises(StartUnknown, match="created a connection") as caught:
            await r.platform.connections.create(name="Mine", model="m", **options)
        assert len(r.send.sent) == 1
        assert decode_json(caught.value.body or b"") == {
            "provider": options["provider"],
            "connectionName": "Mine",
            "model": "m",
        }
        assert _KEY not in f"{caught.value!r} {vars(caught.value)} {r.events}"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"provider": "OpenAI"}, ValueError, "Open AI, Anthropic, Azure Open AI, API"),
        ({"name": ""}, ValueError, "name"),
        ({"model": None}, ValueError, "model"),
        ({"model": " "}, ValueError, "model"),
        ({"model_type": ""}, ValueError, "model_type"),
        ({"fields": None}, ValueError, r"fields\.API_KEY"),
        ({"fields": {"api_key": _KEY}}, ValueError, r"fields\.API_KEY"),
        ({"fields": {"API_KEY": ""}}, ValueError, r"fields\.API_KEY"),
        ({"fields": {"API_KEY": Secret("")}}, ValueError, r"fields\.API_KEY"),
        ({"fields": {"API_KEY": 7}}, TypeError, r"fields\.API_KEY"),
        ({"fields": [_KEY]}, TypeError, "fields"),
        ({"settings": {"endpointUrl": "x"}}, ValueError, "settings"),
        ({"provider": "API", "settings": {"provider": "x"}}, ValueError, r"settings\.provider"),
        ({"provider": "API", "settings": {"model": "x"}}, ValueError, r"settings\.model"),
        ({"provider": "API", "settings": {"x": object()}}, TypeError, "settings"),
        ({"provider": "API", "fields": {"API_KEY": _KEY}}, ValueError, r"fields\.BASE_URL"),
        ({"provider": "API", "fields": None}, ValueError, r"fields\.BASE_URL"),
        *[
            ({"provider": "Azure Open AI", "fields": {**_AZURE, name: ""}}, ValueError, rf"fields\.{name}")
            for name in _AZURE
        ],
    ],
)
async def test_invalid_connections(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Connections against the provider's rules are refused by the member's name, without its value."""
    async with platform_rig() as r:
        given = {
            "provider": "Open AI",
            "name": "GPT",
            "model": "gpt-4o",
            "fields": {"API_KEY": _KEY},
            **options,
        }
        with pytest.raises(error, match=message) as caught:
            await r.platform.connections.create(**given)
        assert _KEY not in str(caught.value)
        assert r.send.sent == []


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda c: c.list(provider="OpenAI"), "provider"),
        (lambda c: c.list(status="active"), "ACTIVE, INACTIVE"),
        (lambda c: c.list(limit=0), "limit"),
        (lambda c: c.list(limit=True), "limit"),
        (lambda c: c.get(""), "connection_id"),
        (lambda c: c.update("cn-1", fields={}), r"fields\.API_KEY"),
    ],
)
async def test_invalid_arguments(work: Any, message: str) -> None:
    """Invalid arguments are refused before anything is sent."""
    async with platform_rig() as r:
        with pytest.raises(ValueError, match=message):
            await work(r.platform.connections)
        assert r.send.sent == []


@pytest.mark.parametrize(
    ("body", "path"), [(b"{}", "$.connections"), (b'{"connections": [{}]}', "$.connections[0].connectionId")]
)
async def test_lists_that_cannot_be_read(body: bytes, path: str) -> None:
    """The error for a list of the wrong shape has the path of the wrong member."""
    async with platform_rig() as r:
        r.answer("connections.list", reply(200, body))
        with pytest.raises(DecodeError) as caught:
            await r.platform.connections.list()
        assert caught.value.path == path
