"""Kore Agent Platform: how arguments are checked, requests built, and answers read. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import attrs

from ... import codec
from ...contract import Form
from ...model import Reply, Request
from .settings import VENDOR

#: Its pages disagree about the names of members (`fileName`, `filename`; `dockStatusId`, `dock-statusId`,
#: `dockstatusId`; `sessionId`, `session_id`), and sometimes write booleans and numbers as strings.
KORE: Final = codec.Codec(VENDOR, is_camel=True, is_loose=True)
JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}


def request(
    url: str,
    call: str,
    body: Any = None,
    *,
    query: Mapping[str, str | None] | Sequence[tuple[str, str]] = (),
    **options: Any,
) -> Request:
    """Build a POST with a JSON body and a query, if they are given; `options` are those of `Request`.

    The body is an attrs value, or a mapping that may hold some; members of it, and of a query, that are None are
    left out.
    """
    given = {"method": "POST", "headers": {}, **options}
    if body is not None:
        given["headers"] = {**JSON, **given["headers"]}
        given["body"] = codec.encode_json(written(body))
    pairs = query.items() if isinstance(query, Mapping) else query
    suffix = urlencode([pair for pair in pairs if pair[1] is not None], quote_via=quote)
    return Request(url=f"{url}?{suffix}" if suffix else url, call=call, **given)


def form_request(url: str, call: str, form: Form) -> Request:
    """Build the POST that sends a form."""
    return request(url, call, headers=form.headers, upload=form.body)


def written(body: Any) -> dict[str, Any]:
    """Return a body as a JSON object, without members that are None."""
    if not isinstance(body, Mapping):
        return KORE.write(body)
    members = ((name, value) for name, value in body.items() if value is not None)
    return {name: KORE.write(value) if attrs.has(type(value)) else value for name, value in members}


def object_in(reply: Reply, call: str) -> dict[str, Any]:
    """Return the JSON object that is the body of an answer. Raises DecodeError."""
    raw = codec.decode(reply.body, vendor=VENDOR, call=call)
    if not isinstance(raw, dict):
        raise KORE.wrong(call, "$")
    return raw


def check_word(value: str, words: Iterable[str], name: str) -> str:
    """Return a word as a string. Raises ValueError, which calls it `name` and lists the words, for any other."""
    found = next((str(each) for each in words if each == value), None)
    if found is None:
        raise ValueError(f"{name} has to be one of {', '.join(filter(None, words))}, not {value!r}")
    return found


def check_whole(value: int, name: str, most: int | None = None) -> int:
    """Return a whole number from 1 on. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= (most or value):
        bounds = "above 0" if most is None else f"from 1 to {most}"
        raise ValueError(f"{name} has to be a whole number {bounds}, not {value!r}")
    return value


def check_flag(value: object, name: str) -> bool:
    """Return a boolean. Raises TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} has to be True or False, not {value!r}")
    return value


def check_seconds(timeout: float | None) -> float | None:
    """Return a timeout. Raises ValueError unless it is above 0, or None."""
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout has to be above 0 seconds, or None, not {timeout!r}")
    return timeout
