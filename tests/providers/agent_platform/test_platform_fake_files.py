"""The fake Agent Platform's forms, attachments, and files: in one call, in chunks, as a model."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aioagents.contract.fake import Call as FakeCall
from aioagents.contract.fake import Refused
from aioagents.model import Reply, Request
from aioagents.providers.agent_platform.fake.files import LIMIT
from aioagents.providers.agent_platform.fake.forms import read_form
from tests.providers.agent_platform.platform_fake_rig import (
    APP,
    APP_KEY,
    PUBLIC,
    TOOLS_KEY,
    FakeClient,
    execute_body,
    fake_client,
    form,
    read,
    upload,
)

_UPLOAD = f"{APP}/attachments/upload"
_FILES = f"{PUBLIC}/files"
_FILE = 'file"; filename="a.txt"\r\nContent-Type: text/plain'


def _call(body: bytes, headers: Mapping[str, str]) -> FakeCall:
    request = Request(method="POST", url="/x", call="", headers=headers, body=body)
    return FakeCall(request=request, path={}, query={}, now=0.0)


@given(st.binary(max_size=200), st.text(max_size=20), st.sampled_from(["b", "----WebKit7", "a b"]))
def test_forms_keep_their_content(content: bytes, text: str, boundary: str) -> None:
    """Any bytes of a file, line ends and dashes included, are read back, and so are the text fields."""
    assume(f"--{boundary}".encode() not in content + text.encode())
    body, headers = form((_FILE, content), ('other"', text.encode()), boundary=boundary)
    found = read_form(_call(b"preamble\r\n" + body + b"epilogue", headers))
    assert bytes(found.file.content) == content
    assert found.texts == {"other": text}
    assert (found.file.name, found.file.extension, found.file.content_type) == ("a.txt", "txt", "text/plain")


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('file"; filename="Grüße aus Zürich.TXT"', "Grüße aus Zürich.TXT"),
        ("file\"; filename*=utf-8''Gr%C3%BC%C3%9Fe.txt", "Grüße.txt"),
        ('file"; filename="a \\"b\\".txt"', 'a "b".txt'),
    ],
)
def test_file_names_are_read_as_they_are_sent(disposition: str, name: str) -> None:
    """A file's name may be escaped as browsers do, or encoded as in RFC 5987."""
    body, headers = form((disposition, b"x"))
    assert read_form(_call(body, headers)).file.name == name


_GOOD = form((_FILE, b"x"))[0]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (_GOOD, "application/json"),
        (_GOOD, "multipart/form-data"),
        (_GOOD, "multipart/form-data; boundary="),
        (_GOOD, "multipart/form-data; boundary=other"),
        (_GOOD, ""),
        (b"", "multipart/form-data; boundary=b0undary"),
        (_GOOD[:-4], "multipart/form-data; boundary=b0undary"),
        (_GOOD[:40], "multipart/form-data; boundary=b0undary"),
        (b"--b0undary", "multipart/form-data; boundary=b0undary"),
        (b"--b0undary--", "multipart/form-data; boundary=b0undary"),
        (b"--b0undary\r\nno headers\r\n--b0undary--", "multipart/form-data; boundary=b0undary"),
        (b"--b0undary\r\n\r\nx\r\n--b0undary--", "multipart/form-data; boundary=b0undary"),
        (_GOOD.replace(b"form-data", b"attachment"), "multipart/form-data; boundary=b0undary"),
        (_GOOD.replace(b"name=", b"nom="), "multipart/form-data; boundary=b0undary"),
        (form(('name"', b"x"))[0], "multipart/form-data; boundary=b0undary"),
        (form((_FILE.replace("file", "File", 1), b"x"))[0], "multipart/form-data; boundary=b0undary"),
        (form((_FILE, b"x"), (_FILE, b"y"))[0], "multipart/form-data; boundary=b0undary"),
    ],
)
def test_broken_forms_are_refused(body: bytes, content_type: str) -> None:
    """A form without its beginning, its end, or exactly one file called `file` is refused."""
    with pytest.raises(Refused) as refused:
        read_form(_call(body, {"content-type": content_type}))
    assert refused.value.status == 400


