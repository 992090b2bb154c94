"""The events of a stream, read from bytes however they are framed and cut into chunks. Pure.

The platform's pages show one JSON object per event and say nothing of what stands between them. So all that is
usual is read: objects one after the other, on lines of their own or not, printed over one line or many; the same
as the data of server-sent events; and one plain object, which an app with a response processor answers. Each byte
is polled once.
"""

import re
from typing import TYPE_CHECKING, Any, Final

from ...codec import decode_json
from ...errors import AgentsError, DecodeError, StreamCut
from ...model import Run

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
#: How much of an event that is not whole an error carries.
_MOST_CARRIED: Final = 64 * 1024
_DETAIL: Final = 500

_BOM: Final = b"\xef\xbb\xbf"
_LF, _CR, _COLON, _QUOTE, _BACKSLASH, _BRACKET, _D = b'\n\r:"\\[D'
_BLANKS: Final = b" \t"
_LINE_ENDS: Final = b"\r\n"
_DATA: Final = b"data"
#: The fields of a server-sent event. Others are no part of it: a line that looks like one says what broke.
_FIELDS: Final = (_DATA, b"event", b"id", b"retry")
_FIELDS_BEGIN: Final = bytes(name[0] for name in _FIELDS)
_DONE: Final = b"[DONE]"

_OPENING: Final = b"{["
_LINE_END: Final = re.compile(rb"[\r\n]")
#: What nearly every event is: an object on a line of its own, bare or as data, that came at once.
_WHOLE_LINE: Final = re.compile(rb"(?:data:)?[ \t]*({[^\r\n]*})[ \t]*(?:\r\n|\n)")
_NOT_BLANK: Final = re.compile(rb"[^ \t]")
_OF_TEXT: Final = re.compile(rb'["\r\n]|\\.?', re.DOTALL)
_OF_VALUE: Final = re.compile(rb'[{}\[\]"\r\n]')


