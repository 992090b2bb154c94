"""Reads settings from the environment; no other module reads `os.environ`."""

import os
from base64 import b64encode
from collections.abc import Iterable, Mapping

from ..model import Secret


def read_settings(
    required: Iterable[str], optional: Iterable[str] = (), environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return variables of `environ`, by default the process's own; empty ones count as not set.

    Raises ValueError that names every required variable that is missing, and no value.
    """
    source = os.environ if environ is None else environ
    needed = tuple(required)
    found = {name: source[name] for name in (*needed, *optional) if source.get(name)}
    missing = [name for name in needed if name not in found]
    if missing:
        raise ValueError(f"not set in the environment: {', '.join(missing)}")
    return found


def basic_header(user: str, password: Secret) -> str:
    """Return an HTTP Basic `Authorization` header (RFC 7617, UTF-8)."""
    return "Basic " + b64encode(f"{user}:{password.reveal()}".encode()).decode("ascii")
