"""Reads and writes JSON, and converts between JSON and typed values."""

from .naming import camel_case, member
from .shapes import Codec, structure
from .text import (
    check_id,
    decode,
    decode_json,
    decode_tolerant,
    encode_around,
    encode_deep,
    encode_json,
    encode_object,
    id_in,
    parse_moment,
    text_in,
)

__all__ = [
    "Codec",
    "camel_case",
    "check_id",
    "decode",
    "decode_json",
    "decode_tolerant",
    "encode_around",
    "encode_deep",
    "encode_json",
    "encode_object",
    "id_in",
    "member",
    "parse_moment",
    "structure",
    "text_in",
]
