"""The fake Agent Platform: keys, refusals, counters, and randomness from the seed."""

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
    FakeClient,
    execute_body,
    fake_client,
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
    """The table of calls names every route of the fake but the download, which is signed."""
    known = {(method, path) for method, path in _APP_CALLS}
    known |= {(method, PUBLIC + path) for method, path in _ACCOUNT_CALLS}
    assert len(known) == len(FakeAgentPlatform().routes) - 1


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": ""}, {"x-api-key": "other"}, {"authorization": "demo-app-key"}, TOOLS_KEY]
)
@pytest.mark.parametrize(("method", "path"), _APP_CALLS)
def test_the_apps_calls_need_the_apps_key(method: str, path: str, headers: Mapping[str, str]) -> None:
    """Each call of the app returns 401 without the app's key, also with the account's."""
    client = fake_client()
    assert client.reply(method, path, {}, headers=headers).status == 401
    assert client.count("refused_401") == 1


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "other"}, APP_KEY])
@pytest.mark.parametrize(("method", "path"), _ACCOUNT_CALLS)
def test_the_accounts_calls_need_the_accounts_key(method: str, path: str, headers: Mapping[str, str]) -> None:
    """Each call of the account returns 401 without the tools' key, also with the app's."""
    assert fake_client().reply(method, PUBLIC + path, {}, headers=headers).status == 401


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
def test_the_header_of_the_key_is_configurable(header: str, prefix: str, sent: str) -> None:
    """The key is accepted only in the configured header after its prefix, which the variables have as well."""
    client = fake_client(key_header=header, key_prefix=prefix)
    assert (
        client.reply("POST", _EXECUTE, execute_body("at once"), headers={header.lower(): sent}).status == 200
    )
    assert client.reply("POST", _EXECUTE, execute_body("at once"), headers=APP_KEY).status == 401
    answer = client.fake.environment("http://127.0.0.1:1")
    assert answer.get("AGENT_PLATFORM_KEY_HEADER", "x-api-key") == header
    assert answer.get("AGENT_PLATFORM_KEY_PREFIX", "") == prefix
    assert client.account("GET", "/connections").status == 200


def test_the_header_of_the_tools_key_is_configurable() -> None:
    """The header of the tools' key is configured separately."""
    client = fake_client(tools_key_header="Authorization", tools_key_prefix="Bearer")
    good = {"authorization": "Bearer demo-tools-key"}
    assert client.reply("GET", f"{PUBLIC}/connections", headers=good).status == 200
    assert client.account("GET", "/connections").status == 401


def test_keys_are_of_one_app_and_environments_exact() -> None:
    """The path of another app is forbidden, and an environment matches only by its exact name."""
    client = fake_client()
    wrong_app, wrong_environment = APP.replace("aa-demo", "aa-2"), APP.replace("draft", "Draft")
    assert client.reply("POST", f"{wrong_app}/runs/execute", execute_body()).status == 403
    assert client.reply("POST", f"{wrong_environment}/runs/execute", execute_body()).status == 404
    assert client.reply("GET", f"{PUBLIC}/apps/aa-2/sessions?session_id=s").status == 403
    assert (client.count("refused_403"), client.count("refused_404"), client.count("starts")) == (2, 1, 0)


def test_undocumented_errors_have_every_form() -> None:
    """Refusals share only their status: the bodies are three kinds of JSON, text, or empty."""
    client = fake_client(errors=ERROR_FORMS)
    replies = [client.reply("GET", f"{APP}/sessions?sessionId=s-1") for _ in ERROR_FORMS]
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
def test_the_form_of_errors_is_configurable(form: str, body: dict[str, Any]) -> None:
    """Rules can fix the form of refusals and their status."""
    reply = fake_client(errors=(form,)).reply("GET", f"{APP}/sessions?sessionId=s-1")
    assert decode_json(reply.body) == body
    assert fake_client(unknown_status=410).reply("GET", f"{APP}/sessions?sessionId=s-1").status == 410
    assert fake_client(wrong_key_status=403).reply("POST", _EXECUTE, execute_body(), headers={}).status == 403