class EventDecoder:
    """Reads events as they come: `feed` it the pieces of a body, then say that this was the `end`.

    `vendor` and `call` are what errors name. No event may be larger than `max_event_bytes`.
    """

    def __init__(self, *, vendor: str, call: str, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._vendor = vendor
        self._call = call
        self._most = max_event_bytes
        #: How many events were given.
        self.events = 0
        #: Whether the stream said by `[DONE]` that nothing more comes.
        self.is_done = False
        #: What is wrong after the events that were given; raised by the next call.
        self.fault: AgentsError | None = None
        self._take: Callable[[EventDecoder, bytes, int], int] = EventDecoder._take_mark
        self._given: list[Any] = []
        self._value = bytearray()  # the event that is not whole
        self._word = bytearray()  # of a line: its beginning, as long as it says too little of the rest
        self._depth = 0
        self._is_text = False  # within a string
        self._is_escaped = False  # right behind a backslash
        self._is_data = False  # whether the event comes as data of server-sent lines
        self._has_fields = False  # whether server-sent lines have announced an event that did not come yet
        self._is_after_return = False  # whether a line's feed now would belong to the end of the line before

    def feed(self, chunk: bytes) -> list[Any]:
        """Return the events that are whole with these bytes, as JSON objects or arrays.

        Raises `DecodeError` for what is no event, and `StreamCut` for one that is too large: at once where no event
        came before it, else by the next call, and `fault` has it meanwhile.
        """
        if self.fault is not None:
            raise self.fault
        at = 0
        try:
            while at < len(chunk):
                at = self._take(self, chunk, at)
        except AgentsError as error:
            self.fault = error
            if not self._given:
                raise
        events, self._given = self._given, []
        self.events += len(events)
        return events

    def end(self) -> None:
        """Note that nothing more comes. Raises `StreamCut` where this is in the middle of an event."""
        if self.fault is not None:
            raise self.fault
        if self._value or self._word or self._has_fields or self._take is EventDecoder._take_rest:
            raise self.cut("it ended in the middle of an event")

    def cut(self, reason: str, *, run: Run | None = None) -> StreamCut:
        """Build the error that says why no more events come, with what came of the next one."""
        events = self.events + len(self._given)
        return StreamCut(
            f"{self._vendor}: the stream of {self._call} was cut after {events} events: {reason}",
            vendor=self._vendor,
            call=self._call,
            events=events,
            received=bytes((self._value or self._word)[:_MOST_CARRIED]),
            run=run,
        )

    def _wrong(self, reason: str, text: bytes) -> DecodeError:
        events = self.events + len(self._given)
        return DecodeError(
            f"{self._vendor}: the stream of {self._call} has {reason} after {events} events",
            vendor=self._vendor,
            call=self._call,
            detail=text[:_DETAIL].decode("utf-8", "replace"),
        )

    # Each of these takes what it knows of, from `at` on, and gives where the next one goes on.

    def _take_mark(self, chunk: bytes, at: int) -> int:
        """Take the mark that a body of UTF-8 may begin with."""
        if chunk[at] != _BOM[len(self._word)]:
            if self._word:
                raise self._wrong("something that is no JSON", bytes(self._word))
            self._take = EventDecoder._take_line
            return at
        self._word.append(chunk[at])
        if self._word == _BOM:
            self._word.clear()
            self._take = EventDecoder._take_line
        return at + 1

    def _take_line(self, chunk: bytes, at: int) -> int:
        """Take the beginning of a line, up to where it says of which kind it is."""
        if not self._value and (line := _WHOLE_LINE.match(chunk, at)) and self._is_given(line[1]):
            return line.end()
        byte, was_after_return = chunk[at], self._is_after_return
        self._is_after_return = False
        if byte == _LF and was_after_return:
            return at + 1
        if byte in _BLANKS:  # all at once, so that they are polled once
            found = _NOT_BLANK.search(chunk, at)
            return len(chunk) if found is None else found.start()
        if byte in _LINE_ENDS:
            self._has_fields = False  # an empty line ends a server-sent event
            return self._end_line(chunk, at)
        if byte == _COLON:
            self._take = EventDecoder._take_rest
        elif byte in _FIELDS_BEGIN:
            self._take = EventDecoder._take_field
        elif self._value:  # its other lines are without `data:`
            self._take = EventDecoder._take_value
        else:
            self._is_data = False
            self._take = EventDecoder._take_between
        return at

    def _is_given(self, text: bytes) -> bool:
        """Return an event that is the whole of a line. False where it is none: the line is then taken bit by bit."""
        if len(text) > self._most:
            return False
        try:
            self._given.append(decode_json(text))
        except ValueError:
            return False
        self._is_after_return = self._has_fields = False
        return True

    def _take_field(self, chunk: bytes, at: int) -> int:
        """Take the name of a server-sent field, and what ends it."""
        byte = chunk[at]
        if byte != _COLON and byte not in _LINE_ENDS:
            self._word.append(byte)
            if not any(name.startswith(bytes(self._word)) for name in _FIELDS):
                raise self._wrong("a line that is no JSON", bytes(self._word))
            return at + 1
        name = bytes(self._word)
        if name not in _FIELDS:
            raise self._wrong("a line that is no JSON", name)
        self._word.clear()
        self._has_fields = True
        if byte != _COLON:
            return self._end_line(chunk, at)
        if name != _DATA:
            self._take = EventDecoder._take_rest
        elif self._value:
            self._take = EventDecoder._take_value
        else:
            self._is_data = True
            self._take = EventDecoder._take_between
        return at + 1

    def _take_rest(self, chunk: bytes, at: int) -> int:
        """Take the rest of a line that says nothing."""
        found = _LINE_END.search(chunk, at)
        return len(chunk) if found is None else self._end_line(chunk, found.start())

    def _end_line(self, chunk: bytes, at: int) -> int:
        self._is_after_return = chunk[at] == _CR
        self._take = EventDecoder._take_line
        return at + 1

    def _take_between(self, chunk: bytes, at: int) -> int:
        """Take what stands before an event or behind it, and an event's first byte."""
        found = _NOT_BLANK.search(chunk, at)
        if found is None:
            return len(chunk)
        at = found.start()
        byte = chunk[at]
        if byte in _LINE_ENDS:
            return self._end_line(chunk, at)
        if byte not in _OPENING:
            raise self._wrong("something that is no JSON", chunk[at : at + 1])
        self._value.append(byte)
        self._depth = 1
        self._take = EventDecoder._take_bracket if byte == _BRACKET else EventDecoder._take_value
        return at + 1

    def _take_bracket(self, chunk: bytes, at: int) -> int:
        """Tell a list from the word by which a stream may end."""
        self._take = EventDecoder._take_done if chunk[at] == _D else EventDecoder._take_value
        return at

    def _take_done(self, chunk: bytes, at: int) -> int:
        self._value.append(chunk[at])
        if not _DONE.startswith(bytes(self._value)):
            raise self._wrong("something that is no JSON", bytes(self._value))
        if len(self._value) == len(_DONE):
            self.is_done = True
            self._end_event()
        return at + 1

    def _take_value(self, chunk: bytes, at: int) -> int:
        """Take an event up to its last byte, or the end of a line of data, or of the chunk."""
        begin = at
        if self._is_escaped:
            self._is_escaped = False
            at += 1
        while found := (_OF_TEXT if self._is_text else _OF_VALUE).search(chunk, at):
            at = found.end()
            byte = chunk[found.start()]
            if byte == _BACKSLASH:
                self._is_escaped = at == found.start() + 1
            elif byte not in _LINE_ENDS:
                self._turn(byte)
                if self._depth == 0:
                    self._keep(chunk[begin:at])
                    self._give()
                    return at
            elif self._is_text or self._is_data:
                self._keep(chunk[begin:at])
                if self._is_text:
                    raise self._wrong("a line that ends within a string", bytes(self._value))
                return self._end_line(chunk, at - 1)
        self._keep(chunk[begin:])
        return len(chunk)

    def _turn(self, byte: int) -> None:
        if byte == _QUOTE:
            self._is_text = not self._is_text
        else:
            self._depth += 1 if byte in _OPENING else -1

    def _keep(self, part: bytes) -> None:
        self._value += part
        if len(self._value) > self._most:
            del self._value[self._most :]
            raise self.cut(f"an event is larger than {self._most} bytes (max_event_bytes)")

    def _give(self) -> None:
        try:
            self._given.append(decode_json(bytes(self._value)))
        except ValueError as exc:
            raise self._wrong("an event that is no JSON", bytes(self._value)) from exc
        self._end_event()

    def _end_event(self) -> None:
        self._value.clear()
        self._has_fields = False
        self._take = EventDecoder._take_between
