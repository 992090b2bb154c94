"""The fake Agent Platform's apps, whose errors are documented, and its connections, whose secrets are masked."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from aioagents.codec import decode_json
from aioagents.model import Reply
from aioagents.providers.agent_platform.fake import APP_ERRORS
from tests.providers.agent_platform.platform_fake_rig import (
    APP_KEY,
    PUBLIC,
    TOOLS_KEY,
    FakeClient,
    fake_client,
    read,
)

_WHO: Final = {"accountid": "acc-1", "userid": "u-1"}
_APP: Final = {"name": "Calendar", "description": "Keeps dates."}
_ICON: Final = {"name": "logo10", "type": "logo", "color": "#b2CCFF"}


def _make(
    client: FakeClient, body: Any, headers: Mapping[str, str] = TOOLS_KEY, who: Mapping[str, str] = _WHO
) -> Reply:
    return client.reply("POST", f"{PUBLIC}/apps/createApp", body, headers={**headers, **who})


@pytest.mark.parametrize("icon", [None, _ICON])
def test_an_app_is_created(icon: Mapping[str, str] | None) -> None:
    """A new app is returned completely with 201, with an icon of the platform's if none was sent."""
    client = fake_client()
    reply = _make(client, _APP if icon is None else {**_APP, "appIcon": icon})
    assert reply.status == 201
    answer = read(reply)
    assert tuple(answer) == ("success", "data", "meta")
    data = answer["data"]
    assert (data["name"], data["status"], data["type"]) == ("Calendar", "IN_DEVELOPMENT", "Agentic")
    assert (data["accountId"], data["createdBy"]["id"]) == ("acc-1", "u-1")
    assert data["appIcon"]["type"] == "logo"
    assert icon in (None, data["appIcon"])
    assert client.count("apps") == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "VALIDATION_ERROR"),
        ([], 400, "VALIDATION_ERROR"),
        (b"{", 400, "VALIDATION_ERROR"),
        ({"name": "Calendar"}, 400, "VALIDATION_ERROR"),
        ({**_APP, "description": ""}, 400, "VALIDATION_ERROR"),
        ({**_APP, "name": 7}, 400, "VALIDATION_ERROR"),
        ({**_APP, "appIcon": "logo1"}, 400, "VALIDATION_ERROR"),
        ({**_APP, "name": "Cal@ndar"}, 400, "INVALID_NAME_FORMAT"),
        ({**_APP, "name": "a\nb"}, 400, "INVALID_NAME_FORMAT"),
        ({**_APP, "appIcon": {**_ICON, "name": "logo11"}}, 400, "INVALID_APP_ICON"),
        ({**_APP, "appIcon": {**_ICON, "type": "photo"}}, 400, "INVALID_APP_ICON"),
        ({**_APP, "appIcon": {**_ICON, "color": "#12345"}}, 400, "INVALID_APP_ICON"),
        ({**_APP, "appIcon": {"name": "logo1", "type": "logo"}}, 400, "INVALID_APP_ICON"),
        ({**_APP, "appIcon": {}}, 400, "INVALID_APP_ICON"),
        ({**_APP, "name": "Taken"}, 409, "RESOURCE_CONFLICT"),
        *(({**_APP, "name": name}, *error) for name, error in APP_ERRORS.items()),
    ],
)
def test_apps_are_refused_with_a_code(body: Any, status: int, code: str) -> None:
    """Each documented error is returned in the documented form, and no app is created."""
    client = fake_client()
    assert _make(client, {**_APP, "name": "Taken"}).status == 201
    reply = _make(client, body)
    answer = decode_json(reply.body)
    assert (reply.status, answer["success"], answer["error"]["code"]) == (status, False, code)
    assert answer["error"]["message"]
    assert set(answer["meta"]) == {"requestId", "timestamp"}
    assert (client.count("apps"), client.count(f"refused_{status}")) == (1, 1)


def test_all_documented_codes_are_there() -> None:
    """The names that are refused, and the other mistakes, cover the vendor's table of codes."""
    natural = {
        "VALIDATION_ERROR",
        "INVALID_APP_ICON",
        "INVALID_NAME_FORMAT",
        "UNAUTHORIZED",
        "RESOURCE_CONFLICT",
    }
    assert not natural & {code for _, code in APP_ERRORS.values()}
    assert len(natural) + len(APP_ERRORS) == 12


