"""Reading rows from JSON lines and CSV."""

import csv
import io
import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioagents.batch import BatchRow, RowFault, read_csv, read_jsonl

_TEXTS = st.text(st.characters(codec="utf-8"))
_NAMES = st.text(st.characters(codec="utf-8"), min_size=1)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_ROWS = st.lists(
    st.builds(BatchRow, _NAMES, _NAMES, _TEXTS, st.dictionaries(_TEXTS, _VALUES, max_size=4)), max_size=8
)
# Cells are text, and an empty cell is a missing member.
_CELLS = st.lists(
    st.builds(BatchRow, _NAMES, _NAMES, _TEXTS, st.dictionaries(_NAMES, _NAMES, max_size=3)), max_size=8
)


def _object(row: BatchRow) -> dict[str, Any]:
    return {"key": row.key, "target": row.target, "message": row.message, "input": row.input}


def _csv(rows: Iterable[BatchRow], *, end: str = "\r\n") -> str:
    rows = list(rows)
    names = sorted({name for row in rows for name in row.input})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(["key", "message", *(f"input.{name}" for name in names), "target"])
    for row in rows:
        writer.writerow([row.key, row.message, *(row.input.get(name, "") for name in names), row.target])
    return text.getvalue()


def faults(found: Iterable[BatchRow | RowFault]) -> list[str]:
    """Return the messages of lines that are not rows."""
    return [str(each) for each in found if isinstance(each, RowFault)]


@settings(deadline=None)
@given(rows=_ROWS, end=st.sampled_from(["\n", "\r\n", "\n\n", "\n  \n"]), has_bom=st.booleans())
def test_json_lines_are_read_back(rows: list[BatchRow], end: str, *, has_bom: bool) -> None:
    """Rows written as JSON lines are read back, as text and as bytes, with any line ends."""
    text = "".join(json.dumps(_object(row), ensure_ascii=False) + end for row in rows)
    text = "\ufeff" + text if has_bom else text
    assert list(read_jsonl(io.BytesIO(text.encode()))) == rows
    assert list(read_jsonl(text.encode().split(b"\n"))) == rows
    assert list(read_jsonl(text.split("\n"))) == rows


@settings(deadline=None)
@given(rows=_CELLS, has_bom=st.booleans())
@example(rows=[BatchRow("1\r\n", 'a "b"\n\n', ",\n", {"x\n": "\r"})], has_bom=True)
def test_csv_is_read_back(rows: list[BatchRow], *, has_bom: bool) -> None:
    """Rows written as CSV are read back, including quotes, commas and line ends in cells."""
    text = ("\ufeff" if has_bom else "") + _csv(rows)
    assert list(read_csv(io.BytesIO(text.encode()))) == rows
    assert list(read_csv(io.StringIO(text, newline=""))) == rows


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_in_json_lines(content: bytes) -> None:
    """Any bytes read as JSON lines are rows or faults, at most one for each line, with increasing numbers."""
    found = list(read_jsonl(io.BytesIO(content)))
    numbers = [each.line_number for each in found if isinstance(each, RowFault)]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= content.count(b"\n") + 1 for number in numbers)
    assert len(found) <= content.count(b"\n") + 1


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_in_csv(content: bytes) -> None:
    """Any bytes after the header are read as rows or faults, and nothing is raised."""
    found = list(read_csv(io.BytesIO(b"key,target,input.x\n" + content)))
    numbers = [each.line_number for each in found if isinstance(each, RowFault)]
    assert numbers == sorted(set(numbers))
    assert all(2 <= number <= content.count(b"\n") + 2 for number in numbers)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON at character 1"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"target":"t"}', "key has to be a string that is not empty, or a whole number"),
        ('{"key":"","target":"t"}', "key has to be"),
        ('{"key":true,"target":"t"}', "key has to be"),
        ('{"key":1.5,"target":"t"}', "key has to be"),
        ('{"key":123456789012345678901234567890,"target":"t"}', "key has to be"),
        ('{"key":"a"}', "target has to be a string that is not empty"),
        ('{"key":"a","target":7}', "target has to be"),
        ('{"key":"a","target":"t","message":7}', "message has to be a string"),
        ('{"key":"a","target":"t","input":[]}', "input has to be a JSON object"),
        ('{"key":"a","target":"t","inputs":{}}', "has members besides key, target, message and input"),
        ('{"key":"\\ud800","target":"t"}', "not JSON"),
        (
            '{"key":"a","target":"t","input":{"id":18446744073709551616}}',
            "input has a whole number beyond 64 bits",
        ),
        ('{"key":"a","target":"t","input":{"id":[-9223372036854775809]}}', "input has a whole number beyond"),
        (f'{{"key":"a","target":"t","input":{{"id":1{"0" * 300}}}}}', "input has a whole number beyond"),
    ],
)
def test_lines_that_are_not_rows(line: str, words: str) -> None:
    """Each fault says what is wrong without quoting the line; the next line is read nevertheless."""
    found = list(read_jsonl(["\n", line, '{"key":"ok","target":"t"}\n']))
    assert found[1] == BatchRow("ok", "t")
    (fault,) = faults(found)
    assert fault.startswith(f"line 2: {words}")


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), 1e300, 0.12345678901234567890, '"1\\": ' + "9" * 30])
def test_long_numbers_that_are_exact(value: Any) -> None:
    """Whole numbers of 64 bits, fractions, and digits in strings are read, however many digits there are."""
    line = json.dumps({"key": "a", "target": "t", "input": {"x": value, "id": "9" * 30}})
    [row] = read_jsonl([line])
    assert isinstance(row, BatchRow)
    assert row.input == {"x": value, "id": "9" * 30}


