"""Kore Agent Platform: what a run is asked for, checked and written. Pure.

Agent Platform API, section 6.5.1: names in camel case, real booleans and lists, though some samples have others.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Self, TypeAlias, TypedDict

from attrs import field, frozen

from ... import codec
from ...contract import check_text
from .identity import Identity

_TASK_TOOLS: Final = ("workflow", "code", "mcp")
#: What is said: a text, or the items of the member `input`.
Input: TypeAlias = str | Sequence[Mapping[str, Any]]


class Debug(StrEnum):
    """What a run tells of its way. `THOUGHTS` is the only one that works at present, says the vendor."""

    THOUGHTS = "thoughts"
    FUNCTION_CALL = "function-call"
    ALL = "all"


class StreamMode(StrEnum):
    """How a stream comes: the answer piece by piece, a whole message or thought at a time, or as the app has it."""

    TOKENS = "tokens"
    MESSAGES = "messages"
    CUSTOM = "custom"


@frozen(kw_only=True)
class Invoke:
    """An agent or tool that is called directly, past the orchestrator. Agent Platform API, section 6.5.6."""

    type: str
    name: str
    tool_type: str | None = None
    agent_name: str | None = None
    arguments: Mapping[str, Any] = field(factory=dict, repr=False)

    @classmethod
    def agent(cls, name: str) -> Self:
        """Have one agent answer. Raises ValueError for a blank name."""
        return cls(type="agent", name=check_text(name, "name"))

    @classmethod
    def tool(
        cls, name: str, tool_type: str, agent_name: str, arguments: Mapping[str, Any] | None = None
    ) -> Self:
        """Run one tool of an agent, which takes `arguments` in place of a text.

        `tool_type` is `workflow`, `code` or `mcp`. Raises ValueError, and TypeError for arguments that are no JSON.
        """
        if tool_type not in _TASK_TOOLS:
            raise ValueError(f"tool_type has to be one of {', '.join(_TASK_TOOLS)}, not {tool_type!r}")
        given = {} if arguments is None else arguments
        codec.encode_object(given, "arguments")
        return cls(
            type="tool",
            name=check_text(name, "name"),
            tool_type=tool_type,
            agent_name=check_text(agent_name, "agent_name"),
            arguments=dict(given),
        )

    @property
    def is_tool(self) -> bool:
        """Return whether it is a tool."""
        return self.type == "tool"

    def wire(self) -> dict[str, Any]:
        """Write the member `invoke`."""
        task = {"type": self.type, "name": self.name}
        if self.tool_type is not None:
            task["toolType"] = self.tool_type
        if self.agent_name is not None:
            task["agentName"] = self.agent_name
        return {"tasks": [task]}


def _ids(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise TypeError(f"attachments: expected a list of file ids, not {type(value).__name__}")
    return tuple(check_text(each, "attachments: a file id") for each in value)


@frozen(kw_only=True)
class RunFiles:
    """Attachments that a run takes up, and such that it leaves out, by the file ids that `attachments.upload` gave.

    An uploaded file counts from the run that includes it on, until one excludes it (Agent Platform API, section
    6.5.7).
    """

    include: tuple[str, ...] = field(default=(), converter=_ids)
    exclude: tuple[str, ...] = field(default=(), converter=_ids)

    def wire(self) -> dict[str, Any]:
        """Write the member `attachments`."""
        return {"enable": True, "includeFiles": list(self.include), "excludeFiles": list(self.exclude)}


class RunOptions(TypedDict, total=False):
    """What every way to run takes, by name. At least one of the first three says which session is meant.

    `attachments` are files to take up and to leave out (a list is taken up), `metadata` goes to the session's memory
    for as long as it lives, `debug` asks for thoughts, `invoke` calls an agent or tool directly, `source` says where
    the conversation comes from.
    """

    session_id: str | None
    session_reference: str | None
    user_reference: str | None
    attachments: RunFiles | Sequence[str] | None
    metadata: Mapping[str, Any] | None
    debug: str | None
    invoke: Invoke | None
    source: str | None


def identity_of(options: RunOptions) -> Identity:
    """Return the session that is meant. Raises ValueError."""
    return Identity.of(
        options.get("session_id"), options.get("session_reference"), options.get("user_reference")
    )


def execute_body(said: Input | None, options: RunOptions) -> dict[str, Any]:
    """Write the body of an execute call, without how it is to be answered. Raises ValueError or TypeError."""
    unknown = set(options) - set(RunOptions.__annotations__)
    if unknown:
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
    invoke = options.get("invoke")
    body: dict[str, Any] = {
        "sessionIdentity": identity_of(options).wire(),
        "input": _input(said, invoke),
        "isAsync": False,
    }
    files = options.get("attachments")
    if files is not None:
        body["attachments"] = (files if isinstance(files, RunFiles) else RunFiles(include=files)).wire()
    metadata = options.get("metadata")
    if metadata is not None:
        codec.encode_object(metadata, "metadata")
        body["metadata"] = dict(metadata)
    debug = options.get("debug")
    if debug is not None:
        body["debug"] = {"enable": True, "debugMode": _word(Debug, debug, "debug")}
    if invoke is not None:
        body["invoke"] = invoke.wire()
    source = options.get("source")
    if source is not None:
        body["source"] = check_text(source, "source")
    return body


def stream_member(mode: str) -> dict[str, Any]:
    """Write the member `stream`. Raises ValueError for a mode that there is not."""
    return {"enable": True, "streamMode": _word(StreamMode, mode, "mode")}


def _input(said: Input | None, invoke: Invoke | None) -> list[dict[str, Any]]:
    if invoke is not None and invoke.is_tool:
        if said is not None:
            raise ValueError("a tool that is called directly takes its arguments, and no text")
        return [{"type": "tool_input", "content": dict(invoke.arguments)}]
    if isinstance(said, str):
        return [{"type": "text", "content": check_text(said, "text")}]
    if said is None or not isinstance(said, Sequence) or not said:
        raise ValueError("say something: a text, or a list of items like {'type': 'text', 'content': ...}")
    for number, each in enumerate(said):
        codec.encode_object(each, f"text[{number}]")
    return [dict(each) for each in said if isinstance(each, Mapping)]


def _word(words: type[StrEnum], value: str, name: str) -> str:
    try:
        return words(value).value
    except ValueError:
        raise ValueError(f"{name} has to be one of {', '.join(words)}, not {value!r}") from None