def _attach(client: FakeClient, content: bytes = b"hello", name: str = "a.txt", **texts: str) -> Reply:
    body, headers = upload(content, name, **({"userReference": "u", "uploadType": "runtime"} | texts))
    return client.reply("POST", _UPLOAD, body, headers={**APP_KEY, **headers})


def test_an_attachment_is_described() -> None:
    """The answer to an upload has its size and type; of the content a hash is kept."""
    client = fake_client()
    answer = read(_attach(client, "☂".encode(), "Grüße.txt"))
    assert " ".join(answer) == "fileId fileName filePath fileSize mimeType extension uploadedAt"
    assert (answer["fileName"], answer["fileSize"], answer["mimeType"]) == ("Grüße.txt", 3, "text/plain")
    (kept,) = client.fake.attachments
    assert (kept.id, kept.sha256, kept.user) == (answer["fileId"], sha256("☂".encode()).hexdigest(), "u")
    assert client.count("uploads") == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"uploadType": "design"}, 400),
        ({"uploadType": ""}, 400),
        ({"userReference": ""}, 400),
        ({"name": "a.exe"}, 415),
        ({"name": "a"}, 415),
        ({"content": b"x" * 1_000_001}, 413),
        ({"content": b"x" * 1_000_000}, 200),
        ({"name": "A.PDF"}, 200),
    ],
)
def test_attachments_are_limited(change: Mapping[str, Any], status: int) -> None:
    """Attachments that are incomplete, of a wrong type or too large for the limits are refused, not stored."""
    client = fake_client(max_file_size=1, quirks=False)
    assert _attach(client, **change).status == status
    assert len(client.fake.attachments) == client.count("uploads") == (status == 200)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 200),
        ({}, 200),
        ({"sessionReference": "chat"}, 200),
        ({"sessionId": "{id}"}, 200),
        ({"sessionReference": "none"}, 404),
        ({"sessionId": "s-0"}, 404),
        ({"sessionId": 7}, 400),
        (b"{", 400),
    ],
)
def test_attachments_are_deleted(body: Any, status: int) -> None:
    """A deletion may name its session; its success is a string; a second one is refused."""
    client = fake_client()
    session = client.create(sessionReference="chat", userReference="u")["session"]["sessionId"]
    file_id = read(_attach(client))["fileId"]
    files = {"enable": True, "includeFiles": [file_id]}
    read(client.ask("POST", f"{APP}/runs/execute", execute_body("at once", attachments=files)))
    if isinstance(body, dict):
        body = {name: session if value == "{id}" else value for name, value in body.items()}
    reply = client.reply("DELETE", f"{APP}/attachments/{file_id}", body)
    assert reply.status == status
    left = client.body("GET", f"{APP}/sessions?sessionReference=chat")["session"]["attachments"]
    assert len(left) == len(client.fake.attachments) == (status != 200)
    if status == 200:
        assert read(reply) == {"message": "deleted", "success": "true", "fileId": file_id}
        assert client.reply("DELETE", f"{APP}/attachments/{file_id}").status == 404


def _send(
    client: FakeClient, path: str, content: bytes, name: str = "a.json", now: float = 0.0, **texts: str
) -> Reply:
    body, headers = upload(content, name, **texts)
    return client.reply("POST", path, body, headers={**TOOLS_KEY, **headers}, now=now)