def test_fault_has_its_key_and_can_be_pickled() -> None:
    """A fault has its row's key if that could be read, and survives pickling."""
    (fault,) = read_jsonl(['{"key":7,"target":"t","message":[]}'])
    assert isinstance(fault, RowFault)
    again = pickle.loads(pickle.dumps(fault))  # noqa: S301 - our own
    assert (again.line_number, again.key, str(again)) == (1, "7", "line 1: message has to be a string")


def test_numbers_as_keys_and_nulls() -> None:
    """A whole number can be a key, and null counts as missing."""
    lines = ['{"key":7,"target":null,"message":null,"input":null}', '{"key":"8","target":"own"}']
    assert list(read_jsonl(lines, target="t")) == [BatchRow("7", "t"), BatchRow("8", "own")]


def test_rows_have_their_lines() -> None:
    """A row has the number of the physical line on which it begins, which does not count in comparisons."""
    lines = ["\n", '{"key":"a","target":"t"}\n', "no row\n", '{"key":"b","target":"t"}\n']
    assert [each.line for each in read_jsonl(lines) if isinstance(each, BatchRow)] == [2, 4]
    table = ["key,target,message\n", 'a,t,"of\n', 'two lines"\n', "\n", "b,t,\n"]
    found = [each for each in read_csv(table) if isinstance(each, BatchRow)]
    assert [each.line for each in found] == [2, 5]
    assert found[1] == BatchRow("b", "t")


def test_bytes_that_are_not_utf8() -> None:
    """A line that is not UTF-8 is a fault, and lines around it are read."""
    good = b'{"key":"a","target":"t"}\n'
    found = list(read_jsonl([good, b'{"key":"\xff","target":"t"}\n', good]))
    assert [type(each).__name__ for each in found] == ["BatchRow", "RowFault", "BatchRow"]
    assert faults(read_jsonl(['{"key":"\udcff","target":"t"}'])) == ["line 1: not UTF-8"]
    table = b'key,target\na,"\xff\nb"\nc,t\n'
    found = list(read_csv(table.splitlines(keepends=True)))
    assert (faults(found), found[1]) == (["lines 2 to 3: not UTF-8"], BatchRow("c", "t"))


@pytest.mark.parametrize("kind", ["bytes", "text", "list"])
def test_long_lines_are_bounded(kind: str) -> None:
    """A line that is too long is one fault; the lines after it, and a line of the maximum length, are read."""
    row = '{"key":"a","target":"t","message":"%s"}'
    room = 100 - len(row % "")
    lines = [row % ("x" * room), row % ("x" * (room + 1)), row % ("x" * 1000), row % ""]
    text = "\n".join(lines)
    source: Any = {
        "bytes": io.BytesIO(text.encode()),
        "text": io.StringIO(text),
        "list": text.splitlines(keepends=True),
    }[kind]
    found = list(read_jsonl(source, longest=100))
    assert faults(found) == ["line 2: longer than 100 bytes", "line 3: longer than 100 bytes"]
    assert [each.message for each in found if isinstance(each, BatchRow)] == ["x" * room, ""]


def test_long_line_is_never_read_as_a_whole() -> None:
    """Of an endless line, no more is read at a time than the maximum length."""

    class _Endless(io.RawIOBase):
        largest = 0
        calls = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            self.largest = max(self.largest, size)
            self.calls += 1
            return b"x" * size if 0 < self.calls < 50 else b""

    endless = _Endless()
    assert faults(read_jsonl(endless, longest=1000)) == ["line 1: longer than 1000 bytes"]
    assert endless.largest == 1001


def test_strict_raises_the_first_fault() -> None:
    """With `is_strict` the first fault is raised, after the rows before it."""
    rows = read_jsonl(['{"key":"a","target":"t"}', "{", "{"], is_strict=True)
    assert next(rows) == BatchRow("a", "t")
    with pytest.raises(RowFault, match="line 2"):
        next(rows)
    table = read_csv(["key,target\n", "a,t\n", "b\n"], is_strict=True)
    assert next(table) == BatchRow("a", "t")
    with pytest.raises(RowFault, match="line 3: has 1 cells"):
        next(table)


