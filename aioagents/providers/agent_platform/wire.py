"""Kore Agent Platform: how its requests are built, and how its answers are read. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from ... import codec
from ...model import Reply, Request
from .settings import VENDOR

#: Its pages disagree about the names of members (`fileName`, `filename`; `dockStatusId`, `dock-statusId`,
#: `dockstatusId`; `sessionId`, `session_id`), and sometimes write booleans and numbers as strings.
KORE: Final = codec.Codec(VENDOR, is_camel=True, is_loose=True)
JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}


def request(
    url: str,
    call: str,
    body: Mapping[str, Any] | None = None,
    *,
    query: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    **options: Any,
) -> Request:
    """Build a POST with a JSON body and a query, if they are given; `options` are those of `Request`."""
    given = {"method": "POST", "headers": {}, **options}
    if body is not None:
        given["headers"] = {**JSON, **given["headers"]}
        given["body"] = codec.encode_json(body)
    suffix = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return Request(url=url + suffix, call=call, **given)


def object_in(reply: Reply, call: str) -> dict[str, Any]:
    """Return the JSON object that is the body of an answer. Raises DecodeError."""
    raw = codec.decode(reply.body, vendor=VENDOR, call=call)
    if not isinstance(raw, dict):
        raise KORE.wrong(call, "$")
    return raw
