"""Clients by vendor and handles by reference."""

from collections.abc import AsyncIterator, Mapping

import pytest

from aioagents import BadReference, Leap, Leena, RunRef, SessionPool
from aioagents.connect import Clients

ENVIRON: Mapping[str, str] = {
    "LEENA_REGION": "us-east-1",
    "LEENA_CLIENT_ID": "client",
    "LEENA_CLIENT_SECRET": "s",
    "LEENA_USERNAME": "u",
    "LEENA_PASSWORD": "p",
}


@pytest.fixture
async def pool() -> AsyncIterator[SessionPool]:
    """Return an open pool."""
    async with SessionPool() as pool:
        yield pool


async def test_one_client_for_each_vendor(pool: SessionPool) -> None:
    """A vendor's client is made from the environment once, and kept."""
    clients = Clients(pool, ENVIRON)
    assert isinstance(clients.named("leena"), Leena)
    assert clients.named("leena") is clients.named("leena")
    assert repr(clients) == "<Clients of leena>"


async def test_handles_by_reference(pool: SessionPool) -> None:
    """A run is followed by its reference, as a value or a text."""
    ref = RunRef("leena", "us-east-1", "0123")
    clients = Clients(pool, ENVIRON)
    assert clients.attach(ref).ref == clients.attach(str(ref)).ref == ref


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "the form is"),
        ("nobody:/1", "there are: .*leena"),
        ("leena:eu/1", "is not a run of"),
        ("leena:/1", "the form is leena:us-east-1/1"),
        ("leena:a b@us-east-1/1", "is not a run of leena:us-east-1"),
    ],
)
async def test_wrong_references(pool: SessionPool, text: str, said: str) -> None:
    """A reference that is malformed, of no vendor or of another scope raises BadReference that says so."""
    with pytest.raises(BadReference, match=said):
        Clients(pool, ENVIRON).attach(text)


async def test_missing_settings_are_named(pool: SessionPool) -> None:
    """Settings that are missing are named."""
    with pytest.raises(ValueError, match="LEENA_PASSWORD"):
        Clients(pool, {**ENVIRON, "LEENA_PASSWORD": ""}).named("leena")


async def test_script_of_a_named_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script's client is that of the environment's endpoint with this name, or made from the settings given."""
    monkeypatch.setenv("LEAP_API_KEY__billing", "k")
    async with Leap.connect(name="billing") as leap:
        assert str(leap.get("r").ref) == "leap:billing@api.workflows.tryleap.ai/r"
    async with Leap.connect(name="other", api_key="k") as leap:
        assert str(leap.get("r").ref) == "leap:other@api.workflows.tryleap.ai/r"
    with pytest.raises(ValueError, match="LEAP_API_KEY__other"):
        async with Leap.connect(name="other"):
            pass
