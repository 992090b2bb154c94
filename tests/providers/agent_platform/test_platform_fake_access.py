"""The fake Agent Platform: who is let in, how it refuses, what it counts, that its chance is seeded."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from aioagents.codec import decode_json
from aioagents.contract.fake import DelayedReply, FakeServer, RunPlan, SendsWebhooks, Step
from aioagents.model import Reply
from aioagents.providers.agent_platform.fake import (
    ERROR_FORMS,
    AgentPlatformRules,
    FakeAgentPlatform,
    make_fake,
)
from tests.providers.agent_platform.platform_fake_rig import (
    APP,
    APP_KEY,
    LATER,
    PUBLIC,
    TOOLS_KEY,
    PlatformAsker,
    asker,
    order,
    read,
)

_EXECUTE = f"{APP}/runs/execute"
_APP_CALLS = [
    ("POST", f"{APP}/sessions"),
    ("GET", f"{APP}/sessions"),
    ("POST", f"{APP}/sessions/list"),
    ("GET", f"{LATER}/sessions/list"),
    ("POST", f"{APP}/sessions/terminate"),
    ("POST", _EXECUTE),
    ("POST", f"{APP}/runs/r-1/status"),
    ("POST", f"{APP}/attachments/upload"),
    ("DELETE", f"{APP}/attachments/f-1"),
    ("POST", f"{PUBLIC}/apps/aa-demo/sessions/list"),
    ("GET", f"{PUBLIC}/apps/aa-demo/sessions"),
]
_ACCOUNT_CALLS = [
    ("POST", "/apps/createApp"),
    ("POST", "/files"),
    ("POST", "/files/session/start"),
    ("POST", "/files/session/u"),
    ("POST", "/files/session/u/complete"),
    ("GET", "/dock-status/ds-1"),
    ("POST", "/tools/import"),
    ("POST", "/tools/a-1/import"),
    ("POST", "/tools/a-1/export"),
    ("POST", "/tools/a-1/deploy"),
    ("POST", "/tools/a-1/undeploy"),
    ("POST", "/models/cm-1/export"),
    ("POST", "/models/cm-1/deploy"),
    ("POST", "/models/cm-1/undeploy"),
    ("POST", "/guardrails/deploy"),
    ("POST", "/guardrails/undeploy"),
    ("GET", "/connections"),
    ("POST", "/connections"),
    ("GET", "/connections/cn-1"),
    ("PATCH", "/connections/cn-1"),
]


def test_every_endpoint_is_known_here() -> None:
    """The table of calls names every route of the world but the download, which is signed."""
    known = {(method, path) for method, path in _APP_CALLS}
    known |= {(method, PUBLIC + path) for method, path in _ACCOUNT_CALLS}
    assert len(known) == len(FakeAgentPlatform().routes) - 1


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": ""}, {"x-api-key": "other"}, {"authorization": "demo-app-key"}, TOOLS_KEY]
)
@pytest.mark.parametrize(("method", "path"), _APP_CALLS)
def test_the_apps_calls_want_the_apps_key(method: str, path: str, headers: Mapping[str, str]) -> None:
    """Without the app's key, the account's included, each call of the app is 401."""
    a = asker()
    assert a.reply(method, path, {}, headers=headers).status == 401
    assert a.count("refused_401") == 1


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "other"}, APP_KEY])
@pytest.mark.parametrize(("method", "path"), _ACCOUNT_CALLS)
def test_the_accounts_calls_want_the_accounts_key(method: str, path: str, headers: Mapping[str, str]) -> None:
    """Without the tools' key, the app's included, each call of the account is 401."""
    assert asker().reply(method, PUBLIC + path, {}, headers=headers).status == 401


@pytest.mark.parametrize(
    ("header", "prefix", "sent"),
    [
        ("Authorization", "", "demo-app-key"),
        ("Authorization", "Bearer", "Bearer demo-app-key"),
        ("Authorization", "Bearer ", "Bearer demo-app-key"),
        ("apikey", "", "demo-app-key"),
        ("x-api-key", "key=", "key=demo-app-key"),
    ],
)
def test_the_keys_header_is_chosen(header: str, prefix: str, sent: str) -> None:
    """Under another header, or behind a prefix, the key is taken there alone, and clients are told so."""
    a = asker(key_header=header, key_prefix=prefix)
    assert a.reply("POST", _EXECUTE, order("at once"), headers={header.lower(): sent}).status == 200
    assert a.reply("POST", _EXECUTE, order("at once"), headers=APP_KEY).status == 401
    told = a.fake.environment("http://127.0.0.1:1")
    assert told.get("AGENT_PLATFORM_KEY_HEADER", "x-api-key") == header
    assert told.get("AGENT_PLATFORM_KEY_PREFIX", "") == prefix
    assert a.account("GET", "/connections").status == 200


def test_the_tools_keys_header_is_chosen_apart() -> None:
    """The header of the tools' key is a choice of its own."""
    a = asker(tools_key_header="Authorization", tools_key_prefix="Bearer")
    good = {"authorization": "Bearer demo-tools-key"}
    assert a.reply("GET", f"{PUBLIC}/connections", headers=good).status == 200
    assert a.account("GET", "/connections").status == 401


