# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authenticators that let in whom the roster lists, and whom it lists now."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from http import HTTPStatus
from typing import Any

import jwt
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import normalize
from jupyterhub.auth import Authenticator, DummyAuthenticator
from oauthenticator.azuread import AzureAdOAuthenticator
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.github import GitHubOAuthenticator
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import Bool

from . import inventory_api, sessions
from .files import Unusable, read_state, write_state
from .people import Roster, read_roster, same_identity

# Of people who are not in the roster: name: the identity that had it first, and when GitHub last called it a member, 0
# for who has left. Versions before had the identity alone, or the time of the last log-in.
IDENTITIES = "identities.json"
ASK_SECONDS = 300  # GitHub counts an hour's requests
GUEST_SECONDS = 24 * 3600  # as long counts what GitHub said last, while it does not answer
NO_NAME = (
    "The identity provider does not say who you are: {claim} is missing or is no text. Please tell the administrator."
)
UNUSABLE = (
    "The identity provider's answer cannot be used. Please try again, and tell the administrator if that does not help."
)


class RosterMixin(Authenticator):  # type: ignore[misc]
    normalized = Bool(False, config=True, help="Shorten and simplify names, as the plan does")

    def normalize_username(self, username: str) -> str:
        username = unicodedata.normalize("NFC", username)  # as the plan has names
        return normalize(username) if self.normalized else super().normalize_username(username)

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        return [*inventory_api.HANDLERS, *super().get_handlers(app)]

    def roster(self) -> Roster:
        try:
            return read_roster()
        except Unusable as error:
            self.log.error("%s", error)
            raise web.HTTPError(503, "The list of users cannot be read. Please tell the administrator.") from error

    def is_guest(self, name: str) -> bool:
        """Whether somebody who is not in the roster may go on using the hub."""
        return False

    def check_blocked_users(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        return username not in self.roster().blocked

    def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> Any:
        return self.roster().lists(username)

    def is_admin(self, handler: Any, authentication: dict[str, Any]) -> bool:
        return self.roster().admin(authentication["name"])

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        """Sessions and tokens end, and admins come and go, with the roster."""
        roster = self.roster()
        if not roster.lists(user.name) and (user.name in roster.blocked or not self.is_guest(user.name)):
            self.log.warning("%s is not in the roster any more", user.name)
            return False
        admin = roster.admin(user.name)
        return True if admin == bool(user.admin) else {"name": user.name, "admin": admin}


class IdentityMixin(RosterMixin):
    """For providers that say who somebody is: two identities never share a name of the hub."""

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        try:
            model = await super().authenticate(handler, data, **kwargs)
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError, HTTPClientError) as error:
            self.log.error("the identity provider's answer cannot be used: %r", error)
            raise web.HTTPError(502, UNUSABLE) from error
        if model:
            model["identity"] = self.user_info_to_username(model["auth_state"][self.user_auth_state_key])
        return model

    def user_info_to_username(self, user_info: Any) -> str:
        name = user_info.get(self.username_claim)
        if not isinstance(name, str) or not name.strip():
            self.log.error("the identity provider's %s is %s", self.username_claim, type(name).__name__)
            raise web.HTTPError(403, NO_NAME.format(claim=self.username_claim))
        return name

    # JupyterHub awaits what is awaitable.
    # pylint: disable-next=invalid-overridden-method
    async def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        if authentication is None:  # JupyterHub asks about names from its configuration, at its start
            return True
        identity: str = authentication["identity"]
        roster = self.roster()
        if roster.lists(username):
            self._refuse_another(username, identity, roster.users[username]["identity"])
            return True
        if not await self.allow_guest(username, authentication):
            return False
        known = read_state(IDENTITIES)
        first = known.get(username, identity)
        first = first if isinstance(first, str) else str(first["identity"])
        self._refuse_another(username, identity, first)
        write_state(IDENTITIES, {**known, username: {"identity": first, "member_at": time.time()}})
        return True

    async def allow_guest(self, username: str, authentication: dict[str, Any]) -> bool:
        return False

    def _refuse_another(self, username: str, identity: str, known: str) -> None:
        if not same_identity(identity, known):
            self.log.error("%r is refused: %s is the name of %r here", identity, username, known)
            raise web.HTTPError(
                403,
                f"Your name here would be {username}, but that is somebody else's. Please tell the administrator.",
            )


class CarrelGitHubAuthenticator(IdentityMixin, GitHubOAuthenticator):  # type: ignore[misc]
    """Members of the organizations are guests, for as long as GitHub says so."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked: dict[str, float] = {}

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Of what GitHub says, only what asks it again is kept, and only of guests."""
        model = await super().authenticate(handler, data, **kwargs)
        if model:
            listed = self.roster().lists(self.normalize_username(model["name"]))
            model["auth_state"] = None if listed else {"token_response": model["auth_state"]["token_response"]}
        return model

    async def allow_guest(self, username: str, authentication: dict[str, Any]) -> bool:
        return bool(await GitHubOAuthenticator.check_allowed(self, username, authentication))

    def is_guest(self, name: str) -> bool:
        return bool(self.allowed_organizations) and _member_at(name) > 0

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        answer = await super().refresh_user(user, handler)
        if not answer or self.roster().lists(user.name):
            return answer
        return await self._is_still_member(user)

    async def _is_still_member(self, user: Any) -> bool:
        now, member_at = time.time(), _member_at(user.name)
        remembered = now - member_at < GUEST_SECONDS
        if now - max(member_at, self.asked.get(user.name, 0)) < ASK_SECONDS:
            return remembered
        self.asked[user.name] = now  # before it answers: others' requests do not wait
        state = await user.get_auth_state()
        if not state:  # of a version before
            return remembered
        try:
            member = await self.allow_guest(user.name, {"admin": False, "auth_state": state})
            if not member:  # GitHub out of order looks like a no, too
                await self.token_to_user(state["token_response"])
        except (OSError, HTTPClientError) as error:
            if getattr(error, "code", None) != HTTPStatus.UNAUTHORIZED:
                self.log.warning("GitHub does not say whether %s is a member: %s", user.name, error)
                return remembered
            member = False
        known = read_state(IDENTITIES)
        write_state(IDENTITIES, {**known, user.name: {**known[user.name], "member_at": now if member else 0}})
        if not member:
            self.log.warning("%s is no member of the organizations any more", user.name)
            sessions.end(user.db, user.name)
        return member


def _member_at(name: str) -> float:
    known = read_state(IDENTITIES).get(name)
    return float(known.get("member_at", 0)) if isinstance(known, dict) else 0


class CarrelAzureAdAuthenticator(IdentityMixin, AzureAdOAuthenticator):  # type: ignore[misc]
    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """The claims of the token, verified; oauthenticator reads them without looking at the signature."""
        tenant = f"{self.graph_url}/{self.tenant_id}"
        keys = jwt.PyJWKClient(f"{tenant}/discovery/v2.0/keys", timeout=10)
        token = token_info["id_token"]
        try:
            key = await asyncio.to_thread(keys.get_signing_key_from_jwt, token)
            return jwt.decode(token, key, algorithms=["RS256"], audience=self.client_id, issuer=f"{tenant}/v2.0")
        except jwt.PyJWTError as error:
            self.log.error("the identity provider's token is refused: %s", error)
            raise web.HTTPError(403, "The identity provider's answer could not be verified.") from error


class CarrelOidcAuthenticator(IdentityMixin, GenericOAuthenticator):  # type: ignore[misc]
    pass


class CarrelDummyAuthenticator(RosterMixin, DummyAuthenticator):  # type: ignore[misc]
    pass
