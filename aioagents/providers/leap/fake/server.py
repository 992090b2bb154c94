"""The fake server of Leap: its endpoints, what they refuse, and its webhooks."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from ....codec import decode_json, encode_json
from ....contract.fake import (
    Call,
    Endpoint,
    FakeVendorWithInput,
    JsonObject,
    Refused,
    RunPlan,
    Webhook,
    WebhookQueue,
    has_key,
    json_reply,
    make_routes,
    read_object,
)
from ....model import Purpose, Reply
from .runs import ERROR, BulkRun, Dialect, Item, LeapRules, LeapRun, RunFactory

_JSON: Final = MappingProxyType({"content-type": "application/json"})
_NO_RUN: Final = f"rnp_{'0' * 18}"


class FakeLeap(FakeVendorWithInput):
    """Leap as its facts describe it: workflow runs in both dialects, bulk runs, webhooks. Deterministic by seed.

    A script's words are the vendor's own; after the last step the run stays as it is. A run is read back in the
    dialect in which it was started. Each accepted POST is answered with `success_status`. The plan's `pausing` and
    `history` are ignored. It implements `SendsWebhooks`: the caller takes the webhooks that are due and sends them.
    Starts and polls of bulk runs are counted twice, with those of all runs; `ignored_members` counts members of a
    start that the dialect does not know.
    """

    vendor = "leap"
    counters = ("bulk_starts", "bulk_polls", "ignored_members", "webhooks_planned")

    def __init__(
        self,
        plan: RunPlan | None = None,
        *,
        api_key: str = "demo-key",
        success_status: int = 200,
        rules: LeapRules | None = None,
    ) -> None:
        super().__init__(plan)
        if not 200 <= success_status < 300:  # noqa: PLR2004
            raise ValueError(f"success_status has to be a 2xx, not {success_status}")
        self._api_key = api_key
        self._success_status = success_status
        self._rules = LeapRules() if rules is None else rules
        self._factory = RunFactory(self.plan, self._rules)
        self._runs: dict[str, LeapRun] = {}
        self._bulks: dict[str, BulkRun] = {}
        self._webhooks = WebhookQueue(self.counts)
        self._routes = make_routes(
            self._endpoints(), counts=self.counts, refuse=self._refuse, guard=self._permit
        )

    def environment(self, url: str) -> Mapping[str, str]:
        """Return `LEAP_API_KEY` and `LEAP_BASE_URL`."""
        return {"LEAP_API_KEY": self._api_key, "LEAP_BASE_URL": url}

    def ended_at(self, run_id: str) -> float | None:
        """Return the server's second at which a run or bulk run ends, also before then; None for never."""
        item = self._runs.get(run_id) or self._bulks.get(run_id)
        return None if item is None else item.ended_at

    def next_webhook_at(self) -> float | None:
        """Return the server's second at which the next run with a webhook ends; None when there is none."""
        return self._webhooks.next_at()

    def take_webhooks(self, now: float) -> Sequence[Webhook]:
        """Return the webhooks of the runs that have ended by now, in the order of their ends, each once."""
        return self._webhooks.take_due(now)

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return the same body with another run's id, and with a final status that the run does not have."""
        body = decode_json(webhook.body)
        end, error = ("completed", None) if body["status"] != "completed" else ("failed", ERROR)
        other = {**body, "id": self._webhooks.other_run(webhook.run) or _NO_RUN}
        return encode_json(other), encode_json({**body, "status": end, "error": error})

    def _endpoints(self) -> Iterator[Endpoint]:
        start, poll = Purpose.START, Purpose.POLL
        yield "POST", "/v1/workflows", "workflows.run", start, partial(self._run, Dialect.WORKFLOWS)
        yield "POST", "/v1/runs", "runs.run", start, partial(self._run, Dialect.RUNS)
        yield "GET", "/v1/runs/{workflow_run_id}", "runs.get", poll, self._get
        yield "POST", "/v1/runs/bulk", "bulk.run", start, self._run_bulk
        yield "GET", "/v1/runs/bulk/{bulk_run_id}", "bulk.get", poll, self._get_bulk

    def _permit(self, call: Call) -> None:
        if not has_key(call, self._api_key, header="X-Api-Key", prefix=""):
            raise Refused(HTTPStatus.UNAUTHORIZED)

    def _refuse(self, refused: Refused, now: float) -> Reply:  # noqa: ARG002 - the signature of every fake server
        if refused.status == HTTPStatus.UNAUTHORIZED:
            body = self._rules.unauthorized
            return Reply(401) if body is None else json_reply(body, 401)
        # As NestJS servers do: a list of messages for a wrong body, else one message.
        message: Any = list(refused.args) if refused.status == HTTPStatus.BAD_REQUEST else str(refused)
        phrase = HTTPStatus(refused.status).phrase
        return json_reply({"statusCode": refused.status, "message": message, "error": phrase}, refused.status)

    def _run(self, dialect: Dialect, call: Call) -> Reply:
        names = dialect.value
        body = self._read(call, names.workflow, names.webhook, names.inputs)
        # Null is kept as it is: the run has it as its input.
        given = {} if names.inputs not in body.values else body.get(names.inputs, dict)
        workflow, webhook_url = self._target(body, dialect)
        run = self._factory.run(workflow, dialect, given, call.now)
        self._runs[run.id] = run
        self.count_start((given or {}).get("key"))
        return self._start(call, run, webhook_url)

    def _run_bulk(self, call: Call) -> Reply:
        body = self._read(call, "workflow_id", "webhook_url", "input_csv_url")
        csv_url = body.url("input_csv_url") or body.require("input_csv_url", str)
        workflow, webhook_url = self._target(body, Dialect.RUNS)
        bulk = self._factory.bulk(workflow, csv_url, call.now)
        self._bulks[bulk.id] = bulk
        self.counts["bulk_starts"] += 1
        self.count_start()
        return self._start(call, bulk, webhook_url)

    def _read(self, call: Call, *known: str) -> JsonObject:
        body = read_object(call)
        # A server may ignore unknown members silently; then a wrong dialect shows only in this counter.
        self.counts["ignored_members"] += len(body.values.keys() - set(known))
        return body

    def _target(self, body: JsonObject, dialect: Dialect) -> tuple[str, str | None]:
        workflow = body.require(dialect.value.workflow, str)
        has_webhook = body.values.get(dialect.value.webhook) != ""
        webhook_url = body.url(dialect.value.webhook) if has_webhook else None
        if workflow in self._rules.unknown:
            raise Refused(self._rules.unknown_status, "Workflow not found")
        return workflow, webhook_url

    def _start(self, call: Call, item: Item, webhook_url: str | None) -> Reply:
        # The body is that of the start, also where the run has ended before the reply arrives.
        reply = json_reply(item.body(call.now, self.plan), self._success_status)
        if webhook_url and item.end is not None and item.end[1] in self._rules.webhook_ends:
            self._webhooks.plan(call, item, partial(self._webhook, item, webhook_url))
        return reply

    def _webhook(self, item: Item, url: str, at: float) -> Webhook:
        return Webhook(url, encode_json(item.body(at, self.plan)), _JSON, at, item.id)

    def _get(self, call: Call) -> Reply:
        return self._poll(call, self._runs.get(call.path["workflow_run_id"]), "Workflow run not found")

    def _get_bulk(self, call: Call) -> Reply:
        reply = self._poll(call, self._bulks.get(call.path["bulk_run_id"]), "Bulk workflow run not found")
        self.counts["bulk_polls"] += 1
        return reply

    def _poll(self, call: Call, item: Item | None, missing: str) -> Reply:
        if item is None or call.now < item.created_at + self._rules.hidden_for:
            raise Refused(404, missing)
        self.counts["polls"] += 1
        return json_reply(item.body(call.now, self.plan))


def make_fake(plan: RunPlan) -> FakeLeap:
    """Make the fake server that the simulator serves by default."""
    return FakeLeap(plan)
