"""Runs of the app, and how they are told: at once, by their record, to a callback. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define

from ....codec import encode_json
from .courses import Courses, Progress, is_end, is_good
from .desk import Desk
from .orders import Order
from .sessions import Session, session_info

#: What the vendor prints in two ways.
_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "pending": ("Pending", "pending"),
    "running": ("Running", "running"),
}
_FAILURE: Final = "The tool get_order did not answer."
_THOUGHTS: Final = (
    ("The user wants to know about an order.", "Orchestrator"),
    ("Orders are the agent's; it is asked.", "OrderAgent"),
    ("The tool has told the order.\nThat suffices.", None),
)


@define(eq=False, kw_only=True)
class AppRun(Progress):
    """One run. `messages` are what it says if it ends well; `event` asks for a sign-in."""

    session: Session
    order: Order
    message_id: str
    messages: Sequence[str]
    event: Mapping[str, Any] | None

    def is_good(self, now: float) -> bool:
        """Return whether it has ended well."""
        return is_good(self.at(now)[1])


class Runs:
    """All runs in one world."""

    def __init__(self, desk: Desk, courses: Courses) -> None:
        self._desk = desk
        self._courses = courses
        self._by_id: dict[str, AppRun] = {}

    def get(self, run_id: str) -> AppRun | None:
        """Return a run by its id."""
        return self._by_id.get(run_id)

    def start(self, order: Order, session: Session, event: Mapping[str, Any] | None, now: float) -> AppRun:
        """Begin a run."""
        answers = self._desk.rules.answers
        if order.task is None:
            answer = answers[len(self._by_id) % len(answers)]
        else:
            answer = encode_json({"done": order.task.label, "given": order.tool_input}).decode()
        run = AppRun(
            id=self._desk.new_id("r-"),
            created_at=now,
            course=self._courses.run(order.names),
            session=session,
            order=order,
            message_id=self._desk.new_id("msg-"),
            messages=answer.split("\n\n"),
            event=event,
        )
        self._by_id[run.id] = run
        session.runs.append(run)
        self._desk.counts["runs"] += 1
        return run


class Dispatcher:
    """Tells runs as the vendor does."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def reply(self, run: AppRun, now: float) -> dict[str, Any]:
        """Return the answer to a synchronous run that has ended, also where it failed."""
        told: dict[str, Any] = {"messageId": run.message_id, "output": self.output(run, now)}
        if run.order.has_thoughts:
            told["debug"] = self.thoughts()
        if run.event is not None:
            told["events"] = [run.event]
        told |= self._desk.turn(
            "artifacts", {}, {"artifacts": [{"order": 12}]}, {"Artifacts": [{"order": 12}]}
        )
        told |= self._desk.turn(
            "tags",
            {},
            {"tags": {"session": {"topic": "order"}, "message": {"tone": "kind"}}},
            {"tags": {"session": [{"topic": "order"}], "message": [{"tone": "kind"}]}},
        )
        return told | {"sessionInfo": self.info(run, "idle" if run.is_good(now) else "error")}

    def info(self, run: AppRun, status: str) -> dict[str, Any]:
        """Return what a run's answers and events tell of the session."""
        info = session_info(run.session, self._desk, status=status, run_id=run.id)
        if status == "idle":
            info |= self._desk.turn("conversation state", {}, {"conversationState": "COMPLETED"})
        if run.order.task is not None:
            info |= {"envId": self._desk.place.env_id, "envName": self._desk.place.environment}
        return info

    def output(self, run: AppRun, now: float) -> list[dict[str, Any]]:
        """Return what a run that has ended says."""
        if run.is_good(now):
            return [text_of(message) for message in run.messages]
        return self._desk.turn("failed output", [text_of(_FAILURE)], [])

    def thoughts(self) -> list[dict[str, Any]]:
        """Give what a run thinks on its way."""
        return [
            {"type": "thought", "content": content} | ({} if source is None else {"source": source})
            for content, source in _THOUGHTS
        ]

    def record(self, run: AppRun, now: float) -> dict[str, Any]:
        """Return the status record of a run, without its wrapping."""
        since, word = run.at(now)
        spellings = _SPELLINGS.get(word.lower())
        return {
            "_id": run.id,
            "sessionId": run.session.id,
            "status": word if spellings is None else self._desk.turn("run status", *spellings),
            "metadata": {"isInternalCall": False, "runtimeContext": self._context(run)},
            "kwargs": {**run.order.echo, **self._kwargs(run, now)},
            "multitaskStrategy": "reject",
            "createdAt": self._desk.moment(run.created_at),
            "updatedAt": self._desk.moment(since),
            "__v": 0,
        }

    def _kwargs(self, run: AppRun, now: float) -> Mapping[str, Any]:
        word = run.at(now)[1]
        if not is_end(word):
            return self._desk.turn("early output", {}, {"output": []})
        if run.is_good(now):
            return {"output": self.output(run, now)}
        # Where error details sit, if anywhere, the vendor leaves open.
        failure = {"error": {"message": _FAILURE}}
        return {"output": self._desk.turn("error details", [text_of(_FAILURE)], failure, _FAILURE, [], None)}

    def _context(self, run: AppRun) -> dict[str, Any]:
        session, order, place = run.session, run.order, self._desk.place
        return {
            "userId": session.user_id,
            "userReference": session.user,
            "sessionId": session.id,
            "sessionReference": session.known_as,
            "accountId": place.account_id,
            "envId": place.env_id,
            "appId": place.app_id,
            "appvId": place.version_id,
            "streamId": f"st-{run.id.removeprefix('r-')}",
            "asyncConfig": {
                "isAsync": order.is_async,
                "noTimeout": False,
                "post_url": order.callback_url or "",
                "app_token": order.callback_token or "",
                "asyncTimeout": 180,
                "isInternalCall": False,
            },
        }

    def registration(self, form: str, run: AppRun, now: float) -> dict[str, Any]:
        """Return what a callback is told of a run that has ended, in one of the rules' forms."""
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
                    "status": run.at(now)[1],
                    "output": self.output(run, now),
                }


def text_of(text: str) -> dict[str, Any]:
    """Return a text as outputs hold it."""
    return {"type": "text", "content": text}
