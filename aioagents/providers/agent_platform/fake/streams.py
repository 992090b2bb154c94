"""StreamedReply runs: the events of each mode, how they are framed, and into which pieces they are cut. Pure."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

from ....codec import encode_json
from .runs import AppRun, RunSerializer, text_of
from .state import ServerState
from .statuses import is_good

#: How each framing is declared; the vendor names no content type.
CONTENT_TYPES: Final[Mapping[str, str]] = {
    "sse": "text/event-stream",
    "sse-rich": "text/event-stream; charset=utf-8",
    "lines": "application/x-ndjson",
    "joined": "application/json",
    "printed": "text/plain; charset=utf-8",
}
_TOKENS: Final = re.compile(r"\s*\S+|\s+$")
_HELD_BACK: Final = 0.25

Event = dict[str, Any]


class Streams:
    """Makes the streams of runs: all events of a run, known from its start, each with the moment when it is sent."""

    def __init__(self, server: ServerState, serializer: RunSerializer) -> None:
        self._server = server
        self._serializer = serializer

    def framing(self) -> str:
        """Return the framing of the next stream."""
        return self._server.vary("framing", *self._server.rules.framings)

    def events(self, run: AppRun) -> list[Event]:
        """Return all events of a run; without the last one if it never ends."""
        mode, has_thoughts = run.request.mode, run.request.has_thoughts
        is_numbered = mode == "messages" and not has_thoughts
        sign_in: Event = {} if run.event is None else {"events": [run.event]}
        events: list[Event] = [{**sign_in, "sessionInfo": self._serializer.info(run, "busy")}]
        if has_thoughts:
            events += [{"debug": [thought], **self._middle(run)} for thought in self._serializer.thoughts()]
        if run.end is None or is_good(run.end[1]):
            events += [{"output": [text_of(text)], **self._middle(run)} for text in self._texts(run)]
        if run.end is not None:
            events.append(self._last(run))
        # Without thoughts each event has an id of its own; with thoughts all have the run's message id.
        ids = [
            run.message_id,
            *(run.message_id if has_thoughts else self._server.new_id("msg-") for _ in events[1:]),
        ]
        events = [{"messageId": each, **event} for each, event in zip(ids, events, strict=True)]
        if is_numbered:
            events = [{"eventIndex": index, **event} for index, event in enumerate(events)]
            if run.end is not None:
                events[-1]["isLastEvent"] = True
        return events

    def pieces(self, run: AppRun, framing: str) -> list[tuple[float, bytes]]:
        """Return the pieces of a stream with their moments, cut anywhere; for an endless run an empty last one."""
        events = [_framed(event, framing) for event in self.events(run)]
        if run.request.text in self._server.rules.cut:
            events[-1] = events[-1][: len(events[-1]) // 2]
        step = (run.until - run.created_at) / max(len(events) - 1, 1)
        seconds = step if math.isfinite(step) else 1.0
        timed = [(run.created_at + seconds * index, event) for index, event in enumerate(events)]
        if run.end is None:
            return [*timed, (math.inf, b"")]
        timed[-1] = (run.until, events[-1])
        return list(_cut(timed, self._server.random_for(run.id))) if self._server.rules.quirks else timed

    def single(self, event: Event, framing: str, now: float) -> list[tuple[float, bytes]]:
        """Return a stream of one event."""
        return list(_cut([(now, _framed(event, framing))], self._server.random_for("single")))

    def _texts(self, run: AppRun) -> Sequence[str]:
        if run.request.mode == "tokens":
            return _TOKENS.findall("\n\n".join(run.messages))
        return run.messages

    def _middle(self, run: AppRun) -> Event:
        info = {"sessionInfo": {"runId": run.id}}
        return self._server.vary("middle", info, {}) if run.request.mode == "tokens" else info

    def _last(self, run: AppRun) -> Event:
        end = run.until
        info = self._serializer.info(run, "idle" if run.is_good(end) else "error")
        return {"sessionInfo": {**info, "output": self._serializer.output(run, end)}}


def _framed(event: Event, framing: str) -> bytes:
    text = encode_json(event)
    match framing:
        case "sse":
            return b"data: " + text + b"\n\n"
        case "sse-rich":
            # Comments, event names, ids, CRLF line ends, data in two lines, no space after the colon.
            middle = text.index(b",") + 1
            data = b"data:" + text[:middle] + b"\r\ndata:" + text[middle:]
            return b": keep-alive\r\n\r\nevent: message\r\nid: 7\r\n" + data + b"\r\n\r\n"
        case "lines":
            return text + b"\n"
        case "printed":
            return json.dumps(event, ensure_ascii=False, indent=2).encode() + b"\n\n"
        case _:
            return text


def _cut(timed: Sequence[tuple[float, bytes]], rng: Random) -> Iterator[tuple[float, bytes]]:
    """Cut events anywhere, also within a character; some events end in the same piece as the next one begins."""
    held = b""
    for at, event in timed[:-1]:
        text = held + event
        cuts = sorted(rng.randrange(1, len(text)) for _ in range(rng.randrange(3)))
        parts = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        held = parts.pop() if rng.random() < _HELD_BACK else b""
        yield from ((at, part) for part in parts if part)
    at, event = timed[-1]
    text = held + event
    middle = rng.randrange(len(text))
    yield from ((at, part) for part in (text[:middle], text[middle:]) if part)
