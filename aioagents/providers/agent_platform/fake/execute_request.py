"""The body of an execute call, read strictly. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from ....contract.fake import JsonObject
from .sessions import Identity, read_identity

STREAM_MODES: Final = ("tokens", "messages", "custom")
_DEBUG_MODES: Final = ("thoughts", "function-call", "all")
_TASKS: Final = ("agent", "tool")
_TOOLS: Final = ("workflow", "code", "mcp")


@frozen(kw_only=True)
class Task:
    """An agent or tool that is invoked directly, not by the orchestrator."""

    kind: str
    name: str
    agent: str | None = None

    @property
    def label(self) -> str:
        """Return the name by which a script is found."""
        return f"{self.kind}:{self.name}"


@frozen(kw_only=True)
class ExecuteRequest:
    """One execute call. `mode` is that of its stream, None without one; status records repeat `echo`."""

    identity: Identity
    text: str
    tool_input: Mapping[str, Any] | None
    task: Task | None
    mode: str | None
    is_async: bool
    callback_url: str | None
    callback_token: str | None
    has_thoughts: bool
    include: Sequence[str]
    exclude: Sequence[str]
    metadata: Mapping[str, Any]
    source: str
    echo: Mapping[str, Any]

    @property
    def key(self) -> str | None:
        """Return the member `key` of the metadata as a string, None if it is absent."""
        key = self.metadata.get("key")
        return None if key is None else str(key)

    @property
    def names(self) -> Sequence[str]:
        """Return the names by which a script is searched: the key, then the text, then the task."""
        task = None if self.task is None else self.task.label
        return [name for name in (self.key, self.text, task) if name]


def read_execute_request(body: JsonObject) -> ExecuteRequest:
    """Read the body of an execute call. Raises `Refused`."""
    task = _read_task(body.object("invoke")) if body.get("invoke", dict) is not None else None
    text, tool_input = _read_input(body)
    if (tool_input is not None) != (task is not None and task.kind == "tool"):
        raise body.invalid("input", "hold tool_input for a tool, and for nothing else")
    stream, debug, files = body.object("stream"), body.object("debug"), body.object("attachments")
    mode = stream.choice("streamMode", STREAM_MODES)
    is_streamed = bool(stream.get("enable", bool))
    is_debugged = bool(debug.get("enable", bool))
    debug_mode = debug.choice("debugMode", _DEBUG_MODES)
    is_async = bool(body.get("isAsync", bool))
    if is_async and is_streamed:
        raise body.invalid("stream", "be off for an asynchronous run")
    callback_url = body.url("callbackUrl")
    if callback_url is not None and not is_async:
        raise body.invalid("callbackUrl", "belong to an asynchronous run")
    has_files = bool(files.get("enable", bool))
    include, exclude = files.strings("includeFiles"), files.strings("excludeFiles")
    return ExecuteRequest(
        identity=read_identity(body),
        text=text,
        tool_input=tool_input,
        task=task,
        mode=(mode or STREAM_MODES[0]) if is_streamed else None,
        is_async=is_async,
        callback_url=callback_url,
        callback_token=body.get("callbackToken", str),
        # According to the vendor, only this one of the three modes works.
        has_thoughts=is_debugged and debug_mode == "thoughts",
        include=include if has_files else (),
        exclude=exclude if has_files else (),
        metadata=body.get("metadata", dict) or {},
        source=body.get("source", str) or "AP",
        echo={name: body.values[name] for name in ("input", "debug", "stream") if name in body.values},
    )


def _read_input(body: JsonObject) -> tuple[str, Mapping[str, Any] | None]:
    texts, tool_input = [], None
    for each in body.objects("input"):
        if each.choice("type", ("text", "tool_input"), is_needed=True) == "text":
            texts.append(each.require("content", str))
        else:
            tool_input = each.require("content", dict)
    if not texts and tool_input is None:
        raise body.invalid("input", "hold a text")
    return "\n".join(texts), tool_input


def _read_task(invoke: JsonObject) -> Task:
    """Read the first task; the platform ignores all others."""
    tasks = invoke.objects("tasks")
    if not tasks:
        raise invoke.invalid("tasks", "hold a task")
    task = tasks[0]
    kind, name = task.choice("type", _TASKS, is_needed=True) or "", task.require("name", str)
    if kind == "agent":
        return Task(kind=kind, name=name)
    task.choice("toolType", _TOOLS, is_needed=True)
    return Task(kind=kind, name=name, agent=task.require("agentName", str))
