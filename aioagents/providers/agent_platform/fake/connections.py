"""Connections to models elsewhere. Of secrets no more is kept than is shown: asterisks."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define

from ....contract.fake import Call, Endpoint, Refused
from ....model import Purpose, Reply
from .bodies import Members, read_object
from .desk import Desk
from .session_calls import whole

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
_SHOWN, _LEAST = 2, 8  # characters at either end, of secrets with at least so many


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


class ConnectionCalls:
    """Answers what is asked about connections."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
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
            raise Refused(400, "provider or status is none of ours")
        found = [
            each
            for each in self._by_id.values()
            if provider in (None, each.provider) and status in (None, each.status)
        ]
        page = found[: whole(call, "limit", len(found), 1)]
        return self._desk.reply({"connections": [self._told(each) for each in page], "total": len(found)})

    def _get(self, call: Call) -> Reply:
        connection = self._find(call)
        return self._desk.reply({**self._told(connection), "fields": connection.fields})

    def _create(self, call: Call) -> Reply:
        body = read_object(call)
        provider = body.choice("provider", PROVIDERS, is_needed=True) or ""
        name, fields = body.need("connectionName", str), body.members("fields")
        if provider == _OWN:
            _check_own(body)
            model = body.get("model", str) or fields.get("MODEL_NAME", str) or ""
        else:
            model = body.need("model", str)
            body.choice("modelType", ("EASY_INTEGRATION",), is_needed=provider in _EASY)
            for each in _FIELDS[provider]:
                fields.need(each, str)
        connection = _Connection(
            id=self._desk.new_id("cn-"),
            name=name,
            provider=provider,
            model=model,
            fields=_masked(fields.values),
            created_at=call.now,
            modified_at=call.now,
        )
        self._by_id[connection.id] = connection
        self._desk.counts["connections"] += 1
        told = {**self._told(connection), "fields": connection.fields}
        del told["modifiedOn"]
        return self._desk.created(told)

    def _update(self, call: Call) -> Reply:
        connection = self._find(call)
        if connection.provider == _OWN:
            raise Refused(400, "connections of this provider are not updated")
        body = read_object(call)
        body.need("fields", dict)
        body.members("fields").need("API_KEY", str)
        connection.fields |= _masked(body.members("fields").values)
        connection.modified_at = call.now
        told = {**self._told(connection), "fields": connection.fields}
        del told["createdOn"]
        return self._desk.reply(told)

    def _find(self, call: Call) -> _Connection:
        connection = self._by_id.get(call.path["connection_id"])
        if connection is None:
            raise self._desk.missing("connection")
        return connection

    def _told(self, connection: _Connection) -> dict[str, Any]:
        return {
            "connectionId": connection.id,
            "connectionName": connection.name,
            "provider": connection.provider,
            "model": connection.model,
            "status": connection.status,
            "createdOn": self._desk.moment(connection.created_at),
            "modifiedOn": self._desk.moment(connection.modified_at),
        }


def _check_own(body: Members) -> None:
    """Check a connection to a model of one's own: by `fields`, as the table has it, or as in the samples."""
    if body.get("fields", dict) is not None:
        for name in ("BASE_URL", "API_KEY", "MODEL_NAME"):
            body.members("fields").need(name, str)
        return
    body.need("model", str)
    body.need("endpointUrl", str)
    for each in body.each("headers"):
        each.need("key", str)
        each.need("value", str)
    body.choice("status", ("FINALIZED",), is_needed=True)
    body.get("isEnable", bool)
    if body.choice("mapProvider", _MAPPED) is not None:
        body.texts("IOMappings")
        return
    body.need("payload", dict)
    for name in ("outputPath", "inputTokensPath", "outputTokensPath"):
        body.need(name, str)
    body.each("promptVars")
    body.each("customVars")


def _masked(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _mask(value) if "KEY" in name.upper() else value for name, value in fields.items()}


def _mask(value: Any) -> str:
    text = str(value)
    if len(text) < _LEAST:
        return "*" * _LEAST
    return f"{text[:_SHOWN]}{'*' * _LEAST}{text[-_SHOWN:]}"
