"""The fake server of Leap: its endpoints, what they refuse, its webhooks, and its counters."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from heapq import heappop, heappush
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen

from ....codec import decode_json, encode_json
from ....contract.fake import Call, Endpoint, Refused, Route, RunPlan, Webhook, json_reply, make_routes
from ....model import Purpose, Reply
from .runs import ERROR, BodyFormat, BulkRun, Dialect, Item, LeapRun, RunFactory

_JSON: Final = MappingProxyType({"content-type": "application/json"})
_OUTPUTS: Final[Sequence[Any]] = (
    {"answer": "tea", "steps": {"step1": {"score": 0.5}}},
    "tea",
    ["tea", 1],
    None,
    {},
    7,
    True,
)


@frozen(kw_only=True)
class LeapRules:
    """Choices that the vendor's facts leave open.

    `unknown` workflows are answered with `unknown_status`; `unauthorized` is the JSON body of a 401, None an
    empty one. `webhook_ends` are the final statuses for which webhooks are sent. Completed runs get their outputs
    from `outputs` in turn, in the member `payload` (`output` or `result`). `without_ended_at` is the share of failed
    runs whose `ended_at` stays null. A bulk run has at most `rows` rows. A new run is not found for `hidden_for`
    seconds.
    """

    unknown: frozenset[str] = frozenset({"unknown_workflow"})
    unknown_status: int = 404
    unauthorized: Any = None
    webhook_ends: frozenset[str] = frozenset({"completed", "failed"})
    outputs: Sequence[Any] = field(default=_OUTPUTS)
    payload: str = "output"
    without_ended_at: float = 0.5
    rows: int = 20
    hidden_for: float = 0.0


class FakeLeap:
    """Leap as its facts describe it: workflow runs in both dialects, bulk runs, webhooks. Deterministic by seed.

    A script's words are the vendor's own; after the last step the run stays as it is. A run is read back in the
    dialect in which it was started. Each accepted POST is answered with `success_status`. The plan's `pausing` and
    `history` are ignored. It implements `SendsWebhooks`: the caller takes the webhooks that are due and sends them.
    """

    def __init__(
        self,
        plan: RunPlan | None = None,
        *,
        api_key: str = "demo-key",
        success_status: int = 200,
        rules: LeapRules | None = None,
    ) -> None:
        if not 200 <= success_status < 300:  # noqa: PLR2004
            raise ValueError(f"success_status has to be a 2xx, not {success_status}")
        plan = RunPlan() if plan is None else plan
        self._api_key = api_key
        self._success_status = success_status
        self._rules = LeapRules() if rules is None else rules
        self._factory = RunFactory(
            plan, outputs=self._rules.outputs, without_ended_at=self._rules.without_ended_at
        )
        self._form = BodyFormat(epoch=plan.epoch.astimezone(UTC), payload=self._rules.payload)
        self._runs: dict[str, LeapRun] = {}
        self._bulks: dict[str, BulkRun] = {}
        self._last_ids = ("", "")
        self._planned: list[tuple[float, int, Item]] = []
        self._counts: Counter[str] = Counter()
        self._by_key: Counter[str] = Counter()
        self._routes = make_routes(
            self._endpoints(), counts=self._counts, refuse=self._refuse, guard=self._permit
        )

    @property
    def vendor(self) -> str:
        """Return `leap`."""
        return "leap"

    @property
    def routes(self) -> Sequence[Route]:
        """Return the five endpoints."""
        return self._routes

    @property
    def starts_by_key(self) -> Mapping[str, int]:
        """Return how many runs were started for each value of the inputs' member `key`."""
        return MappingProxyType(self._by_key)

    def statistics(self) -> Mapping[str, int]:
        """Return the counters.

        `starts` and `polls` are those answered, bulk runs included (`bulk_starts`, `bulk_polls`).
        `ignored_members` counts members of a start that the dialect does not know, `webhooks_planned` the webhooks of
        runs that have a URL and will end, `refused_<status>` the refusals. `token_requests` is 0.
        """
        named = ("token_requests", "starts", "polls", "bulk_starts", "bulk_polls")
        return dict.fromkeys((*named, "ignored_members", "webhooks_planned"), 0) | dict(self._counts)

    def environment(self, url: str) -> Mapping[str, str]:
        """Return `LEAP_API_KEY` and `LEAP_BASE_URL`."""
        return {"LEAP_API_KEY": self._api_key, "LEAP_BASE_URL": url}

    def revoke(self, authorization: str) -> bool:  # noqa: ARG002 - the signature of every fake server
        """Return False: there are no tokens."""
        return False

    def ended_at(self, run_id: str) -> float | None:
        """Return the server's second at which a run or bulk run ends, also before then; None for never."""
        item = self._runs.get(run_id) or self._bulks.get(run_id)
        end = None if item is None else item.end
        return None if end is None else end[0]

    def next_webhook_at(self) -> float | None:
        """Return the server's second at which the next run with a webhook ends; None when there is none."""
        return self._planned[0][0] if self._planned else None

    def take_webhooks(self, now: float) -> Sequence[Webhook]:
        """Return the webhooks of the runs that have ended by now, in the order of their ends, each once."""
        due = []
        while self._planned and self._planned[0][0] <= now:
            at, _, item = heappop(self._planned)
            body = encode_json(item.body(now, self._form))
            due.append(Webhook(item.webhook_url, body, _JSON, at, item.id))
        return due

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return the same body with another run's id, and with a final status that the run does not have."""
        body = decode_json(webhook.body)
        other = next((known for known in self._last_ids if known != webhook.run), "")
        end, error = ("completed", None) if body["status"] != "completed" else ("failed", ERROR)
        untrue = {**body, "status": end, "error": error}
        return encode_json({**body, "id": other or f"rnp_{'0' * 18}"}), encode_json(untrue)

    def _endpoints(self) -> Iterator[Endpoint]:
        start, poll = Purpose.START, Purpose.POLL
        yield "POST", "/v1/workflows", "workflows.run", start, self._run_workflow
        yield "POST", "/v1/runs", "runs.run", start, self._run
        yield "GET", "/v1/runs/{workflow_run_id}", "runs.get", poll, self._get
        yield "POST", "/v1/runs/bulk", "bulk.run", start, self._run_bulk
        yield "GET", "/v1/runs/bulk/{bulk_run_id}", "bulk.get", poll, self._get_bulk

    def _permit(self, call: Call) -> None:
        if call.header("x-api-key") != self._api_key:
            raise Refused(HTTPStatus.UNAUTHORIZED)

    def _refuse(self, refused: Refused, now: float) -> Reply:  # noqa: ARG002 - the signature of every fake server
        if refused.status == HTTPStatus.UNAUTHORIZED:
            body = self._rules.unauthorized
            return Reply(401) if body is None else json_reply(body, 401)
        # As NestJS servers do: a list of messages for a wrong body, else one message.
        message: Any = list(refused.args) if refused.status == HTTPStatus.BAD_REQUEST else str(refused)
        phrase = HTTPStatus(refused.status).phrase
        return json_reply({"statusCode": refused.status, "message": message, "error": phrase}, refused.status)

    def _run_workflow(self, call: Call) -> Reply:
        return self._start(call, Dialect.WORKFLOWS)

    def _run(self, call: Call) -> Reply:
        return self._start(call, Dialect.RUNS)

    def _start(self, call: Call, dialect: Dialect) -> Reply:
        names = dialect.value
        body = self._read(call, names.workflow, names.webhook, names.inputs)
        given = body.get(names.inputs, {})
        if not isinstance(given, dict | None):
            raise Refused(400, f"{names.inputs} must be an object")
        workflow, webhook_url = self._target(body, dialect)
        run = self._factory.run(workflow, now=call.now, dialect=dialect, webhook_url=webhook_url, given=given)
        self._runs[run.id] = run
        if given and "key" in given:
            self._by_key[str(given["key"])] += 1
        return self._begin(call, run)

    def _run_bulk(self, call: Call) -> Reply:
        body = self._read(call, "workflow_id", "webhook_url", "input_csv_url")
        csv_url = body.get("input_csv_url")
        if not isinstance(csv_url, str) or not _is_url(csv_url):
            raise Refused(400, "input_csv_url must be a URL address")
        workflow, webhook_url = self._target(body, Dialect.RUNS)
        bulk = self._factory.bulk(
            workflow,
            now=call.now,
            webhook_url=webhook_url,
            input_csv_url=csv_url,
            rows=self._rules.rows,
        )
        self._bulks[bulk.id] = bulk
        self._counts["bulk_starts"] += 1
        return self._begin(call, bulk)

    def _read(self, call: Call, *known: str) -> Mapping[str, Any]:
        body = _json_object(call)
        # A server may ignore unknown members silently; then a wrong dialect shows only in this counter.
        self._counts["ignored_members"] += len(body.keys() - set(known))
        return body

    def _target(self, body: Mapping[str, Any], dialect: Dialect) -> tuple[str, str]:
        workflow, webhook_url = body.get(dialect.value.workflow), body.get(dialect.value.webhook)
        if not isinstance(workflow, str) or not workflow:
            raise Refused(400, f"{dialect.value.workflow} must be a non-empty string")
        if webhook_url and not (isinstance(webhook_url, str) and _is_url(webhook_url)):
            raise Refused(400, f"{dialect.value.webhook} must be a URL address")
        if workflow in self._rules.unknown:
            raise Refused(self._rules.unknown_status, "Workflow not found")
        return workflow, webhook_url or ""

    def _begin(self, call: Call, item: Item) -> Reply:
        self._counts["starts"] += 1
        self._last_ids = (item.id, self._last_ids[0])
        # The body is that of the start, also where the run has ended before the reply arrives.
        reply = json_reply(item.body(call.now, self._form), self._success_status)
        if item.webhook_url and item.end is not None and item.end[1] in self._rules.webhook_ends:
            self._counts["webhooks_planned"] += 1
            ends_at_start = call.should_end_at_start is not None and call.should_end_at_start(item.id)
            heappush(self._planned, (item.end_at_start() if ends_at_start else item.end[0], item.index, item))
        return reply

    def _get(self, call: Call) -> Reply:
        return self._read_run(call, self._runs.get(call.path["workflow_run_id"]), "Workflow run not found")

    def _get_bulk(self, call: Call) -> Reply:
        reply = self._read_run(call, self._bulks.get(call.path["bulk_run_id"]), "Bulk workflow run not found")
        self._counts["bulk_polls"] += 1
        return reply

    def _read_run(self, call: Call, item: Item | None, missing: str) -> Reply:
        if item is None or call.now < item.created_at + self._rules.hidden_for:
            raise Refused(404, missing)
        self._counts["polls"] += 1
        return json_reply(item.body(call.now, self._form))


def make_fake(plan: RunPlan) -> FakeLeap:
    """Make the fake server that the simulator serves by default."""
    return FakeLeap(plan)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _json_object(call: Call) -> dict[str, Any]:
    kind = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(400, "the content type must be application/json")
    try:
        body = call.json()
    except ValueError as exc:
        raise Refused(400, str(exc)) from None
    if not isinstance(body, dict):
        raise Refused(400, "the body must be an object")
    return body
