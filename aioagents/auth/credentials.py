"""Reads settings from the environment; no other module reads `os.environ`.

Settings of a named endpoint stand in variables of their own, `LEAP_API_KEY__billing` for the endpoint `billing`. Such
an endpoint has none of the plain variables' settings: a key or host that is missing must not become another
account's.
"""

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Final

from ..model import Secret, SecretMapping
from ..tracebacks import hides_locals

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SEPARATOR: Final = "__"


@hides_locals
def read_settings(
    required: Iterable[str],
    optional: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
    *,
    name: str = "",
) -> Mapping[str, str]:
    """Return variables of `environ`, by default the process's own; empty ones count as not set.

    Line breaks at the end of a value are dropped: files of secrets end in one. With `name`, the variables of that
    endpoint are read, and returned under their plain names. Raises ValueError that names every required variable that
    is missing, and no value, or for an invalid name.
    """
    source = os.environ if environ is None else environ
    needed = tuple(required)
    suffix = _SEPARATOR + check_endpoint_name(name) if name else ""
    texts = {each: source.get(each + suffix, "").rstrip("\r\n") for each in (*needed, *optional)}
    missing = [each + suffix for each in needed if not texts[each]]
    if missing:
        raise ValueError(f"not set in the environment: {', '.join(missing)}")
    return SecretMapping({each: text for each, text in texts.items() if text})


def endpoint_names(variables: Iterable[str], environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of endpoints for which any of these variables is set, sorted; the plain ones have none."""
    source = os.environ if environ is None else environ
    prefixes = tuple(each + _SEPARATOR for each in variables)
    found = {
        key.removeprefix(prefix)
        for key in source
        for prefix in prefixes
        if key.startswith(prefix) and source[key]
    }
    return sorted(filter(_NAME.fullmatch, found))


def check_endpoint_name(name: str) -> str:
    """Return `name`. Raises ValueError unless it is empty, or can be the name of an endpoint."""
    if name and not _NAME.fullmatch(name):
        raise ValueError(
            f"name: an endpoint's name consists of letters, digits, '-', '_' and '.', and begins with one of the "
            f"first two; {name!r} does not"
        )
    return name


@hides_locals
def basic_header(user: str, password: Secret) -> str:
    """Return an HTTP Basic `Authorization` header (RFC 7617, UTF-8)."""
    return "Basic " + b64encode(f"{user}:{password.reveal()}".encode()).decode("ascii")
