"""Kore Agent Platform: values read from its answers about sessions and runs. Pure.

`raw` is each object as received. Texts of conversations and URLs for a user's browser may be personal data, and are
not part of the repr.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from .reading import Fields

#: The event that asks an end user to sign in somewhere (section 5).
SIGN_IN: Final = "IDP_Redirect"
_TEXT: Final = "text"


@frozen(kw_only=True)
class AuthorizationProfile:
    """A sign-in that a tool of the app needs: `url` is the page that the end user has to open.

    `name` is the identity provider's, `sso_type` how it signs in (`oauth2`). Agent Platform API, section 5.
    """

    url: str = field(repr=False)
    name: str = ""
    sso_type: str = ""
    is_authorized: bool = False
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class Event:
    """Something that happened to a session, like `IDP_Redirect`, `Welcome_Event`, `End_of_Conversation`.

    The set of types is open. Agent Platform API, section 5.
    """

    type: str
    content: Any = field(default=None, repr=False)
    params: Mapping[str, Any] = field(factory=dict, repr=False)
    raw: Any = field(default=None, repr=False, eq=False)


@frozen(kw_only=True)
class Attachment:
    """A file of a session. `is_active` says whether the run used it; None if the platform does not report it.

    `error` is set if its text was too large for the model, which no status shows (section 6.5.7).
    """

    file_id: str
    file_name: str = field(default="", repr=False)
    mime_type: str = ""
    is_active: bool | None = None
    tokens: int | None = None
    error: str = ""
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class UploadLimits:
    """The attachments that a session accepts. `extensions` are file extensions, though the platform calls them types.

    Agent Platform API, section 6.1.
    """

    is_enabled: bool | None = None
    max_files: int | None = None
    max_megabytes: float | None = None
    max_tokens: int | None = None
    extensions: tuple[str, ...] = ()


@frozen(kw_only=True)
class Thought:
    """A thought of an agent or the orchestrator (`source`) during a run. Only sent if `debug` requests thoughts."""

    text: str = field(repr=False)
    source: str = ""


@frozen(kw_only=True)
class SessionInfo:
    """The session as described in an answer. `status` is the platform's word: `idle`, `busy`, `error`, or another.

    Agent Platform API, section 6.5.2.
    """

    session_id: str = ""
    session_reference: str = field(default="", repr=False)
    user_reference: str = field(default="", repr=False)
    user_id: str = ""
    app_id: str = ""
    run_id: str = ""
    environment: str = ""
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


def read_thoughts(raw: Fields) -> tuple[Thought, ...]:
    """Read the member `debug`."""
    found = ((each.text("content"), each.text("source")) for each in raw.objects("debug"))
    return tuple(Thought(text=text, source=source) for text, source in found if text)


def read_events(raw: Fields) -> tuple[Event, ...]:
    """Read the member `events`, whose items are strings on older pages."""
    return tuple(_event(each) for each in raw.items("events") if isinstance(each, dict | str))


def _event(raw: Any) -> Event:
    if isinstance(raw, str):
        return Event(type=raw, raw=raw)
    found = Fields(raw)
    return Event(
        type=found.text("type"), content=found.get("content"), params=found.inner("params").raw, raw=raw
    )


def pending_in(events: Iterable[Event]) -> tuple[AuthorizationProfile, ...]:
    """Return the sign-ins that are still pending."""
    profiles = (
        _profile(each)
        for event in events
        if event.type.lower() == SIGN_IN.lower()
        for each in Fields(event.content).objects("auth_profiles")
    )
    return tuple(each for each in profiles if not each.is_authorized)


def _profile(raw: Fields) -> AuthorizationProfile:
    return AuthorizationProfile(
        url=raw.text("url"),
        name=raw.text("idpName"),
        sso_type=raw.text("sso_type"),
        is_authorized=raw.flag("isAuthorized") is True,
        raw=raw.raw,
    )


def read_attachments(raw: Fields) -> tuple[Attachment, ...]:
    """Read the member `attachments`, whose files have members in three spellings."""
    return tuple(_attachment(each) for each in raw.objects("attachments"))


def _attachment(raw: Fields) -> Attachment:
    extracted = raw.inner("Metadata")
    return Attachment(
        file_id=raw.text("fileId"),
        file_name=raw.text("fileName"),
        mime_type=raw.text("mimeType", "fileType"),
        is_active=raw.flag("isActive"),
        tokens=extracted.count("tokens"),
        error=extracted.text("error"),
        raw=raw.raw,
    )


def read_session_info(raw: Fields) -> SessionInfo:
    """Read a session as in the member `sessionInfo`. An unset reference is the user's (section 4.2)."""
    user = raw.text("userReference", "user_reference_id")
    return SessionInfo(
        session_id=raw.text("sessionId"),
        session_reference=raw.text("sessionReference", "session_reference_id") or user,
        user_reference=user,
        user_id=raw.text("userId"),
        app_id=raw.text("appId"),
        run_id=raw.text("runId"),
        environment=raw.text("envName", "environment"),
        status=raw.text("status"),
        conversation_state=raw.text("conversationState"),
        attachments=read_attachments(raw),
        raw=raw.raw,
    )


def read_limits(raw: Fields) -> UploadLimits:
    """Read the limits of attachments from a whole answer."""
    limits = raw.inner("fileUploadConfig")
    return UploadLimits(
        is_enabled=limits.flag("isAttachmentsEnabled", "enabled"),
        max_files=limits.count("maxFileCount"),
        max_megabytes=limits.number("maxFileSize"),
        max_tokens=limits.count("maxTokens"),
        extensions=tuple(each for each in raw.items("allowedMimeTypes") if isinstance(each, str)),
    )


@frozen(kw_only=True)
class Session:
    """A conversation of an app with one of its users.

    `session_reference` is the caller's name for it, the user's reference if none was set. `status` is the platform's
    word, from an open set. `pending_authorizations` are pending sign-ins of the user, `output` is what the app said
    without being asked, `limits` are those of attachments; `traces` are empty unless requested.
    """

    session_id: str
    session_reference: str = field(default="", repr=False)
    user_reference: str = field(default="", repr=False)
    user_id: str = ""
    app_id: str = ""
    environment: str = ""
    status: str = ""
    source: str = ""
    created_at: datetime | None = None
    ended_at: datetime | None = None
    last_active_at: datetime | None = None
    attachments: tuple[Attachment, ...] = ()
    events: tuple[Event, ...] = ()
    output: tuple[Any, ...] = field(default=(), repr=False)
    limits: UploadLimits = UploadLimits()
    traces: tuple["Trace", ...] = ()
    pending_authorizations: tuple[AuthorizationProfile, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def text(self) -> str:
        """Return the texts that the app said without being asked, a welcome for example; empty if there are none."""
        return text_of(self.output)


@frozen(kw_only=True)
class Observation:
    """One step within a trace: a model's generation, or a span around others."""

    observation_id: str
    type: str = ""
    name: str = ""
    model: str = ""
    provider: str = ""
    parent_id: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    input: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)
    tokens: Mapping[str, Any] = field(factory=dict)
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class Trace:
    """The record of what one run of a session did; its id is the run's. Agent Platform API, section 6.3."""

    trace_id: str
    began_at: datetime | None = None
    latency: float | None = None
    input: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)
    observations: tuple[Observation, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)
