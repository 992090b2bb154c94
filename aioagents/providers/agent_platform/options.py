"""Kore Agent Platform: the options of a run, checked and written as the body of an execute call. Pure.

Agent Platform API, section 6.5.1: names in camel case, real booleans and lists, although some samples differ.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Self, TypeAlias, TypedDict

import attrs
from attrs import field, frozen

from ... import codec
from ...contract import check_text
from .identity import Identity
from .wire import KORE, check_word, written

_TASK_TOOLS: Final = ("workflow", "code", "mcp")
#: The input of a run: a text, or the items of the member `input`.
Input: TypeAlias = str | Sequence[Mapping[str, Any]]


class Debug(StrEnum):
    """What a run reports about its progress. According to the vendor, only `THOUGHTS` works at present."""

    THOUGHTS = "thoughts"
    FUNCTION_CALL = "function-call"
    ALL = "all"


class StreamMode(StrEnum):
    """What one event of a stream holds: a piece of the answer, a whole message or thought, or app-specific data."""

    TOKENS = "tokens"
    MESSAGES = "messages"
    CUSTOM = "custom"


@frozen(kw_only=True)
class Invoke:
    """An agent or tool that is invoked directly, bypassing the orchestrator. Agent Platform API, section 6.5.6."""

    type: str
    name: str
    tool_type: str | None = None
    agent_name: str | None = None
    arguments: Mapping[str, Any] = field(factory=dict, repr=False)

    @classmethod
    def agent(cls, name: str) -> Self:
        """Invoke one agent. Raises ValueError for a blank name."""
        return cls(type="agent", name=check_text(name, "name"))

    @classmethod
    def tool(
        cls, name: str, tool_type: str, agent_name: str, arguments: Mapping[str, Any] | None = None
    ) -> Self:
        """Invoke one tool of an agent, with `arguments` in place of a text.

        `tool_type` is `workflow`, `code` or `mcp`. Raises ValueError, and TypeError for arguments that are no JSON.
        """
        check_word(tool_type, _TASK_TOOLS, "tool_type")
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
        """Return whether a tool is invoked."""
        return self.type == "tool"


def _ids(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise TypeError(f"attachments: expected a list of file ids, not {type(value).__name__}")
    return tuple(check_text(each, "attachments: a file id") for each in value)


@frozen(kw_only=True)
class RunFiles:
    """Attachments that a run includes and excludes, by the file ids that `attachments.upload` returned.

    A file is used from the run that includes it until one excludes it (Agent Platform API, section 6.5.7).
    """

    include: tuple[str, ...] = field(default=(), converter=_ids)
    exclude: tuple[str, ...] = field(default=(), converter=_ids)


class RunOptions(TypedDict, total=False):
    """The keyword arguments of all ways to run. At least one of the first three is needed: they name the session.

    `attachments` are files to include and exclude (a list is included), `metadata` is stored in the session's memory
    while it exists, `debug` requests thoughts, `invoke` invokes an agent or tool directly, `source` names the origin
    of the conversation.
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
    """Return the identity of the session. Raises ValueError without any identifier."""
    return Identity.of(
        options.get("session_id"), options.get("session_reference"), options.get("user_reference")
    )


def execute_body(given: Input | None, options: RunOptions) -> dict[str, Any]:
    """Return the body of a synchronous execute call. Raises ValueError or TypeError."""
    unknown = set(options) - set(RunOptions.__annotations__)
    if unknown:
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
    invoke, files = options.get("invoke"), options.get("attachments")
    metadata, debug, source = options.get("metadata"), options.get("debug"), options.get("source")
    if metadata is not None:
        codec.encode_object(metadata, "metadata")
    return written(
        {
            "sessionIdentity": identity_of(options).wire(),
            "input": _input(given, invoke),
            "isAsync": False,
            "attachments": None if files is None else _attachments(files),
            "metadata": None if metadata is None else dict(metadata),
            "debug": None
            if debug is None
            else {"enable": True, "debugMode": check_word(debug, Debug, "debug")},
            "invoke": None if invoke is None else {"tasks": [KORE.write(attrs.evolve(invoke, arguments={}))]},
            "source": None if source is None else check_text(source, "source"),
        }
    )


def _attachments(files: RunFiles | Sequence[str]) -> dict[str, Any]:
    chosen = files if isinstance(files, RunFiles) else RunFiles(include=files)
    return {"enable": True, "includeFiles": chosen.include, "excludeFiles": chosen.exclude}


def stream_member(mode: str) -> dict[str, Any]:
    """Return the member `stream` of the request. Raises ValueError for an unknown mode."""
    return {"enable": True, "streamMode": check_word(mode, StreamMode, "mode")}


def _input(given: Input | None, invoke: Invoke | None) -> list[dict[str, Any]]:
    if invoke is not None and invoke.is_tool:
        if given is not None:
            raise ValueError("a tool that is invoked directly takes arguments, not a text")
        return [{"type": "tool_input", "content": dict(invoke.arguments)}]
    if isinstance(given, str):
        return [{"type": "text", "content": check_text(given, "text")}]
    if given is None or not isinstance(given, Sequence) or not given:
        raise ValueError(
            "no input: expected a text, or a list of items like {'type': 'text', 'content': ...}"
        )
    for number, each in enumerate(given):
        codec.encode_object(each, f"text[{number}]")
    return [dict(each) for each in given if isinstance(each, Mapping)]
