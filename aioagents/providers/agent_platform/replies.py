"""Kore Agent Platform: the answer to a synchronous run. Pure."""

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from ...codec import member
from ...model import Reply
from .values import Answer, Attachment, SessionInfo, Thought
from .wire import KORE, object_in


@frozen(kw_only=True)
class RunReply(Answer):
    """The answer to a run, and the state of its session.

    `output` holds the items as received, `text` their texts. An answer does not imply success: `is_error` is set if
    the run failed, `pending_authorizations` are sign-ins without which tools do not work, and each file of
    `attachments` may have an `error`. `artifacts` are the results of tools that are configured to return them. Agent
    Platform API, section 6.5.2.
    """

    message_id: str = ""
    thoughts: tuple[Thought, ...] = member("debug", default=())
    artifacts: tuple[Any, ...] = field(default=(), repr=False)
    tags: Mapping[str, Any] = field(factory=dict, repr=False)
    session: SessionInfo = member("sessionInfo", factory=SessionInfo)

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


@frozen
class _Known:
    output: Any = None
    session_info: Any = None
    events: Any = None
    message_id: Any = None


def reply_in(reply: Reply, call: str) -> RunReply:
    """Read the answer to a synchronous run. Raises DecodeError unless it is an object with a known member."""
    body = object_in(reply, call)
    if not any(attrs.astuple(KORE.read(body, _Known, call=call), recurse=False)):
        raise KORE.wrong(call, "$")
    return KORE.read(body, RunReply, call=call)
