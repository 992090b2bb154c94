"""Runs that tell while they go on: the events of each mode, how they are told apart, and in which pieces. Pure."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

from ....codec import encode_json
from .courses import is_good
from .desk import Desk
from .runs import AppRun, Dispatcher, text_of

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
    """Makes the streams of runs. What a run tells is known from its start; it comes in its time."""

    def __init__(self, desk: Desk, teller: Dispatcher) -> None:
        self._desk = desk
        self._teller = teller

    def framing(self) -> str:
        """Return the framing of the next stream."""
        return self._desk.turn("framing", *self._desk.rules.framings)

    def events(self, run: AppRun) -> list[Event]:
        """Return all events of a run; the last one is lacking if it never ends."""
        mode, has_thoughts = run.order.mode, run.order.has_thoughts
        is_numbered = mode == "messages" and not has_thoughts
        asked: Event = {} if run.event is None else {"events": [run.event]}
        events: list[Event] = [{**asked, "sessionInfo": self._teller.info(run, "busy")}]
        if has_thoughts:
            events += [{"debug": [thought], **self._middle(run)} for thought in self._teller.thoughts()]
        if run.end is None or is_good(run.end[1]):
            events += [{"output": [text_of(text)], **self._middle(run)} for text in self._texts(run)]
        if run.end is not None:
            events.append(self._last(run))
        # Without thoughts each event has an id of its own; with them all have the run's.
        ids = [
            run.message_id,
            *(run.message_id if has_thoughts else self._desk.new_id("msg-") for _ in events[1:]),
        ]
        events = [{"messageId": each, **event} for each, event in zip(ids, events, strict=True)]
        if is_numbered:
            events = [{"eventIndex": index, **event} for index, event in enumerate(events)]
            if run.end is not None:
                events[-1]["isLastEvent"] = True
        return events

    def pieces(self, run: AppRun, framing: str) -> list[tuple[float, bytes]]:
        """Return what is sent when, cut anywhere; one that never ends ends with nothing, at no time."""
        events = [_framed(event, framing) for event in self.events(run)]
        if run.order.text in self._desk.rules.cut:
            events[-1] = events[-1][: len(events[-1]) // 2]
        step = (run.ended_at - run.created_at) / max(len(events) - 1, 1)
        seconds = step if math.isfinite(step) else 1.0
        timed = [(run.created_at + seconds * index, event) for index, event in enumerate(events)]
        if run.end is None:
            return [*timed, (math.inf, b"")]
        timed[-1] = (run.ended_at, events[-1])
        return list(_cut(timed, self._desk.chance(run.id))) if self._desk.rules.quirks else timed

    def single(self, event: Event, framing: str, now: float) -> list[tuple[float, bytes]]:
        """Return a stream of one event."""
        return list(_cut([(now, _framed(event, framing))], self._desk.chance("single")))

    def _texts(self, run: AppRun) -> Sequence[str]:
        if run.order.mode == "tokens":
            return _TOKENS.findall("\n\n".join(run.messages))
        return run.messages

    def _middle(self, run: AppRun) -> Event:
        info = {"sessionInfo": {"runId": run.id}}
        return self._desk.turn("middle", info, {}) if run.order.mode == "tokens" else info

    def _last(self, run: AppRun) -> Event:
        end = run.ended_at
        info = self._teller.info(run, "idle" if run.is_good(end) else "error")
        return {"sessionInfo": {**info, "output": self._teller.output(run, end)}}


def _framed(event: Event, framing: str) -> bytes:
    text = encode_json(event)
    match framing:
        case "sse":
            return b"data: " + text + b"\n\n"
        case "sse-rich":
            # Comments, names, ids, lines that end as on Windows, data in two lines, no space behind the colon.
            middle = text.index(b",") + 1
            data = b"data:" + text[:middle] + b"\r\ndata:" + text[middle:]
            return b": keep-alive\r\n\r\nevent: message\r\nid: 7\r\n" + data + b"\r\n\r\n"
        case "lines":
            return text + b"\n"
        case "printed":
            return json.dumps(event, ensure_ascii=False, indent=2).encode() + b"\n\n"
        case _:
            return text


def _cut(timed: Sequence[tuple[float, bytes]], chance: Random) -> Iterator[tuple[float, bytes]]:
    """Cut events anywhere, also within a character; some ends come with the next event's beginning."""
    held = b""
    for at, event in timed[:-1]:
        text = held + event
        cuts = sorted(chance.randrange(1, len(text)) for _ in range(chance.randrange(3)))
        parts = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        held = parts.pop() if chance.random() < _HELD_BACK else b""
        yield from ((at, part) for part in parts if part)
    at, event = timed[-1]
    text = held + event
    middle = chance.randrange(len(text))
    yield from ((at, part) for part in (text[:middle], text[middle:]) if part)
