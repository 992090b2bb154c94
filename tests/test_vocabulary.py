"""How the package speaks: one name for each thing, the field's own, and docstrings in plain technical English."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

_PACKAGE: Final = Path(__file__).parents[1] / "aioagents"

#: Words that stand for a thing under another name than the field's, and that name.
BANNED: Final = {
    "look looks looked looking looker lookers": "poll, poll worker",
    "crew crews": "supervisor, poll workers",
    "gate gates pace paces paced": "limiter, rate limiter",
    "place places turn turns": "slot, permit",
    "launch launches launched flight flights journey journeys": "start, attempt",
    "mark marks marked": "sent, unsent",
    "land lands landed landing ground grounded carried carrier carriers": "drain, cancel unsent; inline start",
    "watch watches watched watching watcher lane lanes round rounds": "polled run; source; group",
    "heap heaps timetable timetables": "due queue",
    "tell tells told telling teller tellers untold": "emit, report, record, return",
    "judge judges judged verdict verdicts": "classify",
    "fate fates deed deeds": "outcome",
    "purse purses": "budget",
    "announcement announcements": "webhook registration",
    "world worlds desk desks": "fake server",
    "moved": "emit, record",
}
_NAMES: Final = {word: name for words, name in BANNED.items() for word in words.split()}
#: The same for words that are ordinary by themselves.
_BANNED_PHRASES: Final = re.compile(r"call(s|ed|ing)?[-_ ]off|tickets? that rings?", re.IGNORECASE)
#: Ordinary phrases in which such a word means something else, and words of other people's interfaces.
PHRASES: Final = re.compile(
    r"look(s|ed|ing)?[- ]up|look(s|ing)? (for|like)|in[-_ ]flight|in[- ]place|in (the |its |their )?place( of)?"
    r"|takes? place|decimal places?|in turn|carried out|turn(s|ed)? (in)?to|turn(s|ed)? (on|off)"
    r"|(byte[- ]order|question|quotation) marks?|round[- ]trips?|rounded|round brackets|pytest\.mark|file\.tell",
    re.IGNORECASE,
)
#: Identifiers that are other people's, or a standard term of the field.
NAMES: Final = {
    "in_flight": "the field's term for requests that were sent and not answered",
    "inflight": "as in_flight",
    "round": "the built-in function",
    "tell": "a file's method",
    "heapq": "the standard library's",
}
#: Files in which a word is the vendor's, or means what it says. Each with its reason.
EXCEPTIONS: Final[dict[tuple[str, str], str]] = {
    ("batch/journal/store.py", "moved"): "a file that somebody moved",
}
#: How no docstring begins: it says "Return ...", "Raise ...", "Wait until ...".
_OPENINGS: Final = re.compile(r"(Give|Gives|Have|Take notice|Tell|Say|Let|Be)\b")


def _files() -> list[Path]:
    return sorted(_PACKAGE.rglob("*.py"))


@cache
def _tokens(path: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(path.read_text()).readline))


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a file, each with its line; those of attributes are comments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield getattr(node, "lineno", 1), text


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    yield from _docstrings(path)
    for token in _tokens(path):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that are for people: strings of several words, docstrings among them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def _words(identifier: str) -> set[str]:
    """Return the words of an identifier in either spelling, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def _name(path: Path) -> str:
    return path.relative_to(_PACKAGE).as_posix()


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_identifiers_use_the_fields_words(path: Path) -> None:
    """No identifier holds a word that stands for a thing under another name than the field's."""
    found = [
        f"{path}:{token.start[0]}: {token.string}: {_NAMES[word]}"
        for token in _tokens(path)
        if token.type == tokenize.NAME and token.string not in NAMES
        for word in _words(token.string) & _NAMES.keys()
        if not (word == "flight" and "in_flight" in token.string.lower())
        and (_name(path), word) not in EXCEPTIONS
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_prose_uses_the_fields_words(path: Path) -> None:
    """No docstring, comment or message does so either."""
    found = [
        f"{path}:{line}: {word}: {_NAMES[word.lower()]}"
        for line, text in chain(_prose(path), _messages(path))
        for word in re.findall(r"[A-Za-z]+", PHRASES.sub("", " ".join(text.split())))
        if word.lower() in _NAMES and (_name(path), word.lower()) not in EXCEPTIONS
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_no_phrase_of_the_old_words(path: Path) -> None:
    """No text and no identifier holds a phrase that stands for such a thing."""
    assert _BANNED_PHRASES.search(path.read_text()) is None


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_docstrings_are_plain(path: Path) -> None:
    """Docstrings say what is returned, raised or done, as the standard library's do."""
    found = [f"{path}:{line}: {text[:60]}" for line, text in _docstrings(path) if _OPENINGS.match(text)]
    assert not found, "\n".join(found)


def test_exceptions_are_needed() -> None:
    """Each exception is of a word that its file has."""
    for name, word in EXCEPTIONS:
        text = (_PACKAGE / name).read_text().lower()
        assert word in re.split(r"[^a-z]+", text), (name, word)
