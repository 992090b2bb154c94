"""Decoder of the events of a stream, in any framing and cut into any chunks. Pure.

Vendors show JSON objects, and not always what separates them. So all usual forms are read: objects one after the
other, on lines of their own or not, printed over one line or many; the same as the data of server-sent events; and
one plain object. Each byte is examined once.
"""

import re
from typing import TYPE_CHECKING, Any, Final

from ..codec import decode_tolerant
from ..errors import AgentsError, DecodeError, StreamCut
from ..model import Run

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
#: Bytes of an incomplete event that an error carries at most.
_MAX_RECEIVED: Final = 64 * 1024
_DETAIL: Final = 500

_BOM: Final = b"\xef\xbb\xbf"
_LF, _CR, _COLON, _QUOTE, _BACKSLASH, _BRACKET, _D = b'\n\r:"\\[D'
_BLANKS: Final = b" \t"
_LINE_ENDS: Final = b"\r\n"
_DATA: Final = b"data"
#: The fields of a server-sent event. A line with any other name is an error, since it shows what went wrong.
_FIELDS: Final = (_DATA, b"event", b"id", b"retry")
_FIELDS_BEGIN: Final = bytes(name[0] for name in _FIELDS)
_DONE: Final = b"[DONE]"

_OPENING: Final = b"{["
_LINE_END: Final = re.compile(rb"[\r\n]")
#: The fast path for nearly all events: an object on a line of its own, bare or as data, within one chunk.
_WHOLE_LINE: Final = re.compile(rb"(?:data:)?[ \t]*({[^\r\n]*})[ \t]*(?:\r\n|\n)")
_NOT_BLANK: Final = re.compile(rb"[^ \t]")
_OF_TEXT: Final = re.compile(rb'["\r\n]|\\.?', re.DOTALL)
_OF_VALUE: Final = re.compile(rb'[{}\[\]"\r\n]')