@pytest.mark.parametrize("read", [read_jsonl, read_csv])
def test_path_is_opened_lazily(tmp_path: Path, read: Any) -> None:
    """A path is opened when the first row is requested, and closed with the iterator."""
    path = tmp_path / "rows"
    rows = read(str(path))
    path.write_text('{"key":"a","target":"t"}\n' * 2 if read is read_jsonl else "key,target\na,t\na,t\n")
    assert next(rows) == BatchRow("a", "t")
    rows.close()
    with pytest.raises(FileNotFoundError):
        next(read(tmp_path / "other"))


def test_source_of_another_type() -> None:
    """Lines that are neither text nor bytes raise TypeError."""
    with pytest.raises(TypeError, match="lines have to be bytes or str, not int"):
        next(read_jsonl(b"{}"))  # type: ignore[arg-type]


# CSV


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("key,target,color", "not 'color'"),
        ("key,target,input.", "not 'input.'"),
        ("key,target,", "not ''"),
        ("key,key,target", "twice"),
        ("target", "named key and target"),
        ("key", "named key and target"),
        ('key,"target', "cannot be read: unexpected end of data"),
        ("", "no line of column names"),
        ("x" * 200, "cannot be read: longer than 150 bytes"),
    ],
)
def test_odd_headers_are_refused(header: str, words: str) -> None:
    """Invalid column names raise ValueError before any row."""
    with pytest.raises(ValueError, match=words) as caught:
        next(read_csv(["\n", header], longest=150))
    assert not isinstance(caught.value, RowFault)


def test_default_target() -> None:
    """Rows without a target have the default; a cell of their own takes precedence."""
    assert list(read_csv(["key\n", "a\n"], target="t")) == [BatchRow("a", "t")]
    table = ["key,target,input.x\n", "a,,1\n", "b,own,\n"]
    assert list(read_csv(table, target="t")) == [BatchRow("a", "t", "", {"x": "1"}), BatchRow("b", "own")]


def test_physical_lines_are_counted() -> None:
    """A fault has the physical line on which its row begins, also after blank lines and cells of several lines."""
    table = [
        "\n",
        "key,target\n",
        "\n",
        'a,"of\n',
        "two\n",
        'lines"\n',
        "\n",
        "b\n",
        ",t\n",
        "c,\n",
        '"d"e,t\n',
        "f,t\n",
    ]
    found = list(read_csv(table))
    assert faults(found) == [
        "line 8: has 1 cells, and there are 2 columns",
        "line 9: key is empty",
        "line 10: target is empty",
        "line 11: ',' expected after '\"'",
    ]
    assert [each for each in found if isinstance(each, BatchRow)] == [
        BatchRow("a", "of\ntwo\nlines"),
        BatchRow("f", "t"),
    ]


def test_quote_that_is_never_closed() -> None:
    """An unclosed cell ends at the maximum length of a cell, and rows after it are read."""
    size = csv.field_size_limit()
    table = ["key,target\n", 'a,"t\n', *(["x" * 99 + "\n"] * (size // 100 + 2)), "b,t\n"]
    found = list(read_csv(table))
    assert faults(found)[0].startswith(f"lines 2 to {3 + size // 100}: field larger than field limit")
    assert found[-1] == BatchRow("b", "t")
    assert faults(read_csv(["key,target\n", 'a,"t\n', "b,t\n"])) == ["lines 2 to 3: unexpected end of data"]


@pytest.mark.parametrize(
    ("end", "words"),
    [('"b"', "',' expected after '\"'"), ('b",t', "has 3 cells, and there are 2 columns")],
    ids=["refused", "too many cells"],
)
def test_quote_that_includes_rows(end: str, words: str) -> None:
    """A quote closed by a later row's quote is a fault with all its lines, and rows after it are read."""
    table = ["key,target\n", '1,"t\n', *(f"{n},t\n" for n in range(2, 50)), f"{end}\n", "51,t\n"]
    [fault, after] = read_csv(table)
    assert str(fault) == f"lines 2 to 51: {words}"
    assert after == BatchRow("51", "t")
    again = pickle.loads(pickle.dumps(fault))  # noqa: S301 - our own
    assert (again.line_number, again.last_line, str(again)) == (2, 51, str(fault))


def test_long_lines_in_csv() -> None:
    """A line that is too long is one fault in CSV as well."""
    found = list(read_csv(io.BytesIO(b"key,target\n" + b"x" * 5000 + b"\na,t\n"), longest=100))
    assert (faults(found), found[-1]) == (["line 2: longer than 100 bytes"], BatchRow("a", "t"))