@pytest.mark.parametrize("missing", ["accountid", "userid"])
def test_creation_of_an_app_needs_both_headers(missing: str) -> None:
    """Both headers are needed, and the error says which one is missing."""
    reply = _make(fake_client(), _APP, who={name: text for name, text in _WHO.items() if name != missing})
    assert reply.status == 400
    assert decode_json(reply.body)["error"]["details"] == {"header": missing}


@pytest.mark.parametrize("headers", [{}, APP_KEY])
def test_a_wrong_key_has_the_documented_body(headers: Mapping[str, str]) -> None:
    """Without the account's key the error has the documented form and code."""
    reply = _make(fake_client(), _APP, headers)
    assert (reply.status, decode_json(reply.body)["error"]["code"]) == (401, "UNAUTHORIZED")


_OPEN_AI: Final[Mapping[str, Any]] = {
    "provider": "Open AI",
    "connectionName": "GPT",
    "model": "gpt-4o",
    "fields": {"API_KEY": "sk-very-secret-AA"},
}
_ANTHROPIC: Final[Mapping[str, Any]] = {**_OPEN_AI, "provider": "Anthropic", "modelType": "EASY_INTEGRATION"}
_AZURE: Final[Mapping[str, Any]] = {
    **_ANTHROPIC,
    "provider": "Azure Open AI",
    "fields": {"API_KEY": "short", "api_version": "v1", "your_resource_name": "r", "deployment_id": "d"},
}
_OWN: Final[Mapping[str, Any]] = {
    "provider": "API",
    "connectionName": "Mine",
    "model": "m",
    "endpointUrl": "https://llm.example/v1",
    "headers": [{"key": "authorization", "value": "Bearer {{LLM_API_KEY}}"}],
    "payload": {"prompt": "{{prompt}}"},
    "outputPath": "a",
    "inputTokensPath": "b",
    "outputTokensPath": "c",
    "promptVars": [{"name": "prompt"}],
    "customVars": [],
    "status": "FINALIZED",
    "isEnable": True,
}
_MAPPED: Final[Mapping[str, Any]] = {
    **{
        name: _OWN[name]
        for name in ("provider", "connectionName", "model", "endpointUrl", "headers", "status")
    },
    "mapProvider": "anthropicModel",
    "IOMappings": ["textToText"],
}
_BY_TABLE: Final[Mapping[str, Any]] = {
    "provider": "API",
    "connectionName": "Mine",
    "fields": {"BASE_URL": "https://llm.example", "API_KEY": "very-secret-key", "MODEL_NAME": "m7"},
}


def _connect(client: FakeClient, body: Mapping[str, Any], now: float = 0.0) -> dict[str, Any]:
    return read(client.account("POST", "/connections", body, now=now))


@pytest.mark.parametrize("body", [_OPEN_AI, _ANTHROPIC, _AZURE, _OWN, _MAPPED, _BY_TABLE])
def test_connections_are_created_per_provider(body: Mapping[str, Any]) -> None:
    """Each provider has its own members; secrets are never shown, and new connections are active."""
    client = fake_client()
    answer = _connect(client, body)
    names = {"connectionId", "fields", "connectionName", "provider", "model", "status", "createdOn"}
    assert set(answer) == names
    assert (answer["status"], answer["provider"]) == ("ACTIVE", body["provider"])
    got = read(client.account("GET", f"/connections/{answer['connectionId']}"))
    assert set(got) == names | {"modifiedOn"}
    assert got["fields"] == answer["fields"]
    secret = body.get("fields", {}).get("API_KEY")
    assert secret is None or (secret not in str(got) and "********" in got["fields"]["API_KEY"])
    assert client.count("connections") == 1


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("sk-very-secret-AA", "sk********AA"), ("12345678", "12********78"), ("short", "********")],
)
def test_secrets_are_masked(secret: str, shown: str) -> None:
    """Of a long secret two characters at either end are shown, of a short one none; other fields are shown."""
    answer = _connect(fake_client(), {**_AZURE, "fields": {**_AZURE["fields"], "API_KEY": secret}})
    assert answer["fields"] == {**_AZURE["fields"], "API_KEY": shown}


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (_OPEN_AI, {"provider": "OpenAI"}),
        (_OPEN_AI, {"provider": None}),
        (_OPEN_AI, {"connectionName": ""}),
        (_OPEN_AI, {"model": None}),
        (_OPEN_AI, {"fields": None}),
        (_OPEN_AI, {"fields": {}}),
        (_OPEN_AI, {"fields": "key"}),
        (_OPEN_AI, {"modelType": "HARD"}),
        (_ANTHROPIC, {"modelType": None}),
        (_AZURE, {"fields": {"API_KEY": "x", "api_version": "v1", "your_resource_name": "r"}}),
        (_OWN, {"model": None}),
        (_OWN, {"endpointUrl": None}),
        (_OWN, {"headers": [{"key": "a"}]}),
        (_OWN, {"headers": {"a": "b"}}),
        (_OWN, {"status": "ACTIVE"}),
        (_OWN, {"isEnable": "true"}),
        (_OWN, {"payload": None}),
        (_OWN, {"outputPath": None}),
        (_OWN, {"promptVars": ["prompt"]}),
        (_OWN, {"customVars": "x"}),
        (_MAPPED, {"mapProvider": "mistralModel"}),
        (_MAPPED, {"IOMappings": "textToText"}),
        (_BY_TABLE, {"fields": {"API_KEY": "x", "MODEL_NAME": "m"}}),
    ],
)
def test_connections_are_read_strictly(body: Mapping[str, Any], change: Mapping[str, Any]) -> None:
    """A member that is missing or of the wrong type for its provider is refused."""
    client = fake_client()
    assert client.account("POST", "/connections", {**body, **change}).status == 400
    assert client.count("connections") == 0