def test_keys_are_of_one_app_and_environments_exact() -> None:
    """Another app's path is forbidden to the key, and an environment is found by its exact name alone."""
    a = asker()
    wrong_app, wrong_place = APP.replace("aa-demo", "aa-2"), APP.replace("draft", "Draft")
    assert a.reply("POST", f"{wrong_app}/runs/execute", order()).status == 403
    assert a.reply("POST", f"{wrong_place}/runs/execute", order()).status == 404
    assert a.reply("GET", f"{PUBLIC}/apps/aa-2/sessions?session_id=s").status == 403
    assert (a.count("refused_403"), a.count("refused_404"), a.count("starts")) == (2, 1, 0)


def test_undocumented_errors_come_in_every_form() -> None:
    """A status is what refusals have in common: their bodies are three kinds of JSON, text, or nothing."""
    a = asker()
    replies = [a.reply("GET", f"{APP}/sessions?sessionId=s-1") for _ in ERROR_FORMS]
    assert {reply.status for reply in replies} == {404}
    bodies = [reply.body for reply in replies]
    assert b"" in bodies
    assert b"session not found" in bodies
    objects = [decode_json(body) for body in bodies if body.startswith(b"{")]
    assert {tuple(body) for body in objects} == {("message", "statusCode"), ("error",), ("errors",)}


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("message", {"message": "session not found", "statusCode": 404}),
        ("error", {"error": {"code": 404, "message": "session not found"}}),
        ("errors", {"errors": [{"msg": "session not found", "code": 404}]}),
    ],
)
def test_the_form_of_errors_is_chosen(form: str, body: dict[str, Any]) -> None:
    """Rules can say in which form alone it refuses, and with which status."""
    reply = asker(errors=(form,)).reply("GET", f"{APP}/sessions?sessionId=s-1")
    assert decode_json(reply.body) == body
    assert asker(unknown_status=410).reply("GET", f"{APP}/sessions?sessionId=s-1").status == 410
    assert asker(wrong_key_status=403).reply("POST", _EXECUTE, order(), headers={}).status == 403


def test_what_a_client_needs_is_told() -> None:
    """The environment has both bases, both keys, the app and its environment; that lets a client in."""
    fake = FakeAgentPlatform(app_id="aa 1", environment="prod", app_key="k1", tools_key="k2")
    assert fake.environment("http://127.0.0.1:9") == {
        "AGENT_PLATFORM_BASE_URL": "http://127.0.0.1:9/api/v2",
        "AGENT_PLATFORM_TOOLS_URL": "http://127.0.0.1:9/api/public",
        "AGENT_PLATFORM_APP_ID": "aa 1",
        "AGENT_PLATFORM_ENVIRONMENT": "prod",
        "AGENT_PLATFORM_APP_KEY": "k1",
        "AGENT_PLATFORM_TOOLS_KEY": "k2",
    }
    a = PlatformAsker(fake)
    path = "/api/v2/apps/aa%201/environments/prod/runs/execute"
    assert isinstance(a.ask("POST", path, order(), headers={"x-api-key": "k1"}), DelayedReply)


