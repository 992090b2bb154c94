"""What a vendor's fake server must supply: it answers requests in memory, without sockets and without waiting.

Each request comes with the time (`now`: seconds of the server's own scaled clock, from 0), and a handler returns at
once. The simulator serves fake servers over loopback; tests call them directly through a `Send`. The simulator finds
them by a factory: a vendor's module `fake` has a function `make_fake(plan: RunPlan) -> FakeServer`.

Most fake servers are a `FakeVendor`: routes whose handlers read requests (`read_object`, `has_key`), start a
`FakeRun` with a timeline from `Timelines`, write the vendor's JSON, and raise `Refused`. Read that of Leap first.
"""

from .plan import RunPlan, Step, hex_id, seeded, timed_steps
from .requests import JsonObject, has_key, read_count, read_json, read_object, refusing
from .router import Match, Router, answer, ask, no_such_endpoint, read_query
from .routes import (
    Answer,
    Call,
    DelayedReply,
    Endpoint,
    Refused,
    Route,
    StreamedReply,
    json_reply,
    make_routes,
)
from .server import AnswersUnknownPaths, FakeServer, SendsWebhooks, Webhook
from .timelines import FakeRun, StatusWords, Timeline, Timelines
from .vendor import FakeVendor, FakeVendorWithInput
from .webhooks import WebhookQueue

__all__ = [
    "Answer",
    "AnswersUnknownPaths",
    "Call",
    "DelayedReply",
    "Endpoint",
    "FakeRun",
    "FakeServer",
    "FakeVendor",
    "FakeVendorWithInput",
    "JsonObject",
    "Match",
    "Refused",
    "Route",
    "Router",
    "RunPlan",
    "SendsWebhooks",
    "StatusWords",
    "Step",
    "StreamedReply",
    "Timeline",
    "Timelines",
    "Webhook",
    "WebhookQueue",
    "answer",
    "ask",
    "has_key",
    "hex_id",
    "json_reply",
    "make_routes",
    "no_such_endpoint",
    "read_count",
    "read_json",
    "read_object",
    "read_query",
    "refusing",
    "seeded",
    "timed_steps",
]