def test_a_small_file_is_uploaded_in_one_call() -> None:
    """A file within the limit gets a URL and a hexadecimal id; its size and hash are kept."""
    client = fake_client()
    answer = read(_send(client, _FILES, b"{}", "app def.json", fileContext="bulkImport"))
    assert set(answer) == {"url", "fileId"}
    assert answer["url"].startswith("http://localhost/api/getMediaStream/orgFiles/")
    assert answer["url"].endswith("&fileName=app%20def.json")
    assert (len(answer["fileId"]), int(answer["fileId"], 16) >= 0) == (24, True)
    (kept,) = client.fake.files
    assert (kept.id, kept.size, kept.chunks, kept.context) == (answer["fileId"], 2, 0, "bulkImport")
    assert kept.sha256 == sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    ("content", "name", "texts", "status"),
    [
        (b"x", "a.exe", {"fileContext": "bulkImport"}, 415),
        (b"x", "a.json", {}, 400),
        (b"x" * (LIMIT + 1), "a.json", {"fileContext": "bulkImport"}, 413),
        (b"x" * LIMIT, "a.WAV", {"fileContext": "bulkImport"}, 200),
    ],
    ids=["kind", "context", "large", "limit"],
)
def test_small_files_are_limited(content: bytes, name: str, texts: Mapping[str, Any], status: int) -> None:
    """A file that is too large, of a wrong type, or without context is refused."""
    client = fake_client(quirks=False)
    assert _send(client, _FILES, content, name, **texts).status == status
    assert len(client.fake.files) == (status == 200)


_START = {
    "fileContext": "bulkImport",
    "totalChunks": 3,
    "fileExtension": "tar",
    "fileName": "m.tar",
    "fileSize": 7,
}


def _begin(client: FakeClient, **changes: Any) -> dict[str, Any]:
    return read(client.account("POST", "/files/session/start", _START | changes))


def _chunk(client: FakeClient, upload_id: str, number: int | str, content: bytes, now: float = 0.0) -> Reply:
    return _send(client, f"{_FILES}/session/{upload_id}", content, "blob.tar", now, chunkNumber=str(number))


def _complete(client: FakeClient, upload_id: str, now: float = 0.0) -> Reply:
    return client.account("POST", f"/files/session/{upload_id}/complete", now=now)


def test_a_large_file_comes_in_chunks() -> None:
    """Chunks in order, of any sizes, make one file with its hash; their numbers are echoed in two ways."""
    client = fake_client()
    begun = _begin(client)
    assert begun == {"sessionId": begun["sessionId"], "expirationDate": "2026-01-05T15:00:00.000Z"}
    answers = [
        read(_chunk(client, begun["sessionId"], n, part)) for n, part in enumerate((b"abc", b"d", b"efg"))
    ]
    assert [int(each["chunkNumber"]) for each in answers] == [0, 1, 2]
    assert {type(each["chunkNumber"]) for each in answers} == {str, int}
    assert {each["sessionId"] for each in answers} == {begun["sessionId"]}
    assert set(read(_complete(client, begun["sessionId"]))) == {"url", "fileId"}
    (kept,) = client.fake.files
    assert (kept.name, kept.size, kept.chunks) == ("m.tar", 7, 3)
    assert kept.sha256 == sha256(b"abcdefg").hexdigest()
    assert (client.count("chunked_uploads"), client.count("chunks"), client.count("chunks_again")) == (
        1,
        3,
        0,
    )
    assert _complete(client, begun["sessionId"]).status == 404


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in _START),
        {"totalChunks": 0},
        {"totalChunks": "3"},
        {"totalChunks": 8},
        {"totalChunks": True},
        {"fileSize": 7.5},
        {"fileSize": -1},
        {"isAdapter": "true"},
    ],
)
def test_starts_of_uploads_are_read_strictly(changes: Mapping[str, Any]) -> None:
    """All five members are needed, numbers are positive integers, there are at most as many chunks as bytes."""
    client = fake_client()
    assert client.account("POST", "/files/session/start", {**_START, **changes}).status == 400
    assert client.account("POST", "/files/session/start", {**_START, "fileExtension": "exe"}).status == 415
    assert client.count("chunked_uploads") == 0


@pytest.mark.parametrize("number", ["3", "-1", "x", "", "1.0"])
def test_chunks_have_numbers(number: str) -> None:
    """A chunk's number is an integer from 0 to below their total."""
    client = fake_client()
    assert _chunk(client, _begin(client)["sessionId"], number, b"abc").status == 400


