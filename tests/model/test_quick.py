"""Frozen values with a quicker `__init__` are the same values."""

import copy
import pickle
from typing import Any

import attrs
import pytest
from attrs import frozen

from aioagents.model.quick import quick


@quick
@frozen
class Pair:
    """Two values, by position or by name."""

    left: int
    right: int = 2


def test_arguments_and_defaults_stay() -> None:
    """Positions, names, defaults, equality, hashes, copies and pickles are those of the attrs class."""
    assert Pair(1) == Pair(left=1, right=2) == attrs.evolve(Pair(5), left=1)
    assert hash(Pair(1)) == hash(Pair(1, 2))
    assert pickle.loads(pickle.dumps(Pair(3, 4))) == Pair(3, 4)  # noqa: S301 - our own value
    assert copy.copy(Pair(3, 4)) == Pair(3, 4)
    assert repr(Pair(1)) == "Pair(left=1, right=2)"


@pytest.mark.parametrize("arguments", [(), (1, 2, 3)])
def test_wrong_arguments_are_refused(arguments: tuple[int, ...]) -> None:
    """Too few and too many arguments are a TypeError, as for every class."""
    with pytest.raises(TypeError):
        Pair(*arguments)


def test_values_stay_frozen() -> None:
    """Such a value cannot be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Pair(1).left = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "fault",
    [{"factory": list}, {"converter": int, "default": 1}, {"validator": lambda *_: None, "default": 1}],
)
def test_fields_that_do_more_are_refused(fault: dict[str, Any]) -> None:
    """A class with a field that validates, converts or is made is refused."""
    with pytest.raises(TypeError, match="not a plain field"):
        quick(attrs.make_class("Odd", {"member": attrs.field(**fault)}, frozen=True, slots=True))
