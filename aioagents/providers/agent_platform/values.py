"""Kore Agent Platform: values read from its answers about sessions and runs. Pure.

`raw` is each object as received. Texts of conversations and URLs for a user's browser may be personal data, and are
not part of the repr.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from ...codec import member
from .wire import KORE

#: The event that asks an end user to sign in somewhere (section 5).
SIGN_IN: Final = "IDP_Redirect"
_TEXT: Final = "text"
_USER_REFERENCE: Final = ("userReference", "user_reference_id")
#: A reference that is not set is the user's (section 4.2).
_SESSION_REFERENCE: Final = ("sessionReference", "session_reference_id", *_USER_REFERENCE)
_ENVIRONMENT: Final = ("envName", "environment")


@frozen(kw_only=True)
class AuthorizationProfile:
    """A sign-in that a tool of the app needs: `url` is the page that the end user has to open.

    `name` is the identity provider's, `sso_type` how it signs in (`oauth2`). Agent Platform API, section 5.
    """

    url: str = field(default="", repr=False)
    name: str = member("idpName", default="")
    sso_type: str = ""
    is_authorized: bool = False
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class Event:
    """Something that happened to a session, like `IDP_Redirect`, `Welcome_Event`, `End_of_Conversation`.

    The set of types is open. Agent Platform API, section 5.
    """

    type: str = member("type", is_text_form=True, default="")  # a text on older pages
    content: Any = field(default=None, repr=False)
    params: Mapping[str, Any] = field(factory=dict, repr=False)
    raw: Any = field(default=None, repr=False, eq=False)


@frozen(kw_only=True)
class Attachment:
    """A file of a session. `is_active` says whether the run used it; None if the platform does not report it.

    `error` is set if its text was too large for the model, which no status shows (section 6.5.7).
    """

    file_id: str = ""
    file_name: str = field(default="", repr=False)
    mime_type: str = member("mimeType", "fileType", default="")
    is_active: bool | None = None
    tokens: int | None = member("Metadata.tokens", default=None)
    error: str = member("Metadata.error", default="")
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class UploadLimits:
    """The attachments that a session accepts. `extensions` are file extensions, though the platform calls them types.

    Agent Platform API, section 6.1.
    """

    is_enabled: bool | None = member(
        "fileUploadConfig.isAttachmentsEnabled", "fileUploadConfig.enabled", default=None
    )
    max_files: int | None = member("fileUploadConfig.maxFileCount", default=None)
    max_megabytes: float | None = member("fileUploadConfig.maxFileSize", default=None)
    max_tokens: int | None = member("fileUploadConfig.maxTokens", default=None)
    extensions: tuple[str, ...] = member("allowedMimeTypes", default=())


@frozen(kw_only=True)
class Thought:
    """A thought of an agent or the orchestrator (`source`) during a run. Only sent if `debug` requests thoughts."""

    text: str = member("content", repr=False)
    source: str = ""


@frozen(kw_only=True)
class SessionInfo:
    """The session as described in an answer. `status` is the platform's word: `idle`, `busy`, `error`, or another.

    Agent Platform API, section 6.5.2.
    """

    session_id: str = ""
    session_reference: str = member(*_SESSION_REFERENCE, default="", repr=False)
    user_reference: str = member(*_USER_REFERENCE, default="", repr=False)
    user_id: str = ""
    app_id: str = ""
    run_id: str = ""
    environment: str = member(*_ENVIRONMENT, default="")
    status: str = ""
    conversation_state: str = ""
    attachments: tuple[Attachment, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def is_error(self) -> bool:
        """Return whether the run failed, which the HTTP status does not show."""
        return self.status.strip().lower() == "error"


def text_of(output: Any) -> str:
    """Return the texts of an output (`Run.output`, `RunReply.output`), a line each; empty if there are none."""
    return "\n".join(texts_in(output))


def texts_in(output: Any) -> list[str]:
    """Return the texts of an output one by one."""
    if not isinstance(output, list | tuple):
        return []
    return [
        each["content"]
        for each in output
        if isinstance(each, dict)
        and isinstance(each.get("content"), str)
        and each.get("type", _TEXT) == _TEXT
    ]


@frozen(kw_only=True)
class _SignIn:
    profiles: tuple[AuthorizationProfile, ...] = member("auth_profiles", default=())


@frozen(kw_only=True)
class Answer:
    """What all answers about a conversation have: `output` holds what the app said, the items as received."""

    output: tuple[Any, ...] = field(default=(), repr=False)
    events: tuple[Event, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def text(self) -> str:
        """Return the texts of the output, a line each; empty if there are none."""
        return text_of(self.output)

    @property
    def pending_authorizations(self) -> tuple[AuthorizationProfile, ...]:
        """Return the sign-ins that are pending, without which tools of the app do not work."""
        return tuple(
            profile
            for event in self.events
            if event.type.lower() == SIGN_IN.lower() and isinstance(event.content, dict)
            for profile in KORE.read(event.content, _SignIn, call="").profiles
            if not profile.is_authorized
        )


@frozen(kw_only=True)
class Observation:
    """One step within a trace: a model's generation, or a span around others."""

    observation_id: str = ""
    type: str = ""
    name: str = ""
    model: str = ""
    provider: str = ""
    parent_id: str = member("parent_observation_id", default="")
    started_at: datetime | None = member("start_time", default=None)
    ended_at: datetime | None = member("end_time", default=None)
    input: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)
    tokens: Mapping[str, Any] = member("token_usage", factory=dict)
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class Trace:
    """The record of what one run of a session did; its id is the run's. Agent Platform API, section 6.3."""

    trace_id: str = ""
    began_at: datetime | None = member("timestamp", default=None)
    latency: float | None = None
    input: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)
    observations: tuple[Observation, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class Session(Answer):
    """A conversation of an app with one of its users.

    `session_reference` is the caller's name for it, the user's reference if none was set. `status` is the platform's
    word, from an open set. `pending_authorizations` are pending sign-ins of the user, `output` is what the app said
    without being asked, `limits` are those of attachments; `traces` are empty unless requested.
    """

    session_id: str
    session_reference: str = member(*_SESSION_REFERENCE, default="", repr=False)
    user_reference: str = member(*_USER_REFERENCE, default="", repr=False)
    user_id: str = ""
    app_id: str = ""
    environment: str = member(*_ENVIRONMENT, default="")
    status: str = ""
    source: str = ""
    created_at: datetime | None = member("createdAt", "start_time", default=None)
    ended_at: datetime | None = member("end_time", default=None)
    last_active_at: datetime | None = member("last_activity_at", default=None)
    attachments: tuple[Attachment, ...] = ()
    limits: UploadLimits = member(".", factory=UploadLimits)
    traces: tuple[Trace, ...] = ()


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
