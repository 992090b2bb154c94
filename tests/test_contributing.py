"""The page for contributors: what it names is there."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from aioagents import RunState

_ROOT: Final = Path(__file__).parents[1]
_LEAP: Final = _ROOT / "aioagents" / "providers" / "leap"
_PAGE: Final = (_ROOT / ".github" / "CONTRIBUTING.md").read_text()
_WORDS: Final = sorted(set(re.findall(r"`([^`\n]+)`", _PAGE)))
_PATHS: Final = [each for each in _WORDS if re.fullmatch(r"\.?[\w/]+(/|\.(py|md|toml))|\.ci/run", each)]
#: What is called as in the code: all words that begin with a capital, or have one point or an underscore.
_NAMES: Final = [
    each
    for each in _WORDS
    if re.fullmatch(r"[A-Z]\w+(\.\w+)?|\w+\.\w+|[a-z]+_\w+", each) and each not in _PATHS
]
#: Words of that form that are examples.
_EXAMPLES: Final = frozenset({"AGENT_PLATFORM_APP_ID", "LEAP_API_KEY__billing", "runs.get", "agent_platform"})
#: Files of Leap's folder in the table, and those of the repository elsewhere, each with its lines.
_ROWS: Final[Sequence[tuple[str, str]]] = re.findall(r"`([\w./]+)`(?: \||,) (\d+)(?: \|| lines)", _PAGE)


@pytest.mark.parametrize("path", _PATHS)
def test_paths_exist(path: str) -> None:
    """A file or folder that is named is one of the repository, or of Leap's folders."""
    folders = (_ROOT, _LEAP, _ROOT / "tests" / "providers" / "leap")
    assert any((folder / path).exists() for folder in folders)


def _defined(tree: ast.Module | ast.ClassDef, owner: str) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
                yield from _defined(node, f"{name}.")
            case ast.FunctionDef(name=name, args=args) | ast.AsyncFunctionDef(name=name, args=args):
                yield owner + name
                yield from (each.arg for each in (*args.args, *args.kwonlyargs))
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield owner + name


@cache
def _all_defined() -> set[str]:
    """Return all classes, members (`Leap.run`, `page_size`), functions (`codec.decode`), arguments and constants."""
    found = set()
    for folder in ("aioagents", "tests"):
        for path in (_ROOT / folder).rglob("*.py"):
            names = set(_defined(ast.parse(path.read_text()), ""))
            modules = (path.stem, path.parent.name)  # a module may be a file, or a folder of files
            found |= names | {f"{module}.{name}" for module in modules for name in names}
            found |= {name.partition(".")[2] for name in names}
    return found


@pytest.mark.parametrize("name", [each for each in _NAMES if each not in _EXAMPLES])
def test_names_are_defined(name: str) -> None:
    """Every class, member, function, argument and constant that is named is defined under that name."""
    assert name in _all_defined() | {state.value.upper() for state in RunState}


@pytest.mark.parametrize(("name", "lines"), _ROWS)
def test_lengths_are_about_right(name: str, lines: str) -> None:
    """The lines of Leap's files are within a fifth of what the page says."""
    path = _ROOT / name if name.startswith("tests/") else _LEAP / name
    files = [path] if path.is_file() else list(path.glob("*.py"))
    found = sum(len(each.read_text().splitlines()) for each in files)
    assert abs(found - int(lines)) <= max(5, found // 5)
