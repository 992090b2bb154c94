"""What the vendor's facts leave open, and so is chosen: by whom a fake is made, or in turn."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

#: Forms of the errors that nothing is known of: three of JSON, a text, and nothing at all.
ERROR_FORMS: Final = ("message", "error", "errors", "text", "empty")
#: How a stream's events are told apart: as server-sent events (tidy, or with all that these may have besides), one
#: a line, not at all, or printed over many lines as on the vendor's pages.
FRAMINGS: Final = ("sse", "sse-rich", "lines", "joined", "printed")
#: What is POSTed to a callback: the status record, the same without its wrapping, a synchronous answer, or a digest.
CALLBACK_FORMS: Final = ("record", "run", "reply", "digest")
#: What a run does while a sign-in is pending: goes on without, stops with all of the answer's envelope, or bare.
SIGN_IN_FORMS: Final = ("proceeds", "stops", "bare")
#: Names of apps that are refused with that status and code; the other codes follow from what is sent.
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
#: Extensions, though the vendor's member says MIME types; the odd one is the vendor's.
EXTENSIONS: Final = ("pdf", "txt", "png", "jpg", "docx", "json", "csv", "mle")
_UPLOADS: Final = "m4a mp3 webm mp4 mpga wav mpeg png jpeg jpg webp gif json tar gz zip bin"


@frozen(kw_only=True)
class AgentPlatformRules:
    """What the vendor's facts leave open.

    What they tell in several ways is told in each of these in its turn; without `quirks`, always in the first.
    `errors`, `framings`, `callbacks` and `signin_forms` are what is taken in turn of the forms above.

    Keys: the app's comes in `key_header` behind `key_prefix`, the tools' likewise. `wrong_key_status` answers a
    wrong key, `foreign_status` another app's path, an owner or an identity that does not fit. `unknown_status`
    answers ids that match nothing, and the agents, tools, flows and models in `unknown`.

    Runs: a session that is busy refuses a second one with `busy_status`, where that is given. Terminating twice
    is `unknown_status`, unless `terminates_again`. A status call has to name a session if `status_needs_identity`.
    `has_response_processor` answers a stream with one body. Streams of the texts in `cut` end within an event.
    With a callback, `hides_run_id` keeps the id out of the acknowledgement. For users in `signins` a sign-in at
    each of `sign_in_at` is pending. Answers come from `answers`, each paragraph a message.

    Files: limits are megabytes of 1,000,000 bytes, the chunked ones apart. Uploads last `upload_lasts` seconds;
    chunks come `in_order` or not, and the same one `chunk_again` or not. A completion that lacks a chunk is
    refused with `missing_chunk_status`, a late one with `expired_status`.

    Jobs: a share of `at_once` is over when it is answered. `never_deployed` models are not deployed, as their first
    deployment is not. An export's URL is told by its status with `downloads_in_status`, and by its trigger always
    if it is a tool's.
    """

    quirks: bool = True
    errors: Sequence[str] = ERROR_FORMS
    key_header: str = "x-api-key"
    key_prefix: str = ""
    tools_key_header: str = "x-api-key"
    tools_key_prefix: str = ""
    wrong_key_status: int = 401
    foreign_status: int = 403
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
    sign_in_at: Sequence[str] = ("Google",)
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

    at_once: float = 0.25
    downloads_in_status: bool = True
    flow_id_needed: bool = False
    never_deployed: frozenset[str] = frozenset()
