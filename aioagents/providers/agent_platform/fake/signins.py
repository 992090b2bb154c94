"""Sign-ins that are pending at other companies, without which a user's tools do not work. Pure."""

from collections.abc import Mapping
from typing import Any

from .desk import Desk


class SignIns:
    """Who has still to sign in where."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._done: dict[str, dict[str, bool]] = {
            user: dict.fromkeys(desk.rules.sign_in_at, False) for user in sorted(desk.rules.signins)
        }

    def authorize(self, user: str, provider: str | None) -> None:
        """Let a user have signed in at one provider, or at all. Raises KeyError for who never had to."""
        done = self._done[user]
        for name in done if provider is None else [provider]:
            done[name] = True

    def event(self, user: str) -> Mapping[str, Any] | None:
        """Return the event that asks a user to sign in; None where nothing is pending."""
        done = self._done.get(user, {})
        if all(done.values()):
            return None
        self._desk.counts["signins_asked"] += 1
        profiles = [
            {
                "url": f"https://idp.example/r/{self._desk.new_hex(12)}",
                "idpName": name,
                "isAuthorized": is_done,
                "sso_type": "oauth2",
            }
            for name, is_done in done.items()
        ]
        return {"type": "IDP_Redirect", "content": {"auth_profiles": profiles}}