@pytest.mark.parametrize(
    ("query", "names", "total"),
    [
        ("", ["A", "B", "C"], 3),
        ("?provider=Open%20AI", ["A", "C"], 2),
        ("?provider=Azure%20Open%20AI", [], 0),
        ("?status=ACTIVE&limit=2", ["A", "B"], 3),
        ("?status=INACTIVE", [], 0),
    ],
)
def test_connections_are_listed(query: str, names: list[str], total: int) -> None:
    """A list is filtered by provider and status, has a limit and the total, and no fields."""
    client = fake_client()
    for name, body in (("A", _OPEN_AI), ("B", _ANTHROPIC), ("C", _OPEN_AI)):
        _connect(client, {**body, "connectionName": name})
    answer = read(client.account("GET", f"/connections{query}"))
    assert [each["connectionName"] for each in answer["connections"]] == names
    assert answer["total"] == total
    assert not any("fields" in each for each in answer["connections"])


@pytest.mark.parametrize("query", ["provider=OpenAI", "status=active", "limit=0", "limit=x"])
def test_filters_of_connections_are_checked(query: str) -> None:
    """Filters that the vendor does not have are refused."""
    assert fake_client().account("GET", f"/connections?{query}").status == 400


def test_connections_are_updated() -> None:
    """A new key changes the mask and the date of change, which is returned in place of the creation date."""
    client = fake_client()
    connection_id = _connect(client, _OPEN_AI)["connectionId"]
    body = {"fields": {"API_KEY": "zz-secret-zz"}}
    answer = read(client.account("PATCH", f"/connections/{connection_id}", body, now=60.0))
    assert answer["fields"] == {"API_KEY": "zz********zz"}
    assert (answer["modifiedOn"], "createdOn" in answer) == ("2026-01-05T09:01:00.000Z", False)
    got = read(client.account("GET", f"/connections/{connection_id}"))
    assert (got["createdOn"], got["modifiedOn"]) == ("2026-01-05T09:00:00.000Z", "2026-01-05T09:01:00.000Z")


@pytest.mark.parametrize(
    ("body", "change", "status"),
    [
        (_OPEN_AI, {}, 400),
        (_OPEN_AI, {"fields": {}}, 400),
        (_OPEN_AI, {"fields": {"API_KEY": ""}}, 400),
        (_OPEN_AI, {"fields": []}, 400),
        (_OWN, {"fields": {"API_KEY": "x"}}, 400),
    ],
)
def test_updates_are_read_strictly(body: Mapping[str, Any], change: Mapping[str, Any], status: int) -> None:
    """An update needs a key, and is refused for connections to one's own models."""
    client = fake_client()
    path = f"/connections/{_connect(client, body)['connectionId']}"
    assert client.account("PATCH", path, change).status == status


def test_unknown_connections_are_not_found() -> None:
    """A connection that does not exist is neither returned nor updated."""
    client = fake_client()
    assert client.account("GET", "/connections/cn-0").status == 404
    assert client.account("PATCH", "/connections/cn-0", {"fields": {"API_KEY": "x"}}).status == 404
