"""Kore Agent Platform: options of a model's deployment, checked before they are sent. Pure.

Ranges and words are those of the table in Agent Platform API, section 9.3.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from attrs import Attribute, field, frozen

from ...codec import member
from .checks import check_word

DEVICES: Final = (
    "g4dn.xlarge",
    "g5.xlarge",
    "g5.2xlarge",
    "g6e.xlarge",
    "g4dn.12xlarge",
    "g5.12xlarge",
    "g5.48xlarge",
    "g4dn.metal",
)
_OPTIMIZATIONS: Final = ("", "ctranslate2", "vllm")
_QUANTIZATIONS: Final = ("", "no_quantization", "int8_float16")


class ModelType(StrEnum):
    """The type of a model that is deployed."""

    OPEN_SOURCE = "openSource"
    FINE_TUNE = "fineTune"


def _within(path: str, low: float, high: float, *, is_whole: bool = True) -> Any:
    """Return a validator, whose errors name the member of the request."""
    kinds = int if is_whole else int | float

    def check(_: object, __: "Attribute[Any]", value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{path}: expected a {'whole ' if is_whole else ''}number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{path}: has to be from {low} to {high}, not {value!r}")

    return check


def _needed(path: str, low: float, high: float, *, is_whole: bool = True) -> Any:
    check = _within(path, low, high, is_whole=is_whole)

    def needed(instance: object, attribute: "Attribute[Any]", value: Any) -> None:
        if value is None:
            raise ValueError(f"{path}: has to be there")
        check(instance, attribute, value)

    return field(validator=needed)


def _optional(path: str, low: float, high: float) -> Any:
    return field(default=None, validator=_within(path, low, high))


def _words(value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError("hyperParameters.stopSequence: expected a list of texts, not one text")
    return tuple(value)


@frozen(kw_only=True)
class HyperParameters:
    """How a deployed model answers: `temperature` 0 to 2, `max_tokens` to 512, `top_p` 0 to 1, `top_k` 1 to 100."""

    temperature: float = _needed("hyperParameters.temperature", 0, 2, is_whole=False)
    max_tokens: int = _needed("hyperParameters.maxTokens", 0, 512)
    top_p: float = _needed("hyperParameters.topP", 0, 1, is_whole=False)
    top_k: int = _needed("hyperParameters.topK", 1, 100)
    stop_sequence: tuple[str, ...] = field(default=(), converter=_words)


@frozen(kw_only=True)
class Scaling:
    """How many replicas a model has, and how fast that number changes.

    `min_replicas` is 1 to 10, `max_replicas` 1 to 50, `scale_up_delay` 1 to 1000 and `scale_down_delay` 50 to 2000,
    both in milliseconds according to the vendor, `max_batch_size` 1 to 256.
    """

    max_batch_size: int | None = _optional("scalingParameters.maxBatchSize", 1, 256)
    min_replicas: int | None = _optional("scalingParameters.minReplicas", 1, 10)
    max_replicas: int | None = _optional("scalingParameters.maxReplicas", 1, 50)
    scale_up_delay: int | None = _optional("scalingParameters.scaleUpDelay", 1, 1000)
    scale_down_delay: int | None = _optional("scalingParameters.scaleDownDelay", 50, 2000)


def _word(name: str, words: Sequence[str]) -> Any:
    def check(_: object, __: "Attribute[str]", value: str) -> None:
        check_word(value, words, f"optimizationInfo.{name}:")

    return member(name, is_always_written=True, default="", validator=check)


@frozen(kw_only=True)
class Optimization:
    """How a model is optimized. What is not set is sent as an empty text, as in the vendor's samples.

    `type` is `ctranslate2` or `vllm`, `quantization` is `no_quantization` or `int8_float16`.
    """

    type: str = _word("optimizationType", _OPTIMIZATIONS)
    quantization: str = _word("quantizationType", _QUANTIZATIONS)
