"""Leena AI: its refusals. Pure."""

from typing import Final

import attrs

from ...calls import Refusal, read_json_refusal, refusal_object
from ...model import Reply

#: Codes of token endpoints (RFC 6749, section 5.2, and the two of section 4.1.2.1 that pass).
_CODES: Final = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"),
        *("unsupported_grant_type", "invalid_scope", "server_error", "temporarily_unavailable"),
    }
)


def read_refusal(reply: Reply) -> Refusal | None:
    """Read a refusal: a JSON object with a message, or with an `error` that is a code of OAuth.

    The vendor documents statuses, and no body. Its audit-log API sends an object with one text `message` and no code;
    of its token endpoint the standard's form is accepted, whose text is `error_description`. Any other body, an empty
    one too, is not known to be the vendor's.
    """
    found, body = read_json_refusal(reply), refusal_object(reply)
    code = None if body is None else body.get("error")
    if found is None or body is None or not isinstance(code, str) or code not in _CODES:
        return found
    description = body.get("error_description")
    detail = description if isinstance(description, str) and description else found.detail
    return attrs.evolve(found, detail=detail, code=code)