def test_the_world_is_what_simulators_serve() -> None:
    """It is a world that announces, made of a plan alone, without tokens that could be revoked."""
    fake: FakeServer = make_fake(RunPlan(seed=7))
    assert isinstance(fake, SendsWebhooks)
    assert fake.vendor == "agent-platform"
    assert fake.revoke("Bearer x") is False
    counts = fake.statistics()
    assert set(counts.values()) == {0}
    assert {"token_requests", "starts", "polls", "streams", "chunks", "uploads", "sessions"} <= set(counts)


def _conversation(seed: int, *, quirks: bool = True) -> list[bytes]:
    a = asker(plan={"seed": seed}, scripts={}, quirks=quirks)
    bodies = []
    for number in range(4):
        reply = a.execute(f"text {number}", isAsync=True)
        assert isinstance(reply, Reply)
        bodies.append(reply.body)
        bodies.append(a.reply("POST", f"{APP}/runs/{read(reply)['runId']}/status", {}, now=12.0).body)
        bodies.append(a.account("POST", "/tools/a-1/export").body)
        bodies.append(a.account("POST", "/apps/createApp", {}).body)
    return bodies


def test_all_chance_is_the_seeds() -> None:
    """The same calls to worlds of one seed are answered alike, byte by byte; of another seed they are not."""
    assert _conversation(1) == _conversation(1)
    assert _conversation(1) != _conversation(2)


def test_quirks_can_be_left_out() -> None:
    """Without quirks each thing is always spelled in one way, whatever the seed."""
    a = asker(plan={"seed": 5}, quirks=False)
    run = a.start("endless")
    assert {a.poll(run)["status"] for _ in range(4)} == {"Running"}
    assert [a.start("endless", now=1.0) != run, a.count("polls")] == [True, 4]
    keys = [tuple(decode_json(a.account("POST", "/models/cm-1/export").body)) for _ in range(3)]
    assert {key[0] for key in keys} == {"_id"}


def test_an_empty_script_is_refused() -> None:
    """A script without steps makes no world."""
    with pytest.raises(ValueError, match="'x' has no steps"):
        asker(scripts={"x": ()})


def test_dates_are_the_worlds() -> None:
    """Dates are of the plan's epoch and later, in UTC, to the millisecond."""
    epoch = datetime(2026, 3, 1, 12, tzinfo=UTC)
    a = PlatformAsker(FakeAgentPlatform(RunPlan(epoch=epoch, scripts={"x": (Step("running"),)})))
    record = a.poll(a.start("x", now=1.5), now=61.25)
    assert (record["createdAt"], record["updatedAt"]) == (
        "2026-03-01T12:00:01.500Z",
        "2026-03-01T12:00:01.500Z",
    )


def test_ends_are_known_beforehand() -> None:
    """When a run or job ends is known from its start on; None stands for never, and for what is unknown."""
    a = asker(scripts={"good": (Step("running", 5), Step("success")), "endless": (Step("running"),)})
    assert a.fake.ended_at(a.start("good", now=2.0)) == 7.0
    assert a.fake.ended_at(a.start("endless")) is None
    assert a.fake.ended_at("r-none") is None
    rules = AgentPlatformRules(quirks=False, at_once=0.0)
    drawn = PlatformAsker(FakeAgentPlatform(RunPlan(median=10.0, spread=0.0), rules=rules))
    job = read(drawn.account("POST", "/tools/a-1/undeploy"))["dockStatusId"]
    assert drawn.fake.ended_at(job) == 10.0
