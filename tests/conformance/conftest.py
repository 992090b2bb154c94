"""The vendors, each of which is put to the common tests."""

import pytest

from aioagents.providers import all_providers
from tests.conformance.adapter import Adapter
from tests.conformance.adapters import ADAPTERS


@pytest.fixture(params=sorted(all_providers()))
def vendor(request: pytest.FixtureRequest) -> Adapter:
    """Return each vendor in turn."""
    return ADAPTERS[request.param]
