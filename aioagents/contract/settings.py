"""Checks of settings and arguments that are the same for every vendor, and what is made of a key. Pure."""

import re
from collections.abc import Mapping
from hashlib import sha256
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, urlsplit

from ..model import Secret, SecretMapping
from ..tracebacks import hides_locals

# Includes letters of other scripts: whether such a name resolves is up to the resolver.
_HOST: Final = re.compile(r"[\w.-]+|[0-9a-f:.]+(?:%\w+)?")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Headers with a meaning of their own, so that they cannot carry a key.
_TAKEN: Final = frozenset(
    {"accept", "connection", "content-length", "content-type", "host", "transfer-encoding"}
)
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def check_base_url(url: str, name: str, *, allow_insecure: bool = False) -> str:
    """Return `url` without a trailing slash. Raises ValueError unless it is https, or http to a loopback host.

    `allow_insecure` permits http to any host. A query, a fragment or a user in the URL raises as well, as does a
    character that cannot be printed: URL parsers drop some of these without a word.
    """
    if not isinstance(url, str):
        raise ValueError(f"{name}: expected a URL like https://host, not {type(url).__name__}")  # noqa: TRY004
    if not url.strip().isprintable():
        raise ValueError(f"{name}: a base URL holds no control characters")
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


def check_webhook_url(url: str, name: str) -> str:
    """Return `url`. Raises ValueError, which does not quote it, unless it is an http or https URL with a host."""
    check_text(url, name)
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:  # not quoted: it may hold a secret
        raise ValueError(f"{name} has to be an http or https URL")
    return url


def check_header_value(text: str, name: str) -> str:
    """Return `text`. Raises ValueError, which does not quote it, if a header cannot carry it."""
    if not (isinstance(text, str) and text.isascii() and text.isprintable()) or text.strip() != text:
        raise ValueError(f"{name}: has to be printable ASCII without white space around it, for a header")
    return text


@hides_locals
def key_headers(
    key: str | Secret | None, name: str, *, header: str = "Authorization", prefix: str = "Bearer"
) -> Mapping[str, str]:
    """Return the header that carries a key, called `name` in errors; no headers without one (None).

    A prefix that ends in a letter or digit, like `Bearer`, is separated from the key by a space. Raises ValueError,
    which calls the others `key_header` and `key_prefix`, for an empty key, a header with a meaning of its own, and
    what a header cannot carry.
    """
    if key is None:
        return MappingProxyType({})
    text = Secret.of(key).reveal()
    if not text:
        raise ValueError(f"{name} is empty")
    if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header) or header.lower() in _TAKEN:
        raise ValueError(f"key_header: {header!r} is no header that could carry a key")
    check_header_value(text, name)
    if prefix := prefix.lstrip():
        check_header_value(prefix.rstrip(), "key_prefix")
        text = f"{prefix} {text}" if prefix[-1].isalnum() else prefix + text
    return SecretMapping({header: text})


def account_name(vendor: str, *parts: str | Secret) -> str:
    """Return the name of the account that has these `parts` (base URL, key), of which it shows only a digest."""
    text = "\n".join(part.reveal() if isinstance(part, Secret) else part for part in parts)
    return f"{vendor}-{sha256(text.encode()).hexdigest()[:16]}"
