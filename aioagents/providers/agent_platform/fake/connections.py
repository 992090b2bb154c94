"""Connections to other companies' models. Secrets are masked before they are stored."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define

from ....contract.fake import Call, Endpoint, JsonObject, Refused, read_count, read_object
from ....model import Purpose, Reply
from .state import ServerState

PROVIDERS: Final = ("Open AI", "Anthropic", "Azure Open AI", "API")
_STATUSES: Final = ("ACTIVE", "INACTIVE")
_PATH: Final = "/api/public/connections"
_OWN: Final = "API"
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Open AI": ("API_KEY",),
    "Anthropic": ("API_KEY",),
    "Azure Open AI": ("API_KEY", "api_version", "your_resource_name", "deployment_id"),
}
_EASY: Final = frozenset({"Azure Open AI", "Anthropic"})
_MAPPED: Final = ("anthropicModel", "geminiModel", "openAIModel")
_SHOWN, _LEAST = 2, 8  # characters shown at either end, of secrets with at least eight


@define(eq=False, kw_only=True)
class _Connection:
    id: str
    name: str
    provider: str
    model: str
    fields: dict[str, Any]
    created_at: float
    modified_at: float
    status: str = "ACTIVE"


class ConnectionHandlers:
    """Lists, returns, creates and updates connections."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._by_id: dict[str, _Connection] = {}

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        call, one = Purpose.CALL, f"{_PATH}/{{connection_id}}"
        yield "GET", _PATH, "connections.list", call, self._list
        yield "GET", one, "connections.get", call, self._get
        yield "POST", _PATH, "connections.create", Purpose.START, self._create
        yield "PATCH", one, "connections.update", call, self._update

    def _list(self, call: Call) -> Reply:
        provider, status = call.query.get("provider"), call.query.get("status")
        if provider not in (None, *PROVIDERS) or status not in (None, *_STATUSES):
            raise Refused(400, "provider or status is unknown")
        found = [
            each
            for each in self._by_id.values()
            if provider in (None, each.provider) and status in (None, each.status)
        ]
        page = found[: read_count(call, "limit", len(found), low=1)]
        return self._server.reply(
            {"connections": [self._connection(each) for each in page], "total": len(found)}
        )

    def _get(self, call: Call) -> Reply:
        connection = self._find(call)
        return self._server.reply({**self._connection(connection), "fields": connection.fields})

    def _create(self, call: Call) -> Reply:
        body = read_object(call)
        provider = body.choice("provider", PROVIDERS, is_needed=True) or ""
        name, fields = body.require("connectionName", str), body.object("fields")
        if provider == _OWN:
            _check_own(body)
            model = body.get("model", str) or fields.get("MODEL_NAME", str) or ""
        else:
            model = body.require("model", str)
            body.choice("modelType", ("EASY_INTEGRATION",), is_needed=provider in _EASY)
            for each in _FIELDS[provider]:
                fields.require(each, str)
        connection = _Connection(
            id=self._server.new_id("cn-"),
            name=name,
            provider=provider,
            model=model,
            fields=_masked(fields.values),
            created_at=call.now,
            modified_at=call.now,
        )
        self._by_id[connection.id] = connection
        self._server.counts["connections"] += 1
        created = {**self._connection(connection), "fields": connection.fields}
        del created["modifiedOn"]
        return self._server.created(created)

    def _update(self, call: Call) -> Reply:
        connection = self._find(call)
        if connection.provider == _OWN:
            raise Refused(400, "connections of this provider cannot be updated")
        body = read_object(call)
        body.require("fields", dict)
        body.object("fields").require("API_KEY", str)
        connection.fields |= _masked(body.object("fields").values)
        connection.modified_at = call.now
        updated = {**self._connection(connection), "fields": connection.fields}
        del updated["createdOn"]
        return self._server.reply(updated)

    def _find(self, call: Call) -> _Connection:
        return self._server.found(self._by_id.get(call.path["connection_id"]), "connection")

    def _connection(self, connection: _Connection) -> dict[str, Any]:
        return {
            "connectionId": connection.id,
            "connectionName": connection.name,
            "provider": connection.provider,
            "model": connection.model,
            "status": connection.status,
            "createdOn": self._server.format_date(connection.created_at),
            "modifiedOn": self._server.format_date(connection.modified_at),
        }


def _check_own(body: JsonObject) -> None:
    """Check a connection to one's own model: by `fields`, as in the vendor's table, or as in its samples."""
    if body.get("fields", dict) is not None:
        for name in ("BASE_URL", "API_KEY", "MODEL_NAME"):
            body.object("fields").require(name, str)
        return
    body.require("model", str)
    body.require("endpointUrl", str)
    for each in body.objects("headers"):
        each.require("key", str)
        each.require("value", str)
    body.choice("status", ("FINALIZED",), is_needed=True)
    body.get("isEnable", bool)
    if body.choice("mapProvider", _MAPPED) is not None:
        body.strings("IOMappings")
        return
    body.require("payload", dict)
    for name in ("outputPath", "inputTokensPath", "outputTokensPath"):
        body.require(name, str)
    body.objects("promptVars")
    body.objects("customVars")


def _masked(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _mask(value) if "KEY" in name.upper() else value for name, value in fields.items()}


def _mask(value: Any) -> str:
    text = str(value)
    if len(text) < _LEAST:
        return "*" * _LEAST
    return f"{text[:_SHOWN]}{'*' * _LEAST}{text[-_SHOWN:]}"
