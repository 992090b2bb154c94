"""Requests to the fake Agent Platform as a client would send them, with either key."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import Answer, DelayedReply, RunPlan, Step, StreamedReply, ask
from aioagents.model import Reply, Request
from aioagents.providers.agent_platform.fake import AgentPlatformRules, FakeAgentPlatform

HOST: Final = "http://127.0.0.1:1"
APP: Final = "/api/v2/apps/aa-demo/environments/draft"
LATER: Final = "/aaa/api/v1/apps/aa-demo/environments/draft"
PUBLIC: Final = "/api/public"
APP_KEY: Final[Mapping[str, str]] = {"x-api-key": "demo-app-key"}
TOOLS_KEY: Final[Mapping[str, str]] = {"x-api-key": "demo-tools-key"}
JSON: Final[Mapping[str, str]] = {"content-type": "application/json"}

GOOD: Final = (Step("pending", 1), Step("running", 9), Step("success"))
BAD: Final = (Step("pending", 1), Step("running", 9), Step("failed"))
SCRIPTS: Final = {"good": GOOD, "bad": BAD, "endless": (Step("running"),), "at once": (Step("success"),)}


class FakeClient:
    """Sends requests to one fake: with the app's key by default, those of `account` with the tools'."""

    def __init__(self, fake: FakeAgentPlatform) -> None:
        self.fake = fake

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] = APP_KEY,
        now: float = 0.0,
    ) -> Answer:
        """Send a request with JSON or bytes, and return the answer, which may be held or streamed."""
        is_json = body is not None and not isinstance(body, bytes)
        request = Request(
            method=method,
            url=HOST + path,
            call="",
            headers={**(JSON if is_json else {}), **headers},
            body=encode_json(body) if is_json else body,
        )
        return ask([self.fake], request, now=now)

    def reply(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Send a request that is answered immediately."""
        reply = self.ask(method, path, body, **more)
        assert isinstance(reply, Reply)
        return reply

    def account(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Send a request with the tools' key, below `/api/public`, that is answered immediately."""
        return self.reply(method, PUBLIC + path, body, headers=TOOLS_KEY, **more)

    def body(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """Send a request that is answered immediately by an object, and return the object."""
        return read(self.reply(method, path, body, **more))

    def execute(self, text: str = "good", *, now: float = 0.0, **more: Any) -> Answer:
        """Execute a run of the session `chat`, synchronously unless `more` says otherwise."""
        return self.ask("POST", f"{APP}/runs/execute", execute_body(text, **more), now=now)

    def start(self, text: str = "good", *, now: float = 0.0, **more: Any) -> str:
        """Start an asynchronous run, and return its id."""
        reply = self.execute(text, now=now, isAsync=True, **more)
        assert isinstance(reply, Reply)
        run_id: str = read(reply)["runId"]
        return run_id

    def poll(self, run_id: str, *, now: float = 0.0, **identity: str) -> dict[str, Any]:
        """Return the record of a run."""
        named = identity or {"sessionReference": "chat"}
        body = {"sessionIdentity": identify(**named)}
        record: dict[str, Any] = self.body("POST", f"{APP}/runs/{run_id}/status", body, now=now)["run"]
        return record

    def create(self, *, now: float = 0.0, source: str | None = None, **identity: str) -> dict[str, Any]:
        """Create or find a session."""
        body: dict[str, Any] = {"sessionIdentity": identify(**identity)}
        if source is not None:
            body["source"] = source
        return self.body("POST", f"{APP}/sessions", body, now=now)

    def count(self, name: str) -> int:
        """Return one of the fake's counters."""
        return self.fake.statistics().get(name, 0)


def fake_client(
    *, plan: Mapping[str, Any] | None = None, scripts: Mapping[str, Sequence[Step]] = SCRIPTS, **rules: Any
) -> FakeClient:
    """Return a client of a new fake with these rules."""
    runs = RunPlan(scripts=scripts, **(plan or {}))
    return FakeClient(FakeAgentPlatform(runs, rules=AgentPlatformRules(**rules)))


def identify(**identity: str) -> list[dict[str, str]]:
    """Return the member `sessionIdentity`."""
    return [{"type": kind, "value": value} for kind, value in identity.items()]


def execute_body(text: str = "good", **more: Any) -> dict[str, Any]:
    """Return the body of an execute call."""
    return {
        "sessionIdentity": identify(sessionReference="chat"),
        "input": [{"type": "text", "content": text}],
        **more,
    }


def read(reply: Answer) -> dict[str, Any]:
    """Return the object of a successful reply."""
    assert isinstance(reply, Reply)
    assert reply.is_success, reply
    answer: dict[str, Any] = decode_json(reply.body)
    return answer


def read_held(answer: Answer) -> dict[str, Any]:
    """Return the object of a held reply, at the moment when it is due."""
    assert isinstance(answer, DelayedReply)
    return read(answer.reply(answer.until))


def streamed(answer: Answer) -> StreamedReply:
    """Return an answer that has to be a stream."""
    assert isinstance(answer, StreamedReply)
    return answer


def form(*parts: tuple[str, bytes], boundary: str = "b0undary") -> tuple[bytes, dict[str, str]]:
    """Return a form of parts, each with its disposition and content, as the body and its header."""
    delimiter = b"--" + boundary.encode()
    body = b"".join(
        delimiter
        + b'\r\nContent-Disposition: form-data; name="'
        + name.encode()
        + b"\r\n\r\n"
        + content
        + b"\r\n"
        for name, content in parts
    )
    return body + delimiter + b"--\r\n", {"content-type": f'multipart/form-data; boundary="{boundary}"'}


def upload(content: bytes, file_name: str, **texts: str) -> tuple[bytes, dict[str, str]]:
    """Return a form with one file and text fields."""
    texts_of = [(f'{name}"', text.encode()) for name, text in texts.items()]
    return form((f'file"; filename="{file_name}"\r\nContent-Type: text/plain', content), *texts_of)
