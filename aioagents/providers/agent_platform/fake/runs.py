"""Runs of the app, and the JSON that the platform makes of them: answers, status records, callback bodies. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define

from ....codec import encode_json
from ....contract.fake import FakeRun, Timelines
from .execute_request import ExecuteRequest
from .sessions import Session, session_info
from .state import ServerState
from .statuses import RUN_WORDS, is_good

#: Status words that the vendor prints in two spellings.
_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "pending": ("Pending", "pending"),
    "running": ("Running", "running"),
}
_FAILURE: Final = "The tool get_order did not answer."
_THOUGHTS: Final = (
    ("The user wants to know about an order.", "Orchestrator"),
    ("Orders belong to the agent, which is asked.", "OrderAgent"),
    ("The tool has returned the order.\nThat suffices.", None),
)


@define(eq=False, kw_only=True)
class AppRun(FakeRun):
    """One run. `messages` is its output if it succeeds; `event` asks for a sign-in."""

    session: Session
    request: ExecuteRequest
    message_id: str
    messages: Sequence[str]
    event: Mapping[str, Any] | None

    def is_good(self, now: float) -> bool:
        """Return whether it has succeeded by `now`."""
        return is_good(self.status_at(now)[1])


class Runs:
    """All runs of the fake server."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._timelines = Timelines(server.plan, RUN_WORDS)
        self._by_id: dict[str, AppRun] = {}

    def get(self, run_id: str) -> AppRun | None:
        """Return a run by its id, None if there is none."""
        return self._by_id.get(run_id)

    def start(
        self, request: ExecuteRequest, session: Session, event: Mapping[str, Any] | None, now: float
    ) -> AppRun:
        """Start a run and return it."""
        answers, index = self._server.rules.answers, len(self._by_id)
        if request.task is None:
            answer = answers[index % len(answers)]
        else:
            answer = encode_json({"done": request.task.label, "given": request.tool_input}).decode()
        run = AppRun(
            id=self._server.new_id("r-"),
            created_at=now,
            timeline=self._timelines.make(request.names, self._server.random_for(f"run {index}")),
            session=session,
            request=request,
            message_id=self._server.new_id("msg-"),
            messages=answer.split("\n\n"),
            event=event,
        )
        self._by_id[run.id] = run
        session.runs.append(run)
        self._server.counts["runs"] += 1
        return run


class RunSerializer:
    """Makes the JSON of runs as the vendor writes it."""

    def __init__(self, server: ServerState) -> None:
        self._server = server

    def reply(self, run: AppRun, now: float) -> dict[str, Any]:
        """Return the answer to a synchronous run that has ended, which has the same form if it failed."""
        body: dict[str, Any] = {"messageId": run.message_id, "output": self.output(run, now)}
        if run.request.has_thoughts:
            body["debug"] = self.thoughts()
        if run.event is not None:
            body["events"] = [run.event]
        body |= self._server.vary(
            "artifacts", {}, {"artifacts": [{"order": 12}]}, {"Artifacts": [{"order": 12}]}
        )
        body |= self._server.vary(
            "tags",
            {},
            {"tags": {"session": {"topic": "order"}, "message": {"tone": "kind"}}},
            {"tags": {"session": [{"topic": "order"}], "message": [{"tone": "kind"}]}},
        )
        return body | {"sessionInfo": self.info(run, "idle" if run.is_good(now) else "error")}

    def info(self, run: AppRun, status: str) -> dict[str, Any]:
        """Return the member `sessionInfo` of a run's answers and events."""
        info = session_info(run.session, self._server, status=status, run_id=run.id)
        if status == "idle":
            info |= self._server.vary("conversation state", {}, {"conversationState": "COMPLETED"})
        if run.request.task is not None:
            info |= {"envId": self._server.app.env_id, "envName": self._server.app.environment}
        return info

    def output(self, run: AppRun, now: float) -> list[dict[str, Any]]:
        """Return the output of a run that has ended."""
        if run.is_good(now):
            return [text_of(message) for message in run.messages]
        return self._server.vary("failed output", [text_of(_FAILURE)], [])

    def thoughts(self) -> list[dict[str, Any]]:
        """Return the thoughts of a run, as in the member `debug`."""
        return [
            {"type": "thought", "content": content} | ({} if source is None else {"source": source})
            for content, source in _THOUGHTS
        ]

    def record(self, run: AppRun, now: float) -> dict[str, Any]:
        """Return the status record of a run, without its envelope."""
        since, word = run.status_at(now)
        spellings = _SPELLINGS.get(word.lower())
        return {
            "_id": run.id,
            "sessionId": run.session.id,
            "status": word if spellings is None else self._server.vary("run status", *spellings),
            "metadata": {"isInternalCall": False, "runtimeContext": self._context(run)},
            "kwargs": {**run.request.echo, **self._kwargs(run, now)},
            "multitaskStrategy": "reject",
            "createdAt": self._server.format_date(run.created_at),
            "updatedAt": self._server.format_date(since),
            "__v": 0,
        }

    def _kwargs(self, run: AppRun, now: float) -> Mapping[str, Any]:
        if not run.is_over(now):
            return self._server.vary("early output", {}, {"output": []})
        if run.is_good(now):
            return {"output": self.output(run, now)}
        # The vendor does not document where error details are found, if anywhere.
        failure = {"error": {"message": _FAILURE}}
        return {
            "output": self._server.vary("error details", [text_of(_FAILURE)], failure, _FAILURE, [], None)
        }

    def _context(self, run: AppRun) -> dict[str, Any]:
        session, request, app = run.session, run.request, self._server.app
        return {
            "userId": session.user_id,
            "userReference": session.user,
            "sessionId": session.id,
            "sessionReference": session.effective_reference,
            "accountId": app.account_id,
            "envId": app.env_id,
            "appId": app.app_id,
            "appvId": app.version_id,
            "streamId": f"st-{run.id.removeprefix('r-')}",
            "asyncConfig": {
                "isAsync": request.is_async,
                "noTimeout": False,
                "post_url": request.callback_url or "",
                "app_token": request.callback_token or "",
                "asyncTimeout": 180,
                "isInternalCall": False,
            },
        }

    def callback_body(self, form: str, run: AppRun, now: float) -> dict[str, Any]:
        """Return the body of the callback of a run that has ended, in one of `CALLBACK_FORMS`."""
        match form:
            case "record":
                return {"run": self.record(run, now)}
            case "run":
                return self.record(run, now)
            case "reply":
                return self.reply(run, now)
            case _:
                return {
                    "runId": run.id,
                    "sessionId": run.session.id,
                    "status": run.status_at(now)[1],
                    "output": self.output(run, now),
                }


def text_of(text: str) -> dict[str, Any]:
    """Return a text as an item of an output."""
    return {"type": "text", "content": text}
