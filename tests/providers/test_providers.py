"""The vendors, as programs that know none by name find them."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

import aioagents
from aioagents import Leena, RunState
from aioagents.contract import RunClient
from aioagents.providers import all_providers, find_parts, find_provider
from aioagents.simulator.server import find_fakes
from tests.conformance.adapters import ADAPTERS
from tests.polling.rig import rig

#: The folder of a vendor that there is not: its files, and a program that adds it and uses it by its name alone.
_FOLDER: Final = {
    "__init__.py": """
from aioagents.contract import Provider, RunClient
__all__ = ["PROVIDER", "ACME_URL", "AcmeCloud", "AcmeCloudKey", "Other"]
ACME_URL = "https://acme.example.com"
class AcmeCloud(RunClient):
    vendor = "acme-cloud"
class AcmeCloudKey: pass
class Other: pass
PROVIDER = Provider(name="acme-cloud", title="Acme", client=AcmeCloud, variables={"ACME_KEY": "the key"})
""",
    "cli.py": """
import click
@click.command("acme-cloud")
def RUN():
    click.echo("a run at Acme")
def endpoints(environ=None):
    return {"api": "https://acme.example.com"}
""",
}
_PROGRAM: Final = """
import sys
import aioagents
from aioagents import providers
providers.__path__.append(sys.argv[1])
from aioagents import AcmeCloud, AcmeCloudKey, Leena
assert providers.find_provider("acme-cloud").client is AcmeCloud
assert not [name for name in sys.modules if name.startswith(("aioagents.providers.agh", "click"))]
assert {"AcmeCloud", "AcmeCloudKey", "Leena"} <= set(aioagents.__all__) & set(dir(aioagents))
assert not {"ACME_URL", "Other"} & set(dir(aioagents))
assert {"acme-cloud", "leena"} <= set(providers.all_providers())
from aioagents.cli import main
from aioagents.cli.discover import find_endpoints
assert find_endpoints("acme-cloud")(None) == {"api": "https://acme.example.com"}
sys.exit(main(["run", "acme-cloud"]))
"""


def test_all_vendors_are_found_by_their_folders() -> None:
    """Each vendor shows its name, title, client and variables, which begin as it is called, in the order of names."""
    providers = all_providers()
    assert list(providers) == sorted(providers)
    assert providers["leena"].client is Leena
    for name, provider in providers.items():
        assert provider.name == name == provider.client.vendor
        assert provider.title
        assert issubclass(provider.client, RunClient)
        assert all(each.startswith(f"{name.upper().replace('-', '_')}_") for each in provider.variables)
        assert all(meaning and not meaning.endswith(".") for meaning in provider.variables.values())
        assert provider.client.__doc__


def test_new_vendor_is_one_new_folder(tmp_path: Path) -> None:
    """Once its folder is there, a vendor has its names at the top and its commands; none but it is imported."""
    folder = tmp_path / "acme_cloud"
    folder.mkdir()
    for name, text in _FOLDER.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-W", "error", "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a run at Acme\n", "")


@pytest.mark.parametrize("name", ["Nobody", "Leenas", "leena_client", "__wrapped__", "BASE_URL"])
def test_unknown_names_at_the_top(name: str) -> None:
    """What neither the package nor a vendor has at the top raises AttributeError that names it."""
    with pytest.raises(AttributeError, match=f"'aioagents' has no attribute '{name}'"):
        getattr(aioagents, name)


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
def test_each_status_word_has_a_sample(name: str) -> None:
    """Each word in the tables of a vendor's `states` stands in one of its replies that are kept as files."""
    tables = [each for each in vars(find_parts("states")[name]).values() if isinstance(each, Mapping)]
    words = {word for table in tables for word, state in table.items() if isinstance(state, RunState)}
    assert words
    folder = Path(__file__).parents[1] / "samples" / name.replace("-", "_")
    samples = "".join(path.read_text() for path in folder.rglob("*.json"))
    assert [word for word in sorted(words) if f'"{word}"' not in samples] == []


@pytest.mark.parametrize("name", sorted(all_providers()))
async def test_missing_settings_are_named(name: str) -> None:
    """Without any variable set, the error names at least one of the vendor's own, unless it can do without any."""
    provider = find_provider(name)
    async with rig() as r:
        if not ADAPTERS[name].needs_settings:
            assert isinstance(provider.client.from_env(r.pool, {}), provider.client)
            return
        with pytest.raises(ValueError, match="|".join(provider.variables)):
            provider.client.from_env(r.pool, {})
        assert r.send.sent == []
