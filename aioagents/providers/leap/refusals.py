"""Leap: its refusals. Pure."""

from ...calls import Refusal, read_json_refusal
from ...model import Reply


def read_refusal(reply: Reply) -> Refusal | None:
    """Read a refusal: a JSON object with a message.

    The vendor documents status 401 without a body, and nothing else. Users read a member `message`, and the framework
    that its API seems to be made with sends `{"statusCode": 404, "message": ..., "error": "Not Found"}`, with one
    message or a list of them. Any other body, an empty one too, is not known to be the vendor's.
    """
    return read_json_refusal(reply)
