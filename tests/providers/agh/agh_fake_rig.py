"""What the tests of the fake AGH Runtime share: a client that calls it directly, and checks what comes back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import Answer, Call, DelayedReply, Router, RunPlan, Step, ask, read_query
from aioagents.model import Reply, Request
from aioagents.providers.agh.fake import AghRules, FakeAgh, sign

JOBS, TRIGGERS, RUNS = (f"/api/automation/{name}" for name in ("jobs", "triggers", "runs"))
SECRET = "k3y-for-docs-only"
SECOND = 1_000_000_000
EPOCH = int(datetime(2026, 1, 5, 9, 0, tzinfo=UTC).timestamp())
LATER = {"mode": "at", "time": "2027-01-01T00:00:00Z"}
JOB: Mapping[str, Any] = {
    "scope": "global",
    "name": "digest",
    "agent_name": "writer",
    "prompt": "Sum up.",
    "schedule": LATER,
}
TRIGGER: Mapping[str, Any] = {
    "scope": "global",
    "name": "review",
    "agent_name": "reviewer",
    "prompt": "Check it.",
    "event": "session.created",
}
HOOK: Mapping[str, Any] = {
    **TRIGGER,
    "event": "webhook",
    "endpoint_slug": "deploy",
    "webhook_secret_value": SECRET,
}
BACKOFF: Mapping[str, Any] = {"strategy": "backoff", "max_retries": 2, "base_delay": "10s"}
MANY: Mapping[str, Any] = {"max": 1_000_000, "window": "1h"}


class Client:
    """Calls one fake server as a client would."""

    def __init__(self, fake: FakeAgh | None = None) -> None:
        self.fake = FakeAgh() if fake is None else fake

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        now: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request; `body` is JSON unless it is bytes already."""
        data = body if isinstance(body, bytes | None) else encode_json(body)
        request = Request(
            method=method, url=f"http://127.0.0.1:2123{path}", call="", headers=headers or {}, body=data
        )
        reply = ask([self.fake], request, now=now)
        assert isinstance(reply, Answer)
        return reply

    def reply(self, method: str, path: str, body: Any = None, *, now: float = 0.0, **headers: str) -> Reply:
        """Send a request that is answered at once."""
        reply = self.send(method, path, body, now=now, headers=headers)
        assert isinstance(reply, Reply)
        return reply

    def status(self, method: str, path: str, body: Any = None, *, now: float = 0.0, **headers: str) -> int:
        """Return the status alone."""
        return self.reply(method, path, body, now=now, **headers).status

    def json(self, method: str, path: str, body: Any = None, *, now: float = 0.0) -> Any:
        """Return the JSON of a successful call."""
        reply = self.reply(method, path, body, now=now)
        assert reply.is_success, reply.body
        return decode_json(reply.body)

    def get(self, path: str, *, now: float = 0.0) -> Any:
        """Read something."""
        return self.json("GET", path, now=now)

    def job(self, *, now: float = 0.0, **members: Any) -> dict[str, Any]:
        """Create a job like `JOB`, with other members."""
        job: dict[str, Any] = self.json("POST", JOBS, {**JOB, **members}, now=now)["job"]
        return job

    def trigger(self, *, now: float = 0.0, **members: Any) -> dict[str, Any]:
        """Create a webhook trigger like `HOOK`, with other members."""
        trigger: dict[str, Any] = self.json("POST", TRIGGERS, {**HOOK, **members}, now=now)["trigger"]
        return trigger

    def fire(self, job_id: str, *, now: float = 0.0) -> Answer:
        """Trigger a job."""
        return self.send("POST", f"{JOBS}/{job_id}/trigger", now=now)

    def runs(self, owner: str, query: str = "", *, now: float = 0.0) -> list[dict[str, Any]]:
        """Read the history of a job or trigger."""
        base = JOBS if owner.startswith("job") else TRIGGERS
        runs: list[dict[str, Any]] = self.get(f"{base}/{owner}/runs{query}", now=now)["runs"]
        return runs

    def run(self, run_id: str, *, now: float = 0.0) -> dict[str, Any]:
        """Read a run."""
        run: dict[str, Any] = self.get(f"{RUNS}/{run_id}", now=now)["run"]
        return run

    def task_run(self, run_id: str, *, now: float = 0.0) -> dict[str, Any]:
        """Read a task run."""
        run: dict[str, Any] = self.get(f"/api/task-runs/{run_id}", now=now)["run"]["run"]
        return run

    def counted(self, figures: Mapping[str, int]) -> bool:
        """Return whether the counters have these values."""
        counts = self.fake.statistics()
        return {name: counts.get(name) for name in figures} == figures

    def deliver(
        self,
        trigger: Mapping[str, Any],
        body: bytes = b"{}",
        *,
        now: float = 0.0,
        stamp: str | None = None,
        delivery: str = "d-1",
        moment: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        path: str | None = None,
    ) -> Answer:
        """Deliver to a trigger, dated by the server's clock, signed with `SECRET`; `headers` replace what is sent."""
        at = EPOCH + int(now)
        sent = {
            "x-agh-webhook-timestamp": str(at) if stamp is None else stamp,
            "x-agh-webhook-signature": sign(SECRET, at * SECOND, body),
            "x-agh-webhook-delivery-id": delivery,
        }
        sent = {name: value for name, value in {**sent, **(headers or {})}.items() if value}
        path = endpoint(trigger) if path is None else path
        match = Router([self.fake]).find("POST", path)
        assert match is not None
        request = Request(method="POST", url=path, call="", headers=sent, body=body)
        call = Call(request=request, path=match.path, query=read_query(""), now=now, client_time=moment)
        reply = match.route.handler(call)
        assert isinstance(reply, Answer)
        return reply


def endpoint(trigger: Mapping[str, Any]) -> str:
    """Return the path of a trigger's deliveries."""
    name = quote(f"{trigger['endpoint_slug']}--{trigger['webhook_id']}", safe="")
    if trigger["scope"] == "global":
        return f"/api/webhooks/global/{name}"
    return f"/api/webhooks/workspaces/{trigger['workspace_id']}/{name}"


def run_id_of(trigger: Mapping[str, Any], delivery: str = "d-1") -> str:
    """Return the id of a delivery's run."""
    text = f"{trigger['id']}\0{delivery}"
    return f"run_wbh_{sha256(text.encode()).hexdigest()[:24]}"


def scripted(*steps: Step, name: str = "digest", rules: AghRules | None = None, **plan: Any) -> Client:
    """Return a client of a fake server with one script, for runs of this name."""
    return Client(FakeAgh(RunPlan(scripts={name: steps}, **plan), rules=rules))


def delayed(reply: object) -> DelayedReply:
    """Check that a reply is delayed, and return it."""
    assert isinstance(reply, DelayedReply)
    return reply


def settled(reply: Answer, now: float) -> Reply:
    """Return the reply that a delayed one has become by `now`."""
    later = delayed(reply).reply(now)
    assert isinstance(later, Reply)
    return later


def final(reply: Answer) -> Reply:
    """Return the complete reply, called at each time until which it is delayed."""
    while isinstance(reply, DelayedReply):
        reply = reply.reply(reply.until)
    assert isinstance(reply, Reply)
    return reply


def body_of(reply: Answer) -> Any:
    """Return the JSON of a complete reply."""
    assert isinstance(reply, Reply)
    return decode_json(reply.body)


def error_of(reply: Answer) -> str:
    """Return the text of a refusal, and check that it has no other member."""
    body = body_of(reply)
    assert list(body) == ["error"]
    text: str = body["error"]
    return text