class EventDecoder:
    """Decodes events incrementally: `feed` it the pieces of a body, then call `end`.

    Errors name `vendor` and `call`. No event may be larger than `max_event_bytes`.
    """

    def __init__(self, *, vendor: str, call: str, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._vendor = vendor
        self._call = call
        self._max_event_bytes = max_event_bytes
        #: Number of events returned so far.
        self.events = 0
        #: Whether the stream has ended with `[DONE]`.
        self.is_done = False
        #: The error that follows the events returned; raised by the next call.
        self.fault: AgentsError | None = None
        self._take: Callable[[EventDecoder, bytes, int], int] = EventDecoder._take_bom
        self._decoded: list[Any] = []
        self._value = bytearray()  # the incomplete event
        self._word = bytearray()  # the beginning of a line, while its kind is not known
        self._depth = 0
        self._is_text = False  # within a string
        self._is_escaped = False  # right after a backslash
        self._is_data = False  # whether the event is the data of a server-sent event
        self._has_fields = False  # whether server-sent fields came whose event is not complete
        self._is_after_return = False  # whether a line feed here would belong to the end of the previous line

    def feed(self, chunk: bytes) -> list[Any]:
        """Return the events that these bytes complete, as JSON objects or arrays.

        Raises `DecodeError` for anything but events, and `StreamCut` for an event that is too large. If events
        precede the error, they are returned, and the next call raises it; until then `fault` holds it.
        """
        if self.fault is not None:
            raise self.fault
        at = 0
        try:
            while at < len(chunk):
                at = self._take(self, chunk, at)
        except AgentsError as error:
            self.fault = error
            if not self._decoded:
                raise
        events, self._decoded = self._decoded, []
        self.events += len(events)
        return events

    def end(self) -> None:
        """End the stream. Raises `StreamCut` if this is in the middle of an event."""
        if self.fault is not None:
            raise self.fault
        if self._value or self._word or self._has_fields or self._take is EventDecoder._take_rest:
            raise self.cut("it ended in the middle of an event")

    def cut(self, reason: str, *, run: Run | None = None) -> StreamCut:
        """Return the error for a stream that ends early, with the bytes received of the incomplete event."""
        events = self.events + len(self._decoded)
        return StreamCut(
            f"{self._vendor}: the stream of {self._call} was cut after {events} events: {reason}",
            vendor=self._vendor,
            call=self._call,
            events=events,
            received=bytes((self._value or self._word)[:_MAX_RECEIVED]),
            run=run,
        )

    def _invalid(self, reason: str, text: bytes) -> DecodeError:
        events = self.events + len(self._decoded)
        return DecodeError(
            f"{self._vendor}: the stream of {self._call} has {reason} after {events} events",
            vendor=self._vendor,
            call=self._call,
            detail=text[:_DETAIL].decode("utf-8", "replace"),
        )

    # States of the decoder: each consumes its part of the chunk from `at` on, and returns the position after it.

    def _take_bom(self, chunk: bytes, at: int) -> int:
        """Consume the byte order mark that a body may begin with."""
        if chunk[at] != _BOM[len(self._word)]:
            if self._word:
                raise self._invalid("bytes that are no JSON", bytes(self._word))
            self._take = EventDecoder._take_line
            return at
        self._word.append(chunk[at])
        if self._word == _BOM:
            self._word.clear()
            self._take = EventDecoder._take_line
        return at + 1

    def _take_line(self, chunk: bytes, at: int) -> int:
        """Consume the beginning of a line, until its kind is known."""
        if not self._value and (line := _WHOLE_LINE.match(chunk, at)) and self._decode_line(line[1]):
            return line.end()
        byte, was_after_return = chunk[at], self._is_after_return
        self._is_after_return = False
        if byte == _LF and was_after_return:
            return at + 1
        if byte in _BLANKS:  # all at once, so that each is examined once
            found = _NOT_BLANK.search(chunk, at)
            return len(chunk) if found is None else found.start()
        if byte in _LINE_ENDS:
            self._has_fields = False  # an empty line ends a server-sent event
            return self._end_line(chunk, at)
        if byte == _COLON:
            self._take = EventDecoder._take_rest
        elif byte in _FIELDS_BEGIN:
            self._take = EventDecoder._take_field
        elif self._value:  # the event's other lines have no `data:`
            self._take = EventDecoder._take_value
        else:
            self._is_data = False
            self._take = EventDecoder._take_between
        return at

    def _decode_line(self, text: bytes) -> bool:
        """Decode a line that is a whole event. Return False if it is not: the line is then read byte by byte."""
        if len(text) > self._max_event_bytes:
            return False
        try:
            self._decoded.append(decode_tolerant(text))
        except ValueError:
            return False
        self._is_after_return = self._has_fields = False
        return True

    def _take_field(self, chunk: bytes, at: int) -> int:
        """Consume the name of a server-sent field, and its end."""
        byte = chunk[at]
        if byte != _COLON and byte not in _LINE_ENDS:
            self._word.append(byte)
            if not any(name.startswith(bytes(self._word)) for name in _FIELDS):
                raise self._invalid("a line that is no JSON", bytes(self._word))
            return at + 1
        name = bytes(self._word)
        if name not in _FIELDS:
            raise self._invalid("a line that is no JSON", name)
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
        """Consume the rest of a line that is ignored."""
        found = _LINE_END.search(chunk, at)
        return len(chunk) if found is None else self._end_line(chunk, found.start())

    def _end_line(self, chunk: bytes, at: int) -> int:
        self._is_after_return = chunk[at] == _CR
        self._take = EventDecoder._take_line
        return at + 1

    def _take_between(self, chunk: bytes, at: int) -> int:
        """Consume blanks between events, and the first byte of an event."""
        found = _NOT_BLANK.search(chunk, at)
        if found is None:
            return len(chunk)
        at = found.start()
        byte = chunk[at]
        if byte in _LINE_ENDS:
            return self._end_line(chunk, at)
        if byte not in _OPENING:
            raise self._invalid("bytes that are no JSON", chunk[at : at + 1])
        self._value.append(byte)
        self._depth = 1
        self._take = EventDecoder._take_bracket if byte == _BRACKET else EventDecoder._take_value
        return at + 1

    def _take_bracket(self, chunk: bytes, at: int) -> int:
        """Distinguish an array from `[DONE]`, by which a stream may end."""
        self._take = EventDecoder._take_done if chunk[at] == _D else EventDecoder._take_value
        return at

    def _take_done(self, chunk: bytes, at: int) -> int:
        self._value.append(chunk[at])
        if not _DONE.startswith(bytes(self._value)):
            raise self._invalid("bytes that are no JSON", bytes(self._value))
        if len(self._value) == len(_DONE):
            self.is_done = True
            self._end_event()
        return at + 1

    def _take_value(self, chunk: bytes, at: int) -> int:
        """Consume an event up to its last byte, or the end of a line of data, or of the chunk."""
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
                self._count_depth(byte)
                if self._depth == 0:
                    self._append(chunk[begin:at])
                    self._finish_event()
                    return at
            elif self._is_text or self._is_data:
                self._append(chunk[begin:at])
                if self._is_text:
                    raise self._invalid("a line that ends within a string", bytes(self._value))
                return self._end_line(chunk, at - 1)
        self._append(chunk[begin:])
        return len(chunk)

    def _count_depth(self, byte: int) -> None:
        if byte == _QUOTE:
            self._is_text = not self._is_text
        else:
            self._depth += 1 if byte in _OPENING else -1

    def _append(self, part: bytes) -> None:
        self._value += part
        if len(self._value) > self._max_event_bytes:
            del self._value[self._max_event_bytes :]
            raise self.cut(f"an event is larger than {self._max_event_bytes} bytes (max_event_bytes)")

    def _finish_event(self) -> None:
        try:
            self._decoded.append(decode_tolerant(bytes(self._value)))
        except ValueError as exc:
            raise self._invalid("an event that is no JSON", bytes(self._value)) from exc
        self._end_event()

    def _end_event(self) -> None:
        self._value.clear()
        self._has_fields = False
        self._take = EventDecoder._take_between
