"""Requests and replies as values."""

import pytest

from aioagents.model import Reply, Request


def test_request_shows_neither_headers_nor_body() -> None:
    """Headers and body are not in a request's repr."""
    request = Request(
        method="POST",
        url="https://x.example/a",
        call="c",
        headers={"Authorization": "hunter2"},
        body=b"hunter2",
    )
    assert "hunter2" not in repr(request)


def test_origin_is_scheme_host_and_port() -> None:
    """The origin has nothing of the path or the query."""
    assert (
        Request(method="GET", url="https://x.example:8443/a?b=c", call="c").origin == "https://x.example:8443"
    )


@pytest.mark.parametrize(
    ("status", "is_success"), [(199, False), (200, True), (204, True), (299, True), (300, False)]
)
def test_success_is_2xx(status: int, is_success: bool) -> None:
    """2xx is success and nothing else; only the status is in a reply's repr."""
    reply = Reply(status, {"Set-Cookie": "hunter2"}, b"hunter2")
    assert reply.is_success is is_success
    assert "hunter2" not in repr(reply)
