"""What holds for every vendor's refusals: their reason is read wherever it stands, and others' pages are known."""

import pickle
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import ReplyError, SessionPool
from aioagents.calls import ReadRefusal, Refusal
from aioagents.codec import encode_json
from aioagents.contract.fake import RunPlan
from aioagents.errors import error_class
from aioagents.model import Reply
from aioagents.providers import all_providers
from tests.conformance.adapter import Adapter
from tests.conformance.adapters import ADAPTERS
from tests.fakes import FakeClock, FakeSend
from tests.polling.rig import begin

_FOREIGN = [
    *(b"", b"null", b"[]", b"{}", b"0", b'"no"', b"not found", b"default backend - 404", b"\xff\xfe\x00"),
    *(b"<html><body>503 Service Unavailable</body></html>", b'{"error": ', b'["no"]', b'{"status": 404}'),
]
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "message", "msg", "code", "diagnostic", "meta", "requestId", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=9,
)


@pytest.fixture(params=sorted(all_providers()))
def vendor(request: pytest.FixtureRequest) -> Adapter:
    """Return each vendor in turn."""
    return ADAPTERS[request.param]


def _reader(name: str) -> ReadRefusal:
    reader: ReadRefusal = import_module(f"aioagents.providers.{name.replace('-', '_')}.refusals").read_refusal
    return reader


_READERS = {name: _reader(name) for name in all_providers()}


async def _refused(vendor: Adapter, call: str, status: int, body: bytes) -> ReplyError:
    clock = FakeClock()
    fake = vendor.fake(RunPlan(outcomes={"completed": 1.0}))
    send = FakeSend(fake, clock=clock)
    send.before = lambda request: Reply(status, {}, body) if request.call == call else None
    async with SessionPool(clock=clock, send=send) as pool:
        client = vendor.client(all_providers()[vendor.name].client, pool, fake)
        is_start = call == vendor.start_call

        async def ask() -> object:
            if is_start:
                return await vendor.start(client, "target")
            return await vendor.follow(client, "a1").poll()

        refused = await begin(ask())
        await clock.advance(600)  # pages of others are asked for again
        with pytest.raises(ReplyError) as caught:
            await refused
    return caught.value


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_vendors_own_refusals(vendor: Adapter, status: int) -> None:
    """Text and code of each form of the vendor's are in the error, and not in its message."""
    for body, detail, code in vendor.refusals:
        error = await _refused(vendor, vendor.start_call, status, body)
        assert type(error) is error_class(status)
        assert (error.detail, error.code, error.is_foreign) == (detail, code, False)
        assert detail not in str(error)
        assert vars(pickle.loads(pickle.dumps(error))) == vars(error)  # noqa: S301 - our own


@pytest.mark.parametrize("body", _FOREIGN)
async def test_pages_of_others(vendor: Adapter, body: bytes) -> None:
    """A body that is in no form of the vendor's is marked as foreign; its text is kept all the same."""
    error = await _refused(vendor, vendor.start_call, 403, body)
    assert error.is_foreign
    assert error.code == ""
    assert error.detail == (
        "no" if body == b'"no"' else "" if body in (b"{}", b'{"status": 404}') else _text(body)
    )


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace").strip()


async def test_refused_polls(vendor: Adapter) -> None:
    """Refusals of polls are read in the same way."""
    if vendor.poll_call != "task-runs.get":  # which is the second request of a poll, after a delegation
        body, detail, code = vendor.refusals[0]
        error = await _refused(vendor, vendor.poll_call, 404, body)
        assert (error.detail, error.code, error.is_foreign) == (detail, code, False)
        assert (await _refused(vendor, vendor.poll_call, 404, b"<html>")).is_foreign


async def test_long_texts(vendor: Adapter) -> None:
    """Of a long text the first 500 characters are kept."""
    body, detail, _ = vendor.refusals[0]
    long = body.replace(detail.encode(), detail.encode() + b"x" * 5000)
    error = await _refused(vendor, vendor.start_call, 400, long)
    assert error.detail == (detail + "x" * 500)[:500]
    assert not error.is_foreign


@pytest.mark.parametrize("name", sorted(all_providers()))
@given(body=st.binary(max_size=60) | _JSON.map(encode_json), status=st.sampled_from([400, 401, 409, 500]))
def test_no_body_breaks_the_reading(name: str, body: bytes, status: int) -> None:
    """Whatever a server sends, it is read as the vendor's refusal or as no such thing, by texts alone."""
    found = _READERS[name](Reply(status, {}, body))
    if found is not None:
        assert isinstance(found, Refusal)
        assert isinstance(found.detail, str)
        assert isinstance(found.code, str)
        assert isinstance(found.request_id, str | None)
        assert found.detail or found.code or name == "agh"
