"""Checks of settings and arguments that are the same for every vendor. Pure."""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlsplit

# Includes letters of other scripts: whether such a name resolves is up to the resolver.
_HOST: Final = re.compile(r"[\w.-]+|[0-9a-f:.]+(?:%\w+)?")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def check_base_url(url: str, name: str, *, allow_insecure: bool = False) -> str:
    """Return `url` without a trailing slash. Raises ValueError unless it is https, or http to a loopback host.

    `allow_insecure` permits http to any host. A query, a fragment or a user in the URL raises as well.
    """
    if not isinstance(url, str):
        raise ValueError(f"{name}: expected a URL like https://host, not {type(url).__name__}")  # noqa: TRY004
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ValueError(f"{name}: not a URL that can be used: {exc}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"{name}: expected a URL like https://host, not one of scheme {parts.scheme!r}")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{name}: {host!r} is no host name and no address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"{name}: a base URL holds no user, query or fragment")
    if parts.scheme == "http" and not (allow_insecure or is_loopback(host)):
        raise ValueError(
            f"{name}: http to {host} would send secrets in clear text; use https, or allow_insecure=True"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_host_label(text: str, name: str) -> str:
    """Return `text` in lower case. Raises ValueError unless it can be part of a host name and change nothing else."""
    if not isinstance(text, str) or not _LABEL.fullmatch(text):
        raise ValueError(f"{name}: expected letters, digits and inner hyphens (like us-east-1), not {text!r}")
    return text.lower()


def path_segment(text: str, name: str) -> str:
    """Return `text` encoded as one path segment. Raises ValueError for what is empty or would change the path."""
    if isinstance(text, str) and text.isascii() and text.isalnum():
        return text  # as most ids are
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} has to be a non-empty string, not {text!r}")
    if text in {".", ".."}:
        raise ValueError(f"{name}: {text!r} would change the path")
    return quote(text, safe="")


def check_text(text: str, name: str) -> str:
    """Return `text`. Raises ValueError unless it is a string that is not blank."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} has to be a non-empty string, not {text!r}")
    return text