def test_variables_for_clients() -> None:
    """The variables have both base URLs, both keys, the app and its environment; they work."""
    fake = FakeAgentPlatform(app_id="aa 1", environment="prod", app_key="k1", tools_key="k2")
    assert fake.environment("http://127.0.0.1:9") == {
        "AGENT_PLATFORM_BASE_URL": "http://127.0.0.1:9/api/v2",
        "AGENT_PLATFORM_TOOLS_URL": "http://127.0.0.1:9/api/public",
        "AGENT_PLATFORM_APP_ID": "aa 1",
        "AGENT_PLATFORM_ENVIRONMENT": "prod",
        "AGENT_PLATFORM_APP_KEY": "k1",
        "AGENT_PLATFORM_TOOLS_KEY": "k2",
    }
    client = FakeClient(fake)
    path = "/api/v2/apps/aa%201/environments/prod/runs/execute"
    assert isinstance(client.ask("POST", path, execute_body(), headers={"x-api-key": "k1"}), DelayedReply)


def test_the_simulator_can_serve_the_fake() -> None:
    """The fake is an announcer that is made from a plan alone, and has no tokens that could be revoked."""
    fake: FakeServer = make_fake(RunPlan(seed=7))
    assert isinstance(fake, SendsWebhooks)
    assert fake.vendor == "agent-platform"
    assert fake.revoke("Bearer x") is False
    counts = fake.statistics()
    assert set(counts.values()) == {0}
    assert {"token_requests", "starts", "polls", "streams", "chunks", "uploads", "sessions"} <= set(counts)


def _conversation(seed: int, *, quirks: bool = True) -> list[bytes]:
    client = fake_client(plan={"seed": seed}, scripts={}, quirks=quirks)
    bodies = []
    for number in range(4):
        reply = client.execute(f"text {number}", isAsync=True)
        assert isinstance(reply, Reply)
        bodies.append(reply.body)
        bodies.append(client.reply("POST", f"{APP}/runs/{read(reply)['runId']}/status", {}, now=12.0).body)
        bodies.append(client.account("POST", "/tools/a-1/export").body)
        bodies.append(client.account("POST", "/apps/createApp", {}).body)
    return bodies


def test_all_randomness_comes_from_the_seed() -> None:
    """Fakes of one seed answer the same calls byte by byte alike, those of different seeds do not."""
    assert _conversation(1) == _conversation(1)
    assert _conversation(1) != _conversation(2)


def test_quirks_can_be_left_out() -> None:
    """Without quirks every spelling is the same, whatever the seed."""
    client = fake_client(plan={"seed": 5}, quirks=False)
    run = client.start("endless")
    assert {client.poll(run)["status"] for _ in range(4)} == {"Running"}
    assert [client.start("endless", now=1.0) != run, client.count("polls")] == [True, 4]
    keys = [tuple(decode_json(client.account("POST", "/models/cm-1/export").body)) for _ in range(3)]
    assert {key[0] for key in keys} == {"_id"}


def test_an_empty_script_is_refused() -> None:
    """A script without steps is refused."""
    with pytest.raises(ValueError, match="'x' has no steps"):
        fake_client(scripts={"x": ()})


def test_dates_begin_at_the_epoch() -> None:
    """Dates begin at the plan's epoch, in UTC, to the millisecond."""
    epoch = datetime(2026, 3, 1, 12, tzinfo=UTC)
    client = FakeClient(FakeAgentPlatform(RunPlan(epoch=epoch, scripts={"x": (Step("running"),)})))
    record = client.poll(client.start("x", now=1.5), now=61.25)
    assert (record["createdAt"], record["updatedAt"]) == (
        "2026-03-01T12:00:01.500Z",
        "2026-03-01T12:00:01.500Z",
    )


def test_ends_are_known_beforehand() -> None:
    """The end of a run or job is known from its start; None means never, or an unknown id."""
    client = fake_client(
        scripts={"good": (Step("running", 5), Step("success")), "endless": (Step("running"),)}
    )
    assert client.fake.ended_at(client.start("good", now=2.0)) == 7.0
    assert client.fake.ended_at(client.start("endless")) is None
    assert client.fake.ended_at("r-none") is None
    rules = AgentPlatformRules(quirks=False, ended_at_start=0.0)
    drawn = FakeClient(FakeAgentPlatform(RunPlan(median=10.0, spread=0.0), rules=rules))
    job = read(drawn.account("POST", "/tools/a-1/undeploy"))["dockStatusId"]
    assert drawn.fake.ended_at(job) == 10.0
