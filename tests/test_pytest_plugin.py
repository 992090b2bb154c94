"""The pytest plugin in a user's test suite."""

import sys

import pytest

_ALONE = ("-p", "no:asyncio", "-p", "no:cacheprovider")
_CONFTEST = 'pytest_plugins = ["aioagents.pytest_plugin"]\n'
_TESTS = """
import os
import urllib.error
import urllib.request

import pytest


def _status(url):
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url + "/api/v1/external/aop/items/000000000000000000000000/status") as reply:
            return reply.status
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def test_serves(aioagents_simulator):
    assert _status(aioagents_simulator.url) == 401
    assert aioagents_simulator.statistics().requests == 1
    assert aioagents_simulator.speed == 60
    assert "LEENA_AOP_URL" not in os.environ


def test_is_new_for_each_test(aioagents_simulator):
    assert aioagents_simulator.statistics().requests == 0


def test_points_environment(aioagents_environment, aioagents_simulator):
    assert os.environ["LEENA_AOP_URL"] == aioagents_environment["LEENA_AOP_URL"] == aioagents_simulator.url


def test_environment_is_restored():
    assert "LEENA_AOP_URL" not in os.environ


@pytest.mark.parametrize("aioagents_simulator_options", [{"speed": 600, "seed": 7}])
def test_options(aioagents_simulator):
    assert aioagents_simulator.speed == 600
"""
_LAZY = """
import sys


def test_plugin_alone_imports_little(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("aioagents")
    assert not [name for name in sys.modules if name.startswith("aioagents.simulator")]
"""


def test_fixtures_serve_sync_tests(pytester: pytest.Pytester) -> None:
    """Each test has a simulator of its own, with options that it may set; the environment is restored."""
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile(_TESTS)
    done = pytester.runpytest_inprocess(*_ALONE, "-p", "no:aioagents", "-W", "error")
    done.assert_outcomes(passed=5)


def test_nothing_is_imported_before_it_is_needed(pytester: pytest.Pytester) -> None:
    """A test suite that has the package installed and uses no fixture does not import the simulator."""
    pytester.makepyfile(_LAZY)
    done = pytester.run(sys.executable, "-m", "pytest", *_ALONE)
    done.assert_outcomes(passed=1)
