"""Leena AI: credentials, regions and hosts."""

from collections.abc import Mapping
from typing import Any, Final, Self

from attrs import Attribute, field, frozen

from ...auth import read_settings
from ...contract import account_name, address_of, check_base_url, check_host_label
from ...model import Secret

VENDOR: Final = "leena"

VARIABLES: Final[Mapping[str, str]] = {
    "LEENA_REGION": "region code, like us-east-1; unset for the unprefixed primary region",
    "LEENA_CLIENT_ID": "client id, issued by the vendor",
    "LEENA_CLIENT_SECRET": "client secret",
    "LEENA_USERNAME": "user name",
    "LEENA_PASSWORD": "password",
    "LEENA_TOKEN_URL": "base URL of the token endpoint, in place of the region's",
    "LEENA_AOP_URL": "base URL of the AOP API, in place of the region's",
    "LEENA_REPORT_URL": "base URL of the report API, in place of the region's",
}
_REQUIRED: Final = ("LEENA_CLIENT_ID", "LEENA_CLIENT_SECRET", "LEENA_USERNAME", "LEENA_PASSWORD")
_URLS: Final = ("LEENA_TOKEN_URL", "LEENA_AOP_URL", "LEENA_REPORT_URL")

# The primary region's hosts have no prefix: documented for the token host, in a table of the vendor's audit-log page;
# inferred for the two other surfaces.
_PRIMARY: Final = "ap-south-1"
_SURFACES: Final = {"token": "acl", "aop": "aic", "report": "analytics-api"}


def _secret(value: "str | Secret") -> Secret:
    return Secret.of(value)


def _filled(_: object, attribute: "Attribute[Any]", value: "str | Secret") -> None:
    if not value:
        raise ValueError(f"credentials: {attribute.name} is empty")


@frozen(kw_only=True)
class LeenaCredentials:
    """The four values the vendor issues for one OAuth app and its user. The secret ones are in no repr."""

    client_id: str = field(validator=_filled)
    client_secret: Secret = field(converter=_secret, validator=_filled)
    username: str = field(validator=_filled, repr=False)
    password: Secret = field(converter=_secret, validator=_filled)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Read the four `LEENA_*` variables, or those of the endpoint `name`.

        Raises ValueError that names the missing ones.
        """
        found = read_settings(_REQUIRED, environ=environ, name=name)
        return cls(
            client_id=found["LEENA_CLIENT_ID"],
            client_secret=found["LEENA_CLIENT_SECRET"],
            username=found["LEENA_USERNAME"],
            password=found["LEENA_PASSWORD"],
        )

    def name_at(self, token_url: str) -> str:
        """Return the name of the account that these credentials open at a token endpoint; it shows none of them."""
        return account_name("leena", token_url, self.client_id, self.username)


@frozen(kw_only=True)
class LeenaEndpoints:
    """Base URLs of the three surfaces; None stands for the region's.

    They have to be https, or http to a loopback host, unless `allow_insecure`.
    """

    token: str | None = None
    aop: str | None = None
    report: str | None = None
    allow_insecure: bool = False

    def __attrs_post_init__(self) -> None:
        for name in _SURFACES:
            url = getattr(self, name)
            if url is not None:
                checked = check_base_url(url, f"endpoints.{name}", allow_insecure=self.allow_insecure)
                object.__setattr__(self, name, checked)

    @classmethod
    def for_region(cls, region: str | None) -> Self:
        """Return the URLs of a region, None for the unprefixed primary one. Raises ValueError for an invalid code.

        Any code that can be part of a host name is accepted: the vendor publishes no closed list.
        """
        label = None if region is None else check_host_label(region, "region")
        prefix = "" if label is None or label == _PRIMARY else f"{label}-"
        token, aop, report = (f"https://{prefix}{host}.leena.ai" for host in _SURFACES.values())
        return cls(token=token, aop=aop, report=report)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Read the three `LEENA_*_URL` variables, or those of the endpoint `name`. None of them has to be set."""
        found = read_settings((), _URLS, environ, name=name)
        token, aop, report = map(found.get, _URLS)
        return cls(token=token, aop=aop, report=report)

    def completed(self, region: str | None) -> "LeenaEndpoints":
        """Return a copy in which the region's URLs replace what is None."""
        regional = LeenaEndpoints.for_region(region)
        return LeenaEndpoints(
            token=self.token or regional.token,
            aop=self.aop or regional.aop,
            report=self.report or regional.report,
            allow_insecure=self.allow_insecure,
        )

    def address(self, region: str | None) -> str:
        """Return what references name: the region; without one, the host of an AOP API that is the user's own."""
        if region is None and self.aop is not None and self.aop != self.for_region(None).aop:
            return address_of(self.aop)
        return (region or _PRIMARY).lower()


def region_from_env(environ: Mapping[str, str] | None = None, *, name: str = "") -> str | None:
    """Read `LEENA_REGION`, or that of the endpoint `name`; None when it is not set."""
    return read_settings((), ("LEENA_REGION",), environ, name=name).get("LEENA_REGION")
