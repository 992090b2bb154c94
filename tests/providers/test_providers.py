"""The vendors, as programs that know none by name find them."""

import pytest

from aioagents import Leena
from aioagents.contract import RunClient
from aioagents.providers import all_providers, find_provider
from aioagents.simulator.server import find_fakes
from tests.polling.rig import rig

#: Vendors that run on one's own machine, and ask for no credentials.
_NEEDS_NO_SETTINGS = {"agh"}


def test_all_vendors_are_found_by_their_folders() -> None:
    """Each vendor shows its name, title, client and variables; the order is that of the names."""
    providers = all_providers()
    assert list(providers) == sorted(providers)
    assert providers["leena"].client is Leena
    for name, provider in providers.items():
        assert provider.name == name == provider.client.vendor
        assert provider.title
        assert issubclass(provider.client, RunClient)
        assert all(meaning and not meaning.endswith(".") for meaning in provider.variables.values())
        assert provider.client.__doc__


def test_vendor_by_name() -> None:
    """A vendor is found by the name in its references; for others the error lists the known ones."""
    assert find_provider("leena").client is Leena
    with pytest.raises(ValueError, match=r"no vendor is called 'nobody'; there are: .*leena"):
        find_provider("nobody")


def test_every_vendor_has_a_fake() -> None:
    """The simulator serves a fake server for each vendor, whose variables are those the client reads."""
    from aioagents.contract.fake import RunPlan  # noqa: PLC0415

    fakes = {fake.vendor: fake for fake in find_fakes(RunPlan())}
    assert set(fakes) == set(all_providers())
    for name, provider in all_providers().items():
        given = fakes[name].environment("http://127.0.0.1:1")
        assert set(given) <= set(provider.variables)
        assert set(fakes[name].statistics()) >= {"token_requests", "starts", "polls"}


@pytest.mark.parametrize("name", sorted(all_providers()))
async def test_missing_settings_are_named(name: str) -> None:
    """Without any variable set, the error names at least one of the vendor's own, unless it can do without any."""
    provider = find_provider(name)
    async with rig() as r:
        if name in _NEEDS_NO_SETTINGS:
            assert isinstance(provider.client.from_env(r.pool, {}), provider.client)
            return
        with pytest.raises(ValueError, match="|".join(provider.variables)):
            provider.client.from_env(r.pool, {})
        assert r.send.sent == []
