"""Reads and writes JSON, and converts between JSON and typed values."""

from .shapes import Codec, member, structure
from .text import (
    decode,
    decode_json,
    encode_around,
    encode_deep,
    encode_json,
    encode_object,
    parse_moment,
    text_in,
)

__all__ = [
    "Codec",
    "decode",
    "decode_json",
    "encode_around",
    "encode_deep",
    "encode_json",
    "encode_object",
    "member",
    "parse_moment",
    "structure",
    "text_in",
]
