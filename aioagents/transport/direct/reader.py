"""Reads one reply after the other from the bytes of a connection. Pure: it is fed, and never waits."""

import re
from typing import Final

from .head import BadReply, Head, read_head

_HEAD, _SIZED, _CHUNKED, _ENDLESS, _DONE = range(5)
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_BEGINNING: Final = b"HTTP/1."
#: The end of a head whose lines end without a carriage return, as those of small servers do.
_BARE_END: Final = re.compile(rb"\n\r?\n")
_INFORMATIONAL: Final = range(100, 200)
_SWITCHING: Final = 101
_SUCCESS: Final = range(200, 300)
#: Of the body of a refusal no more is read.
MOST_OF_REFUSAL: Final = 64 * 1024


class ReplyReader:
    """Reads the replies of one connection, each to one request.

    Of a success at most so many bytes are kept as `begin` says: where there are more, `is_too_large` is set, and the
    reply is done. Of a refusal the first 64 KiB are the reply. `may_be_kept` says, once a reply is done, whether the
    connection may be used for another one; not so where bytes have followed it.
    """

    __slots__ = (
        "_body",
        "_head_bytes",
        "_held",
        "_is_bodiless",
        "_left",
        "_most",
        "_most_header_bytes",
        "_most_headers",
        "_state",
        "_step",
        "_whole",
        "has_begun",
        "head",
        "is_too_large",
        "may_be_kept",
    )

    def __init__(self, *, header_bytes: int, header_lines: int) -> None:
        self._most_header_bytes = header_bytes
        self._most_headers = header_lines
        self._state = _DONE
        self._held = bytearray()
        self._body = bytearray()
        #: The head of the reply, None until it is there.
        self.head: Head | None = None
        self.may_be_kept = False

    def begin(self, method: str, most: int) -> None:
        """Expect a reply to a request of `method`, with a body of at most `most` bytes."""
        self._state = _HEAD
        self._is_bodiless = method == "HEAD"
        self._most = most
        self._head_bytes = 0
        self._whole: bytes | None = None
        self.head = None
        #: Whether any byte has arrived.
        self.has_begun = False
        self.is_too_large = False
        self.may_be_kept = False

    @property
    def is_refusal(self) -> bool:
        """Return whether the reply has begun, and has a status that is not 2xx."""
        return self.head is not None and self.head.status not in _SUCCESS

    @property
    def size(self) -> int:
        """Return how many bytes of the body are in memory."""
        return len(self._body)

    def body(self) -> bytes:
        """Return the body, or what has arrived of it. To be called once."""
        whole = self._whole
        if whole is None:
            whole = bytes(self._body)
            self._body = bytearray()
        else:
            self._whole = None
        return whole

    def feed(self, data: bytes) -> bool:
        """Take what has arrived; return whether the reply is done. Raises `BadReply`."""
        self.has_begun = True
        if self._state == _HEAD:
            rest = self._feed_head(data)
            if rest is None:
                return False
            data = rest
        if self._state == _SIZED:
            return self._feed_sized(data)
        if self._state == _CHUNKED:
            return self._feed_chunked(data)
        if self._state == _ENDLESS:
            return self._keep(data)
        if data:
            self.may_be_kept = False  # nobody asked for it
        return True

    def feed_end(self) -> bool:
        """Take that the connection has ended; return whether that is the end of the reply.

        A refusal has been answered with what has arrived of its body; any other reply that is not whole is none.
        """
        is_whole = self._state in {_ENDLESS, _DONE} or self.is_refusal
        self._state = _DONE
        self.may_be_kept = False
        return is_whole

    def _feed_head(self, data: bytes) -> bytes | None:
        """Return what follows the head, None until it is whole."""
        if self._held:
            data = bytes(self._held + data)
            self._held.clear()
        if not data.startswith(_BEGINNING[: len(data)]):
            raise BadReply("no HTTP reply")
        at = 0
        while True:
            end, after = _find_end(data, at)
            self._count_header_bytes((len(data) if end < 0 else end) - at)
            if end < 0:
                self._held += data[at:]
                self._head_bytes -= len(data) - at
                return None
            head = read_head(data[at:end], is_bodiless=self._is_bodiless, most_headers=self._most_headers)
            at = after
            if head.status not in _INFORMATIONAL:
                break
            if head.status == _SWITCHING:
                raise BadReply("another protocol than HTTP")
        self.head = head
        self.may_be_kept = head.may_be_kept
        self._begin_body(head)
        return data[at:]

    def _count_header_bytes(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > self._most_header_bytes:
            raise BadReply("headers larger than PoolLimits.header_bytes")

    def _begin_body(self, head: Head) -> None:
        if head.status not in _SUCCESS:
            self._most = MOST_OF_REFUSAL
        if head.length is not None:
            self._state, self._left = _SIZED, head.length
            if head.length > self._most and not self.is_refusal:
                self._give_up()
        elif head.is_chunked:
            self._state, self._left, self._step = _CHUNKED, 0, self._read_size
        else:
            self._state = _ENDLESS

    def _feed_sized(self, data: bytes) -> bool:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return self._keep(data)
        self._state = _DONE
        if len(data) > left:
            self.may_be_kept = False
            data = data[:left]
        if self._body:
            return self._keep(data) or True
        if len(data) > self._most:
            data = data[: self._most]
        self._whole = data
        return True

    def _keep(self, piece: bytes | bytearray) -> bool:
        """Add to the body; return whether it is now as large as may be, which ends it."""
        self._body += piece
        if len(self._body) <= self._most:
            return False
        self._give_up()
        return True

    def _give_up(self) -> None:
        del self._body[self._most :]
        self.is_too_large = not self.is_refusal
        self._state = _DONE
        self.may_be_kept = False

    # ── chunks ──

    def _feed_chunked(self, data: bytes) -> bool:
        self._held += data
        at: int | None = 0
        used = 0
        while self._state == _CHUNKED:
            at = self._step(used)
            if at is None:
                break
            used = at
        if self._state == _DONE:
            if len(self._held) > used:
                self.may_be_kept = False
            self._held = bytearray()
            return True
        del self._held[:used]
        return False

    def _line_end(self, at: int) -> int:
        """Return where the line at `at` ends, -1 until it is whole."""
        end = self._held.find(b"\r\n", at)
        if (len(self._held) if end < 0 else end) - at > self._most_header_bytes:
            raise BadReply("a line of a chunked body larger than PoolLimits.header_bytes")
        return end

    def _read_size(self, at: int) -> int | None:
        """Read the line before a chunk at `at`; return where the next thing is, None until it is there."""
        end = self._line_end(at)
        if end < 0:
            return None
        match = _SIZE_LINE.fullmatch(self._held, at, end)
        if match is None:
            raise BadReply("a chunk without a size")
        self._left = int(match[1], 16)
        self._step = self._read_chunk if self._left else self._read_trailer
        return end + 2

    def _read_chunk(self, at: int) -> int | None:
        piece = self._held[at : at + self._left]
        self._left -= len(piece)
        if self._keep(piece):
            return len(self._held)
        if self._left:
            return at + len(piece) if piece else None
        self._step = self._read_chunk_end
        return at + len(piece)

    def _read_chunk_end(self, at: int) -> int | None:
        if len(self._held) < at + 2:
            return None
        if self._held[at : at + 2] != b"\r\n":
            raise BadReply("a chunk longer than its size")
        self._step = self._read_size
        return at + 2

    def _read_trailer(self, at: int) -> int | None:
        """Skip the lines behind the last chunk, up to the empty one."""
        end = self._line_end(at)
        if end < 0:
            return None
        self._count_header_bytes(end - at)
        if end == at:
            self._state = _DONE
        return end + 2


def _find_end(data: bytes, start: int) -> tuple[int, int]:
    """Return where the head that begins at `start` ends, and where what follows begins; -1 until it is whole."""
    end = data.find(b"\r\n\r\n", start)
    found = _BARE_END.search(data, start, len(data) if end < 0 else end + 2)
    return (end, end + 4) if found is None else found.span()
