"""A secret is used but never shown."""

import copy
import pickle

import pytest
from rich.pretty import pretty_repr

from aioagents.codec import encode_json
from aioagents.model import Secret, SecretMapping


def test_is_never_shown() -> None:
    """No way of turning a secret into text shows it."""
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", "%s %r" % (secret, secret)]  # noqa: UP031
    shown += [repr({"a": [secret]}), repr(dir(secret))]
    assert not any("hunter2" in text for text in shown)
    assert secret.reveal() == "hunter2"
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_cannot_be_pickled(protocol: int) -> None:
    """A secret does not leave the process in a pickle, nor in JSON."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("hunter2"), protocol)
    with pytest.raises(TypeError):
        copy.deepcopy(Secret("hunter2"))
    with pytest.raises(TypeError) as caught:
        encode_json({"password": Secret("hunter2")})
    assert "hunter2" not in repr(caught.value)


def test_compares_by_value() -> None:
    """Secrets of one value are equal, and equal to nothing else."""
    assert Secret("a") == Secret.of(Secret("a")) == Secret.of("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"
    assert not Secret("")
    assert Secret("a")


def test_a_mapping_shows_names_alone() -> None:
    """It is read as any mapping is, and its values show nowhere."""
    headers = SecretMapping({"Authorization": "Bearer hunter2"})
    assert (dict(headers), {**headers}, list(headers), len(headers)) == (
        {"Authorization": "Bearer hunter2"},
        {"Authorization": "Bearer hunter2"},
        ["Authorization"],
        1,
    )
    assert list(headers.items()) == [("Authorization", "Bearer hunter2")]
    assert headers == {"Authorization": "Bearer hunter2"}
    assert f"{headers} {headers!r} {pretty_repr(headers)}" == " ".join(["SecretMapping(Authorization)"] * 3)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(headers)
