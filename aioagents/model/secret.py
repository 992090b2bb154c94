"""Values that are used but never shown."""

from collections.abc import Callable, ItemsView, Iterator, Mapping
from typing import final


@final
class Secret:
    """Holds a password, key or token; `reveal()` returns it, while `str` and `repr` show asterisks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, for the code that sends it."""
        return self._value

    @classmethod
    def of(cls, value: "str | Secret") -> "Secret":
        """Return `value` as a Secret; one is returned as it is."""
        return value if isinstance(value, Secret) else cls(value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> tuple[Callable[[], "Secret"], tuple[()]]:
        # A pickle would show the secret: in jobs, caches, crash dumps.
        raise TypeError("a Secret cannot be pickled; pass the setting that it came from instead")


@final
class SecretMapping(Mapping[str, str]):
    """Headers or settings that hold secrets. They are read as in any mapping; `repr` shows their names alone."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[str, str]:
        """Return the names and values."""
        return self._values.items()  # with each request: that of `Mapping` takes ten times as long

    def __repr__(self) -> str:
        return f"SecretMapping({', '.join(self._values)})"

    def __reduce__(self) -> tuple[Callable[[], "SecretMapping"], tuple[()]]:
        raise TypeError("a mapping with secrets cannot be pickled")  # as a `Secret`
