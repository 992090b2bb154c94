"""What holds for every vendor's endpoints: references name them, and no other client takes them."""

from typing import TYPE_CHECKING

import pytest

from aioagents import BadReference, RunRef, SessionPool
from aioagents.connect import Clients
from aioagents.contract import RunClient
from aioagents.contract.fake import RunPlan
from aioagents.providers import all_providers
from tests.conformance.adapter import URL, Adapter
from tests.conformance.adapters import ADAPTERS
from tests.fakes import FakeClock, FakeSend

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(params=sorted(all_providers()))
def vendor(request: pytest.FixtureRequest) -> Adapter:
    """Return each vendor in turn."""
    return ADAPTERS[request.param]


def _kind(vendor: Adapter) -> type[RunClient]:
    return all_providers()[vendor.name].client


def _environ(vendor: Adapter, url: str = URL, name: str = "") -> dict[str, str]:
    found = vendor.fake(RunPlan()).environment(url)
    return {f"{key}__{name}" if name else key: value for key, value in found.items()}


def _client(vendor: Adapter, pool: SessionPool, url: str = URL, name: str = "") -> RunClient:
    return _kind(vendor).from_env(pool, _environ(vendor, url, name), name=name)


async def test_references_name_the_endpoint(vendor: Adapter) -> None:
    """A run's reference names host and port, and name, base path if there are any."""
    async with SessionPool() as pool:
        for url, name, begin in (
            ("http://127.0.0.1", "", "127.0.0.1"),
            ("http://127.0.0.1:81", "", "127.0.0.1:81"),
            ("https://x.example/base", "billing", "billing@x.example%2Fbase"),
        ):
            ref = vendor.follow(_client(vendor, pool, url, name), "a1").ref
            assert str(ref).startswith(f"{vendor.name}:{begin}")
            assert RunRef.parse(str(ref)) == ref


async def test_references_of_other_endpoints_are_refused(vendor: Adapter) -> None:
    """A client takes no reference of another host, port, base path or name, and says which endpoint it has."""
    clock = FakeClock()
    send = FakeSend(vendor.fake(RunPlan()), clock=clock)
    async with SessionPool(clock=clock, send=send) as pool:
        places = [
            *((URL, ""), (URL, "billing"), (URL, "billing.2"), ("http://127.0.0.1:81", "")),
            *(("https://x.example", ""), ("https://x.example/base", "")),
        ]
        clients = [_client(vendor, pool, url, name) for url, name in places]
        refs = [vendor.follow(client, "a1").ref for client in clients]
        assert len(set(refs)) == len(refs)
        for client in clients:
            own = vendor.follow(client, "a1").ref
            for ref in refs:
                if ref == own:
                    assert client.attach(ref).ref == client.attach(str(ref)).ref == own
                    continue
                with pytest.raises(BadReference, match=r"is not a run of") as caught:
                    client.attach(ref)
                assert str(own).partition("/")[0].partition(";")[0] in str(caught.value)
                assert not any(secret in str(caught.value) for secret in vendor.secrets)
        assert send.sent == []


async def test_reference_without_endpoint(vendor: Adapter) -> None:
    """A reference with an empty scope is refused, and the error has the whole form."""
    async with SessionPool() as pool:
        with pytest.raises(BadReference, match=rf"the form is {vendor.name}:127\.0\.0\.1.*/a1$"):
            _client(vendor, pool).attach(f"{vendor.name}:/a1")


async def test_plain_settings_are_not_those_of_a_name(vendor: Adapter) -> None:
    """A named endpoint without settings raises, and names its own variables, although the plain ones are set."""
    async with SessionPool() as pool:
        environ = _environ(vendor)
        with pytest.raises(ValueError, match=r"not set in the environment: \w+__billing") as caught:
            _kind(vendor).from_env(pool, environ, name="billing")
        assert not any(value in str(caught.value) for value in environ.values() if value)
        with pytest.raises(ValueError, match="an endpoint's name"):
            _kind(vendor).from_env(pool, environ, name="a@b")


async def test_line_breaks_after_settings_are_dropped(vendor: Adapter) -> None:
    """Settings from files, which end in a line break, are as good as others."""
    async with SessionPool() as pool:
        environ = {key: f"{value}\n" for key, value in _environ(vendor).items()}
        client = _kind(vendor).from_env(pool, environ)
        assert vendor.follow(client, "a1").ref == vendor.follow(_client(vendor, pool), "a1").ref


async def test_clients_by_reference(vendor: Adapter) -> None:
    """A reference leads to the client of its own endpoint, which is made from the settings of its name."""
    async with SessionPool() as pool:
        environ: Mapping[str, str] = {
            **_environ(vendor),
            **_environ(vendor, "http://127.0.0.1:81", "billing"),
        }
        clients = Clients(pool, environ)
        for name in ("", "billing"):
            own = clients.named(vendor.name, name)
            assert clients.named(vendor.name, name) is own
            ref = vendor.follow(own, "a1").ref
            assert clients.attach(str(ref)).ref == ref
        with pytest.raises(BadReference, match="is not a run of"):
            clients.attach(str(vendor.follow(own, "a1").ref).replace(":81", ":82"))
        with pytest.raises(ValueError, match="__other"):
            clients.attach(str(vendor.follow(own, "a1").ref).replace("billing@", "other@"))
        assert repr(clients) == f"<Clients of {vendor.name}, {vendor.name}:billing>"


async def test_accounts_are_shared_by_credentials(vendor: Adapter) -> None:
    """Two names with the same host and credentials share limits and tokens; names are of references alone."""
    async with SessionPool() as pool:
        _client(vendor, pool), _client(vendor, pool, name="billing")
        assert len(pool.statistics().accounts) == len({*pool.statistics().accounts})
        count = len(pool.statistics().accounts)
        _client(vendor, pool, name="other")
        assert len(pool.statistics().accounts) == count
