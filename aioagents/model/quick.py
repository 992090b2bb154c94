"""Quick construction of frozen values.

attrs fills a frozen class with slots through `object.__setattr__`, field by field; the slots' own setters cost
a third of that. Three values are made with every poll, and ten with each row of a batch.
"""

from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Return `cls`, a frozen attrs class with slots, with a quicker `__init__` of the same arguments and defaults.

    Raises TypeError for a field with a validator, a converter or a factory.
    """
    scope: dict[str, Any] = {}
    by_position: list[str] = ["self"]
    by_name: list[str] = []
    lines: list[str] = []
    for each in attrs.fields(cls):  # type: ignore[arg-type]  # mypy does not see that it is an attrs class
        is_made = isinstance(each.default, attrs.Factory)  # type: ignore[arg-type]  # typed as a function there
        if each.validator or each.converter or is_made:
            raise TypeError(f"{cls.__name__}.{each.name} is not a plain field")
        default = ""
        if each.default is not attrs.NOTHING:
            scope[f"default_{each.name}"] = each.default
            default = f"=default_{each.name}"
        (by_name if each.kw_only else by_position).append(f"{each.name}{default}")
        scope[f"set_{each.name}"] = getattr(cls, each.name).__set__
        lines.append(f"    set_{each.name}(self, {each.name})")
    arguments = ", ".join([*by_position, *(["*", *by_name] if by_name else [])])
    exec(f"def __init__({arguments}):\n" + "\n".join(lines), scope)  # noqa: S102 - as attrs itself does
    init = scope["__init__"]
    init.__annotations__ = cls.__init__.__annotations__
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = init  # type: ignore[method-assign]  # which is the point
    return cls
