"""Sign-ins at identity providers that users have not finished, without which their tools do not work. Pure."""

from collections.abc import Mapping
from typing import Any

from .state import ServerState


class SignIns:
    """The providers at which each user has or has not signed in."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._done: dict[str, dict[str, bool]] = {
            user: dict.fromkeys(server.rules.sign_in_providers, False)
            for user in sorted(server.rules.signins)
        }

    def authorize(self, user: str, provider: str | None) -> None:
        """Record that a user has signed in at one provider, or at all. Raises KeyError for users who never had to."""
        done = self._done[user]
        for name in done if provider is None else [provider]:
            done[name] = True

    def event(self, user: str) -> Mapping[str, Any] | None:
        """Return the event that asks a user to sign in; None if nothing is pending."""
        done = self._done.get(user, {})
        if all(done.values()):
            return None
        self._server.counts["signins_asked"] += 1
        profiles = [
            {
                "url": f"https://idp.example/r/{self._server.new_hex(12)}",
                "idpName": name,
                "isAuthorized": is_done,
                "sso_type": "oauth2",
            }
            for name, is_done in done.items()
        ]
        return {"type": "IDP_Redirect", "content": {"auth_profiles": profiles}}
