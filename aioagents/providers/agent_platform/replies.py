"""Kore Agent Platform: the answer to a synchronous run. Pure."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from ...model import Reply
from .reading import Fields, object_in, wrong
from .values import (
    Attachment,
    AuthorizationProfile,
    Event,
    SessionInfo,
    Thought,
    pending_in,
    read_events,
    read_session_info,
    read_thoughts,
    text_of,
)


@frozen(kw_only=True)
class RunReply:
    """The answer to a run, and the state of its session.

    `output` holds the items as received, `text` their texts. An answer does not imply success: `is_error` is set if
    the run failed, `pending_authorizations` are sign-ins without which tools do not work, and each file of
    `attachments` may have an `error`. `artifacts` are the results of tools that are configured to return them. Agent
    Platform API, section 6.5.2.
    """

    message_id: str = ""
    output: tuple[Any, ...] = field(default=(), repr=False)
    thoughts: tuple[Thought, ...] = ()
    artifacts: tuple[Any, ...] = field(default=(), repr=False)
    tags: Mapping[str, Any] = field(factory=dict, repr=False)
    events: tuple[Event, ...] = ()
    session: SessionInfo = field(factory=SessionInfo)
    pending_authorizations: tuple[AuthorizationProfile, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def text(self) -> str:
        """Return the texts of the output, a line each; empty if there are none."""
        return text_of(self.output)

    @property
    def run_id(self) -> str:
        """Return the run's id; empty if the platform did not send it."""
        return self.session.run_id

    @property
    def is_error(self) -> bool:
        """Return whether the run failed, which the HTTP status does not show."""
        return self.session.is_error

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Return the files of the session."""
        return self.session.attachments


def reply_in(reply: Reply, call: str) -> RunReply:
    """Read the answer to a synchronous run. Raises DecodeError unless it is an object with a known member."""
    body = object_in(reply, call)
    found = Fields(body)
    if not any(found.get(name) for name in ("output", "sessionInfo", "events", "messageId")):
        raise wrong(call, "$")
    return read_reply(body)


def read_reply(body: Mapping[str, Any]) -> RunReply:
    """Read an answer from its decoded body."""
    raw = Fields(body)
    events = read_events(raw)
    return RunReply(
        message_id=raw.text("messageId"),
        output=raw.items("output"),
        thoughts=read_thoughts(raw),
        artifacts=raw.items("artifacts"),
        tags=raw.inner("tags").raw,
        events=events,
        session=read_session_info(raw.inner("sessionInfo")),
        pending_authorizations=pending_in(events),
        raw=raw.raw,
    )
