"""How the package is built: who may import whom, and where foreign things have their home."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Final

import pytest

import aioagents
from aioagents.providers import public_names

_ROOT: Final = Path(__file__).parents[1]
_PACKAGE: Final = _ROOT / "aioagents"

#: From the ground up. Imports go down only, and what stands on one floor does not see its neighbours.
FLOORS: Final = (
    {"model"},
    {"errors"},
    {"clock", "codec", "observe", "retry", "tasks", "tracebacks"},
    {"auth", "polling", "transport", "webhooks"},
    {"calls"},
    {"pool"},
    {"contract"},
    {"providers"},
    {"batch", "connect", "simulator"},
    {"cli", "pytest_plugin"},
    {"__main__"},
)
#: Third parties, and the files and folders that alone may import them.
HOMES: Final = {
    "aiohttp": ("transport/", "pool.py", "simulator/", "webhooks/receiver.py"),
    "aiohttp.web": ("simulator/", "webhooks/receiver.py"),
    "yarl": ("transport/", "webhooks/receiver.py"),
    "orjson": ("codec/",),
    "cattrs": ("codec/",),
    "sqlite3": ("batch/journal/",),
    "logging": ("observe/logs.py", "cli/main.py"),
    "filelock": ("auth/store.py",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "pytest": ("pytest_plugin.py",),
}
_LONGEST: Final = 350
_BANNED: Final = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "managers"}


def _files() -> list[Path]:
    return sorted(_PACKAGE.rglob("*.py"))


def _names(paths: list[Path]) -> list[str]:
    """Return the paths in the package; a vendor's half of the command line counts as a file of `cli`."""
    names = [path.relative_to(_PACKAGE).as_posix() for path in paths]
    return [re.sub(r"^providers/(\w+)/cli\b", r"cli/\1", name) for name in names]


