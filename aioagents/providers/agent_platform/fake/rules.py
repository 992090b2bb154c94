"""What the vendor's documentation leaves open: chosen when a fake is made, or varied from reply to reply."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

#: Forms of the errors whose form is undocumented: three of JSON, plain text, and an empty body.
ERROR_FORMS: Final = ("message", "error", "errors", "text", "empty")
#: How the events of a stream are separated: as server-sent events (plain, or with everything the standard allows),
#: one a line, by nothing, or printed over many lines as on the vendor's pages.
FRAMINGS: Final = ("sse", "sse-rich", "lines", "joined", "printed")
#: What is POSTed to a callback: the status record, the same without its envelope, a synchronous answer, or a summary.
CALLBACK_FORMS: Final = ("record", "run", "reply", "digest")
#: What a run does while a sign-in is pending: goes on without it, stops with an answer in its usual envelope, or
#: stops with the events alone.
SIGN_IN_FORMS: Final = ("proceeds", "stops", "bare")
#: Names of apps whose creation is refused with this status and code; the other codes depend on the request.
APP_ERRORS: Final = MappingProxyType(
    {
        "Expired key": (401, "API_KEY_EXPIRED"),
        "Revoked key": (401, "API_KEY_REVOKED"),
        "Missing scope": (403, "INSUFFICIENT_SCOPE"),
        "Foreign account": (403, "ACCOUNT_ACCESS_DENIED"),
        "Forbidden user": (403, "USER_PERMISSION_DENIED"),
        "Broken platform": (500, "INTERNAL_ERROR"),
        "Closed platform": (503, "SERVICE_UNAVAILABLE"),
    }
)
ANSWERS: Final = (
    "It ships today.",
    "Grüße aus Zürich ✓ “ja”, und noch eine Zeile:\n  data: 1\n\nMore follows tomorrow.",
    "Done.\n\nOrder 12: {shipped}\n\nAnything else?",
)
#: Extensions, though the vendor's member is called MIME types; `mle` is the vendor's own.
EXTENSIONS: Final = ("pdf", "txt", "png", "jpg", "docx", "json", "csv", "mle")
_UPLOADS: Final = "m4a mp3 webm mp4 mpga wav mpeg png jpeg jpg webp gif json tar gz zip bin"


@frozen(kw_only=True)
class AgentPlatformRules:
    """What the vendor's documentation leaves open.

    What it documents in several ways, replies have in all of these, one after the other; without `quirks`, always in
    the first. `errors`, `framings`, `callbacks` and `signin_forms` say which of the forms above are used, in order.

    Keys: the app's key is read from `key_header` after `key_prefix`, the tools' key likewise. `wrong_key_status`
    answers a wrong key, `forbidden_status` the path of another app and an owner or identity that does not match.
    `unknown_status` answers ids that match nothing, and the agents, tools, flows and models in `unknown`.

    Runs: a session that is busy refuses a second run with `busy_status`, if that is given. Terminating a session
    twice is answered with `unknown_status`, unless `terminates_again`. A status call has to name a session if
    `status_needs_identity`. `has_response_processor` answers a stream with one body. Streams of the texts in `cut`
    end within an event. With a callback, `hides_run_id` leaves the id out of the acknowledgement. Users in `signins`
    have to sign in at each of `sign_in_providers`. Answers are taken from `answers`; each paragraph is a message.

    Files: limits are in megabytes of 1,000,000 bytes, except for uploads in chunks. An upload expires after
    `upload_lasts` seconds; `in_order` refuses chunks that come out of order, and `chunk_again` accepts a chunk that
    is sent twice. A completion that lacks a chunk is refused with `missing_chunk_status`, a late one with
    `expired_status`.

    Jobs: a share `ended_at_start` of the dock jobs is over when the start is answered. `never_deployed` models have
    never been deployed, which the API refuses to do first. The download URL of an export is part of its status with
    `downloads_in_status`; a tool's is always part of the answer to the start.
    """

    quirks: bool = True
    errors: Sequence[str] = ERROR_FORMS[:3]
    key_header: str = "x-api-key"
    key_prefix: str = ""
    tools_key_header: str = "x-api-key"
    tools_key_prefix: str = ""
    wrong_key_status: int = 401
    forbidden_status: int = 403
    unknown_status: int = 404
    unknown: frozenset[str] = frozenset({"unknown"})

    answers: Sequence[str] = ANSWERS
    busy_status: int | None = None
    terminates_again: bool = False
    status_needs_identity: bool = False
    has_response_processor: bool = False
    framings: Sequence[str] = FRAMINGS
    cut: frozenset[str] = frozenset()
    callbacks: Sequence[str] = CALLBACK_FORMS
    hides_run_id: bool = False
    signins: frozenset[str] = frozenset()
    sign_in_providers: Sequence[str] = ("Google",)
    signin_forms: Sequence[str] = SIGN_IN_FORMS
    env_name_needed: bool = False

    extensions: Sequence[str] = EXTENSIONS
    max_file_count: int = 10
    max_file_size: int = 25
    max_tokens: int = 100_000
    file_extensions: frozenset[str] = field(default=frozenset(_UPLOADS.split()))
    upload_lasts: float = 21_600.0
    in_order: bool = True
    chunk_again: bool = True
    missing_chunk_status: int = 400
    expired_status: int = 410

    ended_at_start: float = 0.25
    downloads_in_status: bool = True
    flow_id_needed: bool = False
    never_deployed: frozenset[str] = frozenset()