def test_the_same_chunk_may_come_again() -> None:
    """A chunk that is sent twice counts once; with other content, or if the rules say so, it is refused."""
    client = fake_client(quirks=False)
    upload_id = _begin(client)["sessionId"]
    for content, status in ((b"abc", 200), (b"abc", 200), (b"xyz", 409)):
        assert _chunk(client, upload_id, 0, content).status == status
    assert (client.count("chunks"), client.count("chunks_again"), client.count("refused_409")) == (1, 1, 1)
    b = fake_client(quirks=False, chunk_again=False)
    upload_id = _begin(b)["sessionId"]
    assert [_chunk(b, upload_id, 0, b"abc").status for _ in range(2)] == [200, 409]


def test_chunks_come_in_order_unless_rules_allow_others() -> None:
    """A chunk out of order is refused; if rules allow it, the file has no hash."""
    client = fake_client(quirks=False)
    assert _chunk(client, _begin(client)["sessionId"], 1, b"d").status == 409
    b = fake_client(quirks=False, in_order=False)
    upload_id = _begin(b)["sessionId"]
    for number, content in ((1, b"d"), (0, b"abc"), (2, b"efg")):
        assert _chunk(b, upload_id, number, content).status == 200
    read(_complete(b, upload_id))
    assert [(kept.sha256, kept.size) for kept in b.fake.files] == [("", 7)]


@pytest.mark.parametrize(("rules", "status"), [({}, 400), ({"missing_chunk_status": 422}, 422)])
def test_missing_chunks_show_at_the_end(rules: Mapping[str, Any], status: int) -> None:
    """A completion that lacks chunks is refused; they can still be sent."""
    client = fake_client(**rules)
    upload_id = _begin(client)["sessionId"]
    _chunk(client, upload_id, 0, b"abc")
    _chunk(client, upload_id, 1, b"d")
    assert _complete(client, upload_id).status == status
    _chunk(client, upload_id, 2, b"efg")
    assert _complete(client, upload_id).is_success


def test_chunks_add_up_to_the_size() -> None:
    """A completion whose chunks do not add up to the declared size is refused; no chunk is too large."""
    client = fake_client()
    upload_id = _begin(client, totalChunks=1)["sessionId"]
    assert _chunk(client, upload_id, 0, b"x" * (LIMIT + 1)).status == 413
    _chunk(client, upload_id, 0, b"abc")
    assert _complete(client, upload_id).status == 400
    assert client.fake.files == []


@pytest.mark.parametrize(("rules", "status"), [({}, 410), ({"expired_status": 404}, 404)])
def test_uploads_expire(rules: Mapping[str, Any], status: int) -> None:
    """After its expiration date an upload accepts no chunk and no completion; an unknown one never does."""
    client = fake_client(upload_lasts=60.0, **rules)
    upload_id = _begin(client)["sessionId"]
    assert _chunk(client, upload_id, 0, b"abc", now=60.0).is_success
    assert _chunk(client, upload_id, 1, b"d", now=60.5).status == status
    assert _complete(client, upload_id, now=60.5).status == status
    assert [_chunk(client, "u-0", 0, b"abc").status, _complete(client, "u-0").status] == [404, 404]


def test_a_model_is_imported_by_its_upload() -> None:
    """For a model, the start returns its id, and the completion starts a dock job marked EXPORT."""
    client = fake_client(scripts={}, ended_at_start=0.0)
    begun = _begin(client, fileContext="model", totalChunks=1)
    assert begun["modelId"].startswith("cm-")
    _chunk(client, begun["sessionId"], 0, b"abcdefg")
    answer = read(_complete(client, begun["sessionId"], now=2.0))
    assert (answer["modelId"], answer["action"]) == (begun["modelId"], "EXPORT")
    assert "fileId" not in answer
    assert (client.count("starts"), client.count("dock_jobs")) == (1, 1)
    assert [kept.context for kept in client.fake.files] == ["model"]