def _module(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(_ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _walk(tree: ast.AST, *, typing: bool) -> Iterator[ast.AST]:
    """Walk over all nodes, also those inside functions; what is for type checkers alone only with `typing`."""
    for node in ast.iter_child_nodes(tree):
        if not typing and _is_typing_only(node):
            continue
        yield node
        yield from _walk(node, typing=typing)


def _imports(path: Path, *, typing: bool = True) -> Iterator[tuple[str, ...]]:
    """Return all that a file imports, absolute: a module, or a name within one."""
    module = _module(path)
    package = module if path.name == "__init__.py" else module[:-1]
    for node in _walk(_tree(path), typing=typing):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield (*source, alias.name)


def _resolved(target: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the module of the package that an import leads to, None for foreign ones."""
    if target[0] != "aioagents":
        return None
    for end in range(len(target), 0, -1):
        target_path = _ROOT.joinpath(*target[:end])
        if target_path.with_suffix(".py").exists() or (target_path / "__init__.py").exists():
            return target[:end]
    return None


def _part(module: tuple[str, ...]) -> str:
    """Return the part that a module belongs to: a vendor's half of the command line to `cli`, as it imports that."""
    return "cli" if module[1] == "providers" and module[3:4] == ("cli",) else module[1]


def _floor(part: str) -> int:
    (found,) = [number for number, parts in enumerate(FLOORS) if part in parts]
    return found


def test_each_part_stands_on_a_floor() -> None:
    """Every file and folder at the top of the package stands in the table."""
    parts = {_module(path)[1] for path in _files() if len(_module(path)) > 1}
    assert parts <= set().union(*FLOORS)


@pytest.mark.parametrize(
    "path", [path for path in _files() if len(_module(path)) > 1], ids=lambda path: path.stem
)
def test_imports_go_down(path: Path) -> None:
    """A part imports only itself and what stands on lower floors, also inside functions and for type checkers."""
    part = _part(_module(path))
    for target in _imports(path):
        found = _resolved(target)
        if found is None:
            continue
        assert len(found) > 1, f"{path} imports the package as a whole"
        if _part(found) != part:
            assert _floor(_part(found)) < _floor(part), f"{path} imports {'.'.join(found)}"


def test_errors_take_only_their_root_from_the_model() -> None:
    """The root of errors is beside the values that it carries, since references raise one; errors need no other."""
    found = [target for target in _imports(_PACKAGE / "errors.py") if _resolved(target) is not None]
    assert {target[-1] for target in found} == {"AgentsError", "BadReference"}
    assert {_resolved(target) for target in found} == {("aioagents", "model", "run")}


def test_no_circles() -> None:
    """No module leads back to itself through what it imports, inside functions and for type checkers included."""
    graph = {
        _module(path): {
            found
            for target in _imports(path)
            if (found := _resolved(target)) is not None and found != _module(path)
        }
        for path in _files()
    }
    done: set[tuple[str, ...]] = set()

    def visit(module: tuple[str, ...], trail: tuple[tuple[str, ...], ...]) -> None:
        assert module not in trail, " -> ".join(".".join(each) for each in (*trail, module))
        if module not in done:
            for each in graph.get(module, ()):
                visit(each, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_vendors_do_not_know_each_other() -> None:
    """What is known of one vendor imports nothing of another one's folder."""
    for path in (_PACKAGE / "providers").rglob("*.py"):
        module = _module(path)
        for target in _imports(path):
            found = _resolved(target)
            if found is not None and found[:2] == ("aioagents", "providers") and len(module) > 2:
                assert found[:3] == module[:3], f"{path} imports {'.'.join(found)}"


def test_only_vendors_folders_are_named_by_vendors() -> None:
    """Outside its folder a vendor is imported by name in the demo alone, which shows one, and for type checkers."""
    vendors = {path.name for path in (_PACKAGE / "providers").iterdir() if path.is_dir()}
    naming = [
        path
        for path in _files()
        if path.parent == _PACKAGE / "providers" or _module(path)[1:2] != ("providers",)
        for target in _imports(path, typing=False)
        if target[:2] == ("aioagents", "providers") and set(target[2:]) & vendors
    ]
    assert _names(naming) == ["cli/demo.py"]


def test_type_checkers_see_what_is_there() -> None:
    """The names at the top for type checkers are those at runtime, save vendors that type checkers find elsewhere."""
    (listed,) = (
        node.value
        for node in _walk(_tree(_PACKAGE / "__init__.py"), typing=True)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    names = ast.literal_eval(listed)
    assert set(names) <= set(aioagents.__all__)
    assert set(aioagents.__all__) - set(names) <= set(public_names())
    assert names == sorted(names)


_FOREIGN_TO_PROGRAMS: Final = """
import sys, aioagents, aioagents.batch, aioagents.simulator, aioagents.webhooks
from aioagents import *
aioagents.simulator.Simulator()
found = [name for name in sys.modules if name.split(".")[0] in {"click", "rich"} or "cli" in name.split(".")]
assert found == [], found
"""


def test_programs_import_nothing_of_the_command_line() -> None:
    """Neither all names at the top nor a simulator import click, rich, or a vendor's half of the command line."""
    subprocess.run([sys.executable, "-c", _FOREIGN_TO_PROGRAMS], check=True, timeout=60)


def test_inside_imports_are_relative() -> None:
    """Within the package, imports are relative."""
    for path in _files():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] != "aioagents", path


@pytest.mark.parametrize("foreign", HOMES)
def test_third_parties_have_one_home(foreign: str) -> None:
    """What is not ours is imported in its home alone."""
    parts = tuple(foreign.split("."))
    users = [path for path in _files() if any(target[: len(parts)] == parts for target in _imports(path))]
    strangers = [name for name in _names(users) if not name.startswith(HOMES[foreign])]
    assert strangers == []


def test_environment_has_one_home() -> None:
    """The process's environment is read in one file."""
    users = [path for path in _files() if "os.environ" in path.read_text() or "getenv" in path.read_text()]
    strangers = [name for name in _names(users) if name != "auth/credentials.py"]
    assert strangers == []


def test_only_the_command_line_prints() -> None:
    """`print` is called in the command line's output alone."""
    users = [
        path
        for path in _files()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert set(_names(users)) <= {"cli/output.py"}


def test_no_task_outlives_its_supervisor() -> None:
    """Tasks are made in the supervisor alone, which ends with all of them."""
    makers = [
        path
        for path in _files()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future", "gather"}
    ]
    allowed = ("tasks.py", "cli/")
    assert [name for name in sorted(set(_names(makers))) if not name.startswith(allowed)] == []


@pytest.mark.parametrize("folder", ["aioagents", "benchmarks"])
def test_files_are_short(folder: str) -> None:
    """No file has more than 350 lines."""
    paths = (_ROOT / folder).rglob("*.py")
    lines = {path.name: len(path.read_text().splitlines()) for path in paths}
    assert {name: count for name, count in lines.items() if count > _LONGEST} == {}


def test_no_drawer_for_everything() -> None:
    """No module is called by what could hold anything."""
    assert [path for path in _files() if {path.stem, *path.relative_to(_PACKAGE).parts} & _BANNED] == []


def _modules() -> list[str]:
    return [".".join(_module(path)) for path in _files() if path.name != "__main__.py"]


@pytest.mark.parametrize("name", _modules())
def test_lists_of_public_names_are_sorted(name: str) -> None:
    """Each `__all__` is sorted as ruff sorts it, names nothing twice, and nothing that is not there."""
    module = import_module(name)
    names: list[str] = getattr(module, "__all__", [])
    kinds = {each: (not each.isupper(), each[0].islower()) for each in names}
    assert names == sorted(set(names), key=lambda each: (kinds[each], each))
    assert [each for each in names if not hasattr(module, each)] == []


@pytest.mark.parametrize("name", ["aioagents", *(each for each in _modules() if each.count(".") == 1)])
def test_public_names_make_a_promise(name: str) -> None:
    """Every public class and function, and each public method of one of ours, has a docstring."""
    module = import_module(name)
    lacking = []
    for each in getattr(module, "__all__", []):
        value = getattr(module, each)
        if not isinstance(value, type | FunctionType):
            continue
        if not (value.__doc__ or "").strip():
            lacking.append(each)
        if isinstance(value, type) and value.__module__.startswith("aioagents"):
            lacking += [
                f"{each}.{method}"
                for method, thing in vars(value).items()
                if not method.startswith("_")
                and (callable(thing) or isinstance(thing, property | classmethod | staticmethod))
                and not isinstance(thing, type)
                and not (getattr(thing, "__doc__", "") or "").strip()
            ]
    assert lacking == []


def test_every_package_lists_its_names() -> None:
    """A package's `__init__` imports its public names into `__all__`; names are found where they are promised."""
    for path in _PACKAGE.rglob("__init__.py"):
        if path.parent.name != "providers" and path.read_text().count("import "):
            assert "__all__" in path.read_text(), path


def test_top_level_is_what_it_is() -> None:
    """The repository's top holds what the style guide lists, and dotfiles."""
    allowed = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "aioagents", "tests", "benchmarks"}
    found = {path.name for path in _ROOT.iterdir() if not path.name.startswith(".")}
    assert found <= allowed
