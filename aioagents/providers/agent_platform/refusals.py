"""Kore Agent Platform: its refusals. Pure."""

import attrs

from ...calls import Refusal, read_json_refusal, refusal_object
from ...model import Reply


def read_refusal(reply: Reply) -> Refusal | None:
    """Read a refusal: a JSON object with a message or a code, at the top or nested.

    Only the creation of an app has a documented form: `{"success": false, "error": {"code", "message", "details"},
    "meta": {"requestId", "timestamp"}}` (Agent Platform API, section 6.9). For all other calls bodies are
    undocumented: `{"message", "statusCode"}` and `{"errors": [{"msg", "code"}]}` are accepted as well. Any other
    body, an empty one too, is not known to be the platform's.
    """
    found, body = read_json_refusal(reply), refusal_object(reply)
    meta = None if body is None else body.get("meta")
    request_id = meta.get("requestId") if isinstance(meta, dict) else None
    if found is None or not isinstance(request_id, str):
        return found
    return attrs.evolve(found, request_id=request_id or None)
