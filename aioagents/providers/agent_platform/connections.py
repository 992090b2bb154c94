"""Kore Agent Platform: connections to other companies' models, and to one's own.

The fields of each provider are those of the table in Agent Platform API, section 9.5.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from ... import codec
from ...codec import member
from ...contract import check_text, path_segment
from ...model import Secret
from ...tracebacks import hides_locals
from .calls import Calls
from .wire import KORE, check_whole, check_word, request

_ADVICE: Final = "List the connections and look for one of this name; names are not unique."
_STATUSES: Final = ("ACTIVE", "INACTIVE")
#: The members of `fields`. They may hold secrets, which are sent and shown nowhere.
FieldValues: TypeAlias = Mapping[str, str | Secret]


class ModelProvider(StrEnum):
    """The company whose models a connection is for. `API` is any other, or one's own."""

    OPEN_AI = "Open AI"
    ANTHROPIC = "Anthropic"
    AZURE_OPEN_AI = "Azure Open AI"
    API = "API"


_EASY: Final = "EASY_INTEGRATION"
_FIELDS: Final[Mapping[ModelProvider, tuple[str, ...]]] = {
    ModelProvider.OPEN_AI: ("API_KEY",),
    ModelProvider.ANTHROPIC: ("API_KEY",),
    ModelProvider.AZURE_OPEN_AI: ("API_KEY", "api_version", "your_resource_name", "deployment_id"),
    ModelProvider.API: ("BASE_URL", "API_KEY", "MODEL_NAME"),
}
_TYPED: Final = frozenset({ModelProvider.ANTHROPIC, ModelProvider.AZURE_OPEN_AI})
#: The members that errors may show: any other one may hold a secret.
_SHOWN: Final = ("provider", "connectionName", "model", "modelType")


@frozen(kw_only=True)
class Connection:
    """A connection to a model. Secrets in `fields` are masked by asterisks; lists leave `fields` out."""

    connection_id: str
    name: str = member("connectionName", default="")
    provider: str = ""
    model: str = ""
    status: str = ""
    fields: Mapping[str, Any] = field(factory=dict, repr=False)
    created_at: datetime | None = member("createdOn", default=None)
    modified_at: datetime | None = member("modifiedOn", default=None)
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


_Connections: TypeAlias = list[Connection]  # in the class, `list` is its method


def creation_body(
    provider: str,
    name: str,
    *,
    model: str | None,
    model_type: str | None,
    fields: FieldValues | None,
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the body that creates a connection of a provider. Raises ValueError, which names the member."""
    known = ModelProvider(check_word(provider, ModelProvider, "provider"))
    body: dict[str, Any] = {"provider": known.value, "connectionName": check_text(name, "name")}
    if model is not None or known is not ModelProvider.API:
        body["model"] = check_text(model or "", "model")
    if model_type is not None or known in _TYPED:
        body["modelType"] = check_text(_EASY if model_type is None else model_type, "model_type")
    if settings is not None:
        if known is not ModelProvider.API:
            raise ValueError(f"settings: belong to the provider API alone, not to {known}")
        codec.encode_object(settings, "settings")
        for taken in body.keys() & settings.keys():
            raise ValueError(f"settings.{taken}: has an argument of its own")
        body |= settings
    if fields is not None or settings is None:
        body["fields"] = field_values(fields or {}, _FIELDS[known])
    return body


def field_values(fields: FieldValues, needed: tuple[str, ...] = ("API_KEY",)) -> dict[str, str]:
    """Return the member `fields`, secrets included. Raises ValueError or TypeError, which names the member."""
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields: expected a mapping, not {type(fields).__name__}")
    for name in needed:
        if not fields.get(name):
            raise ValueError(f"fields.{name}: has to be there, and not empty")
    written = {}
    for name, value in fields.items():
        if not isinstance(value, str | Secret):  # not quoted: it may be a secret
            raise TypeError(f"fields.{name}: expected a string or a Secret, not {type(value).__name__}")
        written[name] = value.reveal() if isinstance(value, Secret) else value
    return written


def shown(body: Mapping[str, Any]) -> bytes:
    """Return the part of a body that errors may carry, as JSON."""
    return codec.encode_json({name: body[name] for name in _SHOWN if name in body})


class Connections:
    """The connections of an account, available as `AgentPlatform.connections`.

    Methods raise and retry as in `Sessions`. The platform never returns secrets, but asterisks in place of
    them, and publishes no call that deletes a connection.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = f"{calls.url}/connections"

    async def list(
        self, *, provider: str | None = None, status: str | None = None, limit: int | None = None
    ) -> _Connections:
        """Return the connections, without their fields.

        `provider` is a `ModelProvider`, `status` is `ACTIVE` or `INACTIVE`. There are no pages: a `limit` cuts the
        list off. Agent Platform API, section 9.5.
        """
        query = {
            "provider": None if provider is None else check_word(provider, ModelProvider, "provider"),
            "status": None if status is None else check_word(status, _STATUSES, "status"),
            "limit": None if limit is None else str(check_whole(limit, "limit")),
        }
        listing = request(self._url, "connections.list", method="GET", query=query)
        return list((await self._calls.call(listing, _read_list)).connections)

    async def get(self, connection_id: str) -> Connection:
        """Return a connection, with its fields. Raises `NotFound`."""
        reading = request(self._item(connection_id), "connections.get", method="GET")
        return await self._calls.call(reading, _read)

    @hides_locals
    async def create(
        self,
        *,
        provider: str,
        name: str,
        model: str | None = None,
        model_type: str | None = None,
        fields: FieldValues | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Connection:
        """Create a connection. The request is sent once.

        `Open AI` and `Anthropic` need `model` and the field `API_KEY`, `Azure Open AI` in addition the fields
        `api_version`, `your_resource_name` and `deployment_id`; `model_type` has a default for the latter two. `API`
        needs the fields `BASE_URL`, `API_KEY` and `MODEL_NAME`, as in the vendor's table, or in `settings` the
        members of its samples: `endpointUrl`, `headers`, `status` ... A value may be a `Secret`. Raises
        `StartUnknown`, which holds no secret, if the connection may have been created. Agent Platform API, section
        9.5.
        """
        body = creation_body(
            provider, name, model=model, model_type=model_type, fields=fields, settings=settings
        )
        return await self._calls.create(
            request(self._url, "connections.create", body),
            _read,
            target=name,
            advice=_ADVICE,
            action="created a connection",
            redacted_body=shown(body),
        )

    @hides_locals
    async def update(self, connection_id: str, *, fields: FieldValues) -> Connection:
        """Change fields of a connection; `API_KEY` is required. The platform refuses this for the provider `API`."""
        body = {"fields": field_values(fields)}
        change = request(self._item(connection_id), "connections.update", body, method="PATCH")
        return await self._calls.call(change, _read)

    def _item(self, connection_id: str) -> str:
        return f"{self._url}/{path_segment(connection_id, 'connection_id')}"


@frozen
class _List:
    connections: tuple[Connection, ...]


_read: Final = KORE.reader(Connection)
_read_list: Final = KORE.reader(_List)
