"""Removes the secrets that were sent from what a server says: some repeat headers and bodies in a refusal. Pure.

Slow, in comparison: it is asked only where a server refused.
"""

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, quote_plus

from ..codec import decode_json
from ..errors import AgentsError
from ..model import Request

_ASTERISKS: Final = "***"
#: What is shorter occurs in any text, and is no secret that could be kept.
_SHORTEST: Final = 4
#: Names of headers and members whose values are secrets.
_SECRET: Final = re.compile(
    r"auth(?!or(?!i))|token|secret|passw|passphrase|pwd|credential|cookie|signature|(?:^|[-_a-z])key$",
    re.IGNORECASE,
)
_TEXTS: Final = ("detail", "code", "request_id")


def known_secrets(request: Request, signature: Mapping[str, str], shown_body: bytes | None) -> set[str]:
    """Return the secrets that were sent: in the headers of `signature`, and in those and the body of `request`.

    In the latter two they are recognized by the names of headers and members; with `shown_body`, which is the part of
    the body that may be shown, whatever it lacks is a secret as well.
    """
    found: set[str] = set()
    for value in signature.values():
        found.update(_in_header(value))
    for name, value in request.headers.items():
        if _SECRET.search(name):
            found.update(_in_header(value))
    if request.body is not None:
        with suppress(ValueError):
            body = decode_json(request.body)
            found.update(_under_secret_names(body))
            if shown_body is not None:
                found |= set(_strings_in(body)) - set(_strings_in(decode_json(shown_body)))
    return {secret for secret in found if len(secret) >= _SHORTEST}


def redact(error: AgentsError, secrets: Iterable[str]) -> None:
    """Replace these secrets, however they are written, in what the server said in `error`."""
    forms = sorted({form for secret in secrets for form in _forms_of(secret)}, key=len, reverse=True)
    if not forms:
        return
    pattern = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE)
    for name in _TEXTS:
        text = getattr(error, name, None)
        if text:
            setattr(error, name, _without_beginning(pattern.sub(_ASTERISKS, text), forms))


def _without_beginning(text: str, forms: Iterable[str]) -> str:
    """Return `text` without the beginning of a secret at its end, where it was cut off."""
    folded = text.lower()
    longest = 0
    for form in forms:
        most = min(len(form) - 1, len(text))
        start = form[:_SHORTEST].lower()
        at = folded.find(start, len(text) - most)
        while at >= 0:
            if form.lower().startswith(folded[at:]):
                longest = max(longest, len(text) - at)
                break
            at = folded.find(start, at + 1)
    return text[: len(text) - longest] + _ASTERISKS if longest else text


def _in_header(value: str) -> Iterator[str]:
    """Yield what is secret in a header: all of it, the part behind its scheme, and the password of Basic."""
    yield value
    scheme, _, rest = value.partition(" ")
    if not rest:
        return
    yield rest
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            pair = base64.b64decode(rest, validate=True).decode()
            yield pair
            yield pair.partition(":")[2]


def _under_secret_names(value: Any, *, is_secret: bool = False) -> Iterator[str]:
    """Yield the strings in JSON that are under the name of a secret, at any depth."""
    left = [(value, is_secret)]
    while left:
        each, is_secret = left.pop()
        if isinstance(each, dict):
            left += ((inner, is_secret or bool(_SECRET.search(name))) for name, inner in each.items())
        elif isinstance(each, list):
            left += ((inner, is_secret) for inner in each)
        elif is_secret and isinstance(each, str):
            yield each


def _strings_in(value: Any) -> Iterator[str]:
    """Yield all strings in JSON but names."""
    return _under_secret_names(value, is_secret=True)


def _forms_of(secret: str) -> Iterator[str]:
    """Yield how a secret may be written: as it is, and within JSON, HTML, URLs, Python and Base64."""
    yield secret
    for ascii_only in (False, True):
        inside = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield inside
        yield json.dumps(inside)[1:-1]
        yield inside.replace("/", r"\/")
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield html.escape(secret, quote=False)
    data = secret.encode("utf-8", "surrogatepass")
    yield quote(data)
    yield quote(data, safe="")
    yield quote_plus(data)
    for shift in range(3):
        # Within other bytes, it begins at any of three positions; what it shares with its neighbours is left out.
        inner = base64.b64encode(bytes(shift) + data).decode().rstrip("=")
        inner = inner[(0, 2, 3)[shift] : len(inner) - (1 if (shift + len(data)) % 3 else 0)]
        if len(inner) >= _SHORTEST:
            yield inner
            yield inner.translate({ord("+"): "-", ord("/"): "_"})
