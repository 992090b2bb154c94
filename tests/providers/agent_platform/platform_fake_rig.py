"""Asks the fake Agent Platform as a client would, with either key."""

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


class PlatformAsker:
    """Asks one world. `app` calls come with the app's key, `account` calls with the tools'."""

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
        """Ask, with JSON or with bytes; gives whatever the world gives."""
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
        """Ask for what is answered at once."""
        reply = self.ask(method, path, body, **more)
        assert isinstance(reply, Reply)
        return reply

    def account(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Ask with the tools' key for what is answered at once, below `/api/public`."""
        return self.reply(method, PUBLIC + path, body, headers=TOOLS_KEY, **more)

    def told(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """Ask for an object that is given at once."""
        return read(self.reply(method, path, body, **more))

    def execute(self, text: str = "good", *, now: float = 0.0, **more: Any) -> Answer:
        """Execute a run of the session `chat`, synchronously unless `more` says otherwise."""
        return self.ask("POST", f"{APP}/runs/execute", order(text, **more), now=now)

    def start(self, text: str = "good", *, now: float = 0.0, **more: Any) -> str:
        """Begin an asynchronous run, and give its id."""
        reply = self.execute(text, now=now, isAsync=True, **more)
        assert isinstance(reply, Reply)
        run_id: str = read(reply)["runId"]
        return run_id

    def poll(self, run_id: str, *, now: float = 0.0, **identity: str) -> dict[str, Any]:
        """Return the record of a run."""
        named = identity or {"sessionReference": "chat"}
        body = {"sessionIdentity": identify(**named)}
        record: dict[str, Any] = self.told("POST", f"{APP}/runs/{run_id}/status", body, now=now)["run"]
        return record

    def create(self, *, now: float = 0.0, source: str | None = None, **identity: str) -> dict[str, Any]:
        """Create a session, or find it."""
        body: dict[str, Any] = {"sessionIdentity": identify(**identity)}
        if source is not None:
            body["source"] = source
        return self.told("POST", f"{APP}/sessions", body, now=now)

    def count(self, name: str) -> int:
        """Return one of the world's counts."""
        return self.fake.statistics().get(name, 0)


def asker(
    *, plan: Mapping[str, Any] | None = None, scripts: Mapping[str, Sequence[Step]] = SCRIPTS, **rules: Any
) -> PlatformAsker:
    """Make a world with these rules, and who asks it."""
    runs = RunPlan(scripts=scripts, **(plan or {}))
    return PlatformAsker(FakeAgentPlatform(runs, rules=AgentPlatformRules(**rules)))


def identify(**identity: str) -> list[dict[str, str]]:
    """Write by what a session is named."""
    return [{"type": kind, "value": value} for kind, value in identity.items()]


def order(text: str = "good", **more: Any) -> dict[str, Any]:
    """Write the body of an execute call."""
    return {
        "sessionIdentity": identify(sessionReference="chat"),
        "input": [{"type": "text", "content": text}],
        **more,
    }


def read(reply: Answer) -> dict[str, Any]:
    """Read the object of a good reply."""
    assert isinstance(reply, Reply)
    assert reply.is_success, reply
    told: dict[str, Any] = decode_json(reply.body)
    return told


def awaited(answer: Answer) -> dict[str, Any]:
    """Read the object of a reply that is owed, at the second at which it is due."""
    assert isinstance(answer, DelayedReply)
    return read(answer.reply(answer.until))


def streamed(answer: Answer) -> StreamedReply:
    """Return a stream."""
    assert isinstance(answer, StreamedReply)
    return answer


def form(*parts: tuple[str, bytes], boundary: str = "b0undary") -> tuple[bytes, dict[str, str]]:
    """Write a form of parts, each a disposition and its content; gives the body and its header."""
    mark = b"--" + boundary.encode()
    body = b"".join(
        mark + b'\r\nContent-Disposition: form-data; name="' + name.encode() + b"\r\n\r\n" + content + b"\r\n"
        for name, content in parts
    )
    return body + mark + b"--\r\n", {"content-type": f'multipart/form-data; boundary="{boundary}"'}


def upload(content: bytes, file_name: str, **texts: str) -> tuple[bytes, dict[str, str]]:
    """Write a form with one file and texts."""
    texts_of = [(f'{name}"', text.encode()) for name, text in texts.items()]
    return form((f'file"; filename="{file_name}"\r\nContent-Type: text/plain', content), *texts_of)
