"""Kore Agent Platform: connections to models of other companies, and to one's own."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from ... import codec
from ...calls import Start
from ...contract import path_segment
from ...model import Purpose, Request
from .calls import Calls
from .connection_wire import (
    Connection,
    FieldValues,
    check_provider,
    creation_body,
    field_values,
    read_connection,
    read_connections,
    shown,
)
from .session_wire import JSON
from .settings import VENDOR

_ADVICE: Final = "List the connections and look for one of this name: names may repeat."
_STATUSES: Final = ("ACTIVE", "INACTIVE")
_Connections: TypeAlias = list[Connection]  # in the class, `list` is its method


class Connections:
    """The connections of an account. Made by `AgentPlatform.connections`; raises and tries again as `Sessions` does.

    Secrets are sent and never told again: what comes back has asterisks. The platform publishes no way to delete one.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = f"{calls.url}/connections"

    async def list(
        self, *, provider: str | None = None, status: str | None = None, limit: int | None = None
    ) -> _Connections:
        """Return the connections, without their fields: all, or those of a `ModelProvider`, or `ACTIVE`, `INACTIVE`.

        There are no pages: with a `limit`, the rest cannot be had. Agent Platform API, section 9.5.
        """
        query: dict[str, str] = {}
        if provider is not None:
            query["provider"] = check_provider(provider).value
        if status is not None:
            if status not in _STATUSES:
                raise ValueError(f"status has to be one of {', '.join(_STATUSES)}, not {status!r}")
            query["status"] = status
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise ValueError(f"limit has to be a whole number above 0, not {limit!r}")
            query["limit"] = str(limit)
        asked = f"?{urlencode(query, quote_via=quote)}" if query else ""
        request = Request(method="GET", url=self._url + asked, call="connections.list")
        return await self._calls.call(request, read_connections)

    async def get(self, connection_id: str) -> Connection:
        """Return a connection, with its fields. Raises `NotFound`."""
        request = Request(method="GET", url=self._item(connection_id), call="connections.get")
        return await self._calls.call(request, read_connection)

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
        """Make a connection, once.

        `Open AI` takes `model` and the field `API_KEY`; `Anthropic` the same, and `Azure Open AI` besides the fields
        `api_version`, `your_resource_name`, `deployment_id`, both of a `model_type` that is filled in. `API` takes
        the fields `BASE_URL`, `API_KEY`, `MODEL_NAME` as the vendor's table has it, or in `settings` the members that
        its samples have: `endpointUrl`, `headers`, `status` ... A value may be a `Secret`. Raises `StartUnknown`,
        which holds no secret, where the connection may be there. Agent Platform API, section 9.5.
        """
        body = creation_body(
            provider, name, model=model, model_type=model_type, fields=fields, settings=settings
        )
        request = Request(
            method="POST",
            url=self._url,
            call="connections.create",
            purpose=Purpose.START,
            headers=JSON,
            body=codec.encode_json(body),
        )
        return await self._calls.start(
            Start(
                vendor=VENDOR,
                request=request,
                read=lambda reply: read_connection(reply, request.call),
                target=name,
                advice=_ADVICE,
                action="created a connection",
                is_run=False,
                redacted_body=shown(body),
            )
        )

    async def update(self, connection_id: str, *, fields: FieldValues) -> Connection:
        """Change the fields of a connection, `API_KEY` among them. Of the provider `API` none can be changed."""
        body = codec.encode_json({"fields": field_values(fields)})
        request = Request(
            method="PATCH",
            url=self._item(connection_id),
            call="connections.update",
            headers=JSON,
            body=body,
        )
        return await self._calls.call(request, read_connection)

    def _item(self, connection_id: str) -> str:
        return f"{self._url}/{path_segment(connection_id, 'connection_id')}"
