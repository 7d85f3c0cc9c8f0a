# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authenticators that admit the people in the current roster."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from http import HTTPStatus
from typing import Any

import jwt
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import username_problem
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import (
    normalize_below,
    prefix_of,
    same_identity,
)
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.auth import Authenticator, DummyAuthenticator
from jupyterhub.handlers.login import LoginHandler
from jupyterhub.utils import maybe_future
from oauthenticator.azuread import AzureAdOAuthenticator
from oauthenticator.cilogon import CILogonOAuthenticator
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.github import GitHubOAuthenticator
from oauthenticator.gitlab import GitLabOAuthenticator
from oauthenticator.google import GoogleOAuthenticator
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import Bool, List, Unicode, observe

from . import inventory_api, owners, provider_groups, sessions
from .brake import Brake, Visitors
from .files import Unusable, read_state, write_state
from .people import Roster, read_roster
from .threads import Threads

ASK_SECONDS = 300  # GitHub limits the requests of an hour
# For this long, the provider's last answer counts if nobody asks it again, or if it does not answer.
GUEST_SECONDS = provider_groups.REMEMBERED_SECONDS
FAILED_SECONDS = 1.0  # the minimum time for a wrong password, so that nobody learns which names exist
TOO_OFTEN = "Too many wrong passwords. Please wait a minute, then try again."
ELSEWHERE = "Nobody logs in here. Please log in at the hub's own page; programs need a token from there."
NO_NAME = (
    "The identity provider does not say who you are: {claim} is missing or is no text. Please tell the administrator."
)
UNVERIFIED = "{} has not verified your e-mail address. Please verify it there, then try again."
ANOTHERS = (
    "Your name here would be {name}, but names like that are of people who log in another way. "
    "Please tell the administrator."
)
ENDING = "Somebody else had the name {name}. The hub is still ending their sessions. Please try again in a minute."
UNUSABLE = (
    "The identity provider's answer cannot be used. Please try again, and tell the administrator if that does not help."
)


class RosterMixin(Authenticator):  # type: ignore[misc]
    normalized = Bool(False, config=True, help="Shorten and simplify names, as the plan does")
    prefix = Unicode(config=True, help="What names in the hub begin with")
    prefixes = List(Unicode(), config=True, help="Of several authenticators the prefixes of all, else none")

    def owns(self, name: str) -> bool:
        """Whether a name belongs to this authenticator. No two authenticators share a name."""
        return not self.prefixes or prefix_of(name, self.prefixes) == self.prefix

    def normalize_username(self, username: str) -> str:
        username = unicodedata.normalize("NFC", username)  # as in the plan
        return normalize_below(username, self.prefixes) if self.normalized else super().normalize_username(username)

    def validate_username(self, username: str) -> bool:
        """Refuse the names that the plan refuses, too: two of them can be one directory."""
        return username_problem(username) is None and bool(super().validate_username(username))

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        return [*inventory_api.HANDLERS, *super().get_handlers(app)]

    async def get_authenticated_user(self, handler: Any, data: Any) -> dict[str, Any] | None:
        """Refuse DATA that did not come through the class's own page.

        JupyterHub asks its authenticator also about what anybody sends to POST /login, and, without a log-in, to
        POST /api/users/NAME/tokens. Classes with a page of their own may take DATA for what that page has verified,
        and Apache's limit on wrong log-ins does not count requests to the API.
        """
        form = getattr(type(handler), "post", None) is LoginHandler.post
        if isinstance(handler, APIHandler) or (form and not handler.request.path.endswith(self.login_url(""))):
            raise web.HTTPError(403, ELSEWHERE)
        model: dict[str, Any] | None = await super().get_authenticated_user(handler, data)
        return model

    def roster(self) -> Roster:
        try:
            return read_roster()
        except Unusable as error:
            self.log.error("%s", error)
            raise web.HTTPError(503, "The list of users cannot be read. Please tell the administrator.") from error

    def is_guest(self, name: str) -> bool:
        """Whether a person who is not in the roster may keep using the hub."""
        return False

    def check_blocked_users(self, username: str, authentication: dict[str, Any] | None = None) -> Any:
        roster = self.roster()
        return username not in roster.blocked and roster.is_person(username)

    def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> Any:
        return self.roster().lists(username)

    def is_admin(self, handler: Any, authentication: dict[str, Any]) -> bool:
        return self.roster().admin(authentication["name"])

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        """Check whether the roster still has the user, and whether as an admin."""
        roster = self.roster()
        if not roster.lists(user.name) and (user.name in roster.blocked or not self.is_guest(user.name)):
            self.log.warning("%s is not in the roster any more", user.name)
            return False
        if owners.was_another(roster, user.name):
            self.log.warning("%s is somebody else in the roster now", user.name)
            return False
        admin = roster.admin(user.name)
        return True if admin == bool(user.admin) else {"name": user.name, "admin": admin}


class IdentityMixin(RosterMixin):
    """For identity providers. Two identities never share a name in the hub."""

    guests = Bool(False, config=True, help="Whether the provider's own rules let in people who are not in the roster")
    everybody = Bool(False, config=True, help="With guests: whoever the provider knows")
    provider = Unicode(config=True, help="Of several authenticators the name, with which its groups are written")
    user_domains = Bool(False, config=True, help="Whether pages of users can set cookies for the hub's name")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threads = Threads()
        self.visitors = Visitors()
        # By name and address, so that others' wrong tries lock nobody out. A whole class may share one address.
        self.wrong = Brake(10, 60)
        self.wrong_of_address = Brake(200, 60)

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        found = super().get_handlers(app)
        if not self.user_domains:
            return found
        return [each if each in inventory_api.HANDLERS else (each[0], guarded(each[1])) for each in found]

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        form = isinstance(data, dict) and "password" in data
        key = await self._take(handler, data) if form else None
        began = time.monotonic()
        try:
            model = await self._identified(await super().authenticate(handler, data, **kwargs))
        except web.HTTPError as error:
            if error.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
                self._give_back(key)
            raise
        except Exception as error:  # a class may raise anything about an unexpected answer
            self._give_back(key)
            raise self.unusable(error) from error
        if not model:
            await asyncio.sleep(max(0.0, began + FAILED_SECONDS - time.monotonic()) if form else 0)
            return None
        if key:
            self.wrong.forget(key)
            self.wrong_of_address.give_back(key[0])
        return model

    async def _identified(self, model: Any) -> dict[str, Any] | None:
        """Return the identity, without the class's own rules for admins and groups."""
        if not model:
            return None
        model = dict(model) if isinstance(model, dict) else {"name": model}
        identity = self.identity(model)
        # oauthenticator has shortened the name already, but without the prefix.
        name = normalize_below(identity, ()) if self.prefix and self.normalized else model["name"]
        known = {
            "name": self.prefix + name,
            "identity": self.prefix + identity,
            "provider_groups": await self.groups_of(model),
        }
        model.pop("groups", None)
        return {**model, "admin": None, **known}

    async def _take(self, handler: Any, data: dict[str, Any]) -> tuple[str, str]:
        address = await self.visitors.address(handler.request)
        key = address, self.normalize_username(str(data.get("username", "")))
        if not self.wrong.take(key) or not self.wrong_of_address.take(address):
            raise web.HTTPError(429, TOO_OFTEN)
        return key

    def _give_back(self, key: tuple[str, str] | None) -> None:
        if key:
            self.wrong.give_back(key)
            self.wrong_of_address.give_back(key[0])

    def unusable(self, error: Exception) -> web.HTTPError:
        self.log.error("the identity provider's answer cannot be used: %r", error)
        return web.HTTPError(502, UNUSABLE)

    def identity(self, model: dict[str, Any]) -> str:
        """Return the identity at the provider, from which the name in the hub is made."""
        return str(model["name"])

    async def groups_of(self, model: dict[str, Any]) -> list[str]:
        """Return a person's groups at the provider."""
        return []

    # This may be async, because JupyterHub awaits it.
    # pylint: disable-next=invalid-overridden-method
    async def check_blocked_users(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """Check the roster, and also the class's own rules, such as Google's hosted_domain."""
        if not super().check_blocked_users(username, authentication):
            return False
        if authentication is None:
            return True
        return bool(await maybe_future(super(RosterMixin, self).check_blocked_users(username, authentication)))

    # pylint: disable-next=invalid-overridden-method
    async def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        if authentication is None:  # when it starts, JupyterHub asks about names from its configuration
            return True
        if not self.owns(username):
            self.log.error(
                "%r is refused: names like %s are of another authenticator", authentication["identity"], username
            )
            raise web.HTTPError(403, ANOTHERS.format(name=username))
        identity: str = authentication["identity"]
        roster = self.roster()
        groups = authentication.get("provider_groups", [])
        if self.provider:  # other providers may have groups with the same names
            groups = [f"{self.provider}:{group}" for group in groups]
        if roster.lists(username):
            self._refuse_another(username, identity, roster.users[username]["identity"])
            if owners.was_another(roster, username):
                raise web.HTTPError(503, ENDING.format(name=username))
            provider_groups.remember(username, groups)
            return True
        if not await self.allow_guest(username, authentication):
            return False
        first = {**owners.guests(), **owners.listed()}.get(username, identity)
        self._refuse_another(username, identity, first)
        known = read_state(owners.IDENTITIES)
        write_state(owners.IDENTITIES, {**known, username: {"identity": first, "member_at": time.time()}})
        provider_groups.remember(username, groups)
        return True

    async def allow_guest(self, username: str, authentication: dict[str, Any]) -> bool:
        """Whether the provider's own rules admit somebody who is not in the roster."""
        if not self.guests:
            return False
        # Ask the provider's class. With `everybody` its answer does not matter, but it may raise.
        name = self.name_there(username, authentication["identity"])
        allowed = await maybe_future(super(RosterMixin, self).check_allowed(name, authentication))
        return self.everybody or bool(allowed)

    def name_there(self, username: str, identity: str) -> str:
        """Return the name for which the class may ask the provider: there, the hub's can be another person's."""
        return identity.removeprefix(self.prefix).lower() if self.prefix or self.normalized else username

    def is_guest(self, name: str) -> bool:
        return bool(self.guests) and time.time() - owners.member_at(name) < GUEST_SECONDS

    def _refuse_another(self, username: str, identity: str, known: str) -> None:
        if not same_identity(identity, known):
            self.log.error("%r is refused: %s is the name of %r here", identity, username, known)
            raise web.HTTPError(
                403,
                f"Your name here would be {username}, but that is somebody else's. Please tell the administrator.",
            )


def guarded(handler: Any) -> Any:
    """Protect a log-in's cookie from users' pages. They could set it, so that somebody logs in as another user."""

    class Guarded(handler):  # type: ignore[misc]
        def _set_cookie(self, key: str, *arguments: Any, **more: Any) -> Any:
            return super()._set_cookie(_protected(key), *arguments, **more)

        def get_secure_cookie(self, name: str, *arguments: Any, **more: Any) -> Any:
            return super().get_secure_cookie(_protected(name), *arguments, **more)

        def clear_cookie(self, cookie_name: str, **more: Any) -> Any:
            return super().clear_cookie(_protected(cookie_name), **more)

    return Guarded


def _protected(cookie: str) -> str:
    """Return another name for the state cookie of oauthenticator and ltiauthenticator."""
    return f"__Host-{cookie}" if cookie.endswith("authenticator-state") else cookie


class OAuthMixin(IdentityMixin):
    """For the classes of oauthenticator."""

    @observe("allowed_groups", "admin_groups", "auth_state_groups_key")
    def _requires_manage_groups(self, change: Any) -> None:
        """Allow these traits without manage_groups. With it, people would be only in the provider's groups."""
        if change.name != "auth_state_groups_key":
            super()._requires_manage_groups(change)

    def identity(self, model: dict[str, Any]) -> str:
        return str(self.user_info_to_username(model["auth_state"][self.user_auth_state_key]))

    async def groups_of(self, model: dict[str, Any]) -> list[str]:
        if not self.roster().provider_groups:
            return []
        found = await maybe_future(self.get_user_groups(model["auth_state"]))
        return [group for group in found if isinstance(group, str)]

    def user_info_to_username(self, user_info: Any) -> str:
        if isinstance(self.username_claim, str):
            self._as_name(user_info.get(self.username_claim))
        return self._as_name(super().user_info_to_username(user_info))

    def _as_name(self, name: Any) -> str:
        if not isinstance(name, str) or not name.strip():
            self.log.error("the identity provider's %s is %s", self.username_claim, type(name).__name__)
            raise web.HTTPError(403, NO_NAME.format(claim=self.username_claim))
        return name


class CarrelGitHubAuthenticator(OAuthMixin, GitHubOAuthenticator):  # type: ignore[misc]
    """Members of the organizations are guests, for as long as GitHub says so."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked: dict[str, float] = {}

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Keep from GitHub's answer only what is needed to ask again, and only for guests."""
        model = await super().authenticate(handler, data, **kwargs)
        if model:
            listed = self.roster().lists(self.normalize_username(model["name"]))
            model["auth_state"] = None if listed else {"token_response": model["auth_state"]["token_response"]}
        return model

    async def allow_guest(self, username: str, authentication: dict[str, Any]) -> bool:
        if not self.guests and not self.allowed_organizations:
            return False
        name = self.name_there(username, authentication["identity"])
        allowed = await GitHubOAuthenticator.check_allowed(self, name, authentication)
        return bool(allowed or (self.guests and self.everybody))

    def is_guest(self, name: str) -> bool:
        return bool(self.guests or self.allowed_organizations) and owners.member_at(name) > 0

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        answer = await super().refresh_user(user, handler)
        if not answer or self.roster().lists(user.name):
            return answer
        return await self._is_still_member(user)

    async def _is_still_member(self, user: Any) -> bool:
        now, member_at = time.time(), owners.member_at(user.name)
        remembered = now - member_at < GUEST_SECONDS
        if now - max(member_at, self.asked.get(user.name, 0)) < ASK_SECONDS:
            return remembered
        self.asked[user.name] = now  # before the answer, so that other requests do not wait
        state = await user.get_auth_state()
        if not state:  # from an older version
            return remembered
        try:
            identity = owners.guests().get(user.name, user.name)
            member = await self.allow_guest(user.name, {"identity": identity, "admin": False, "auth_state": state})
            if not member:  # GitHub's outage looks like a no, too
                await self.token_to_user(state["token_response"])
        except (OSError, HTTPClientError) as error:
            if getattr(error, "code", None) != HTTPStatus.UNAUTHORIZED:
                self.log.warning("GitHub does not say whether %s is a member: %s", user.name, error)
                return remembered
            member = False
        known = read_state(owners.IDENTITIES)
        write_state(owners.IDENTITIES, {**known, user.name: {**known[user.name], "member_at": now if member else 0}})
        if not member:
            self.log.warning("%s is no member of the organizations any more", user.name)
            sessions.end(user.db, user.name)
        return member


class CarrelGitLabAuthenticator(OAuthMixin, GitLabOAuthenticator):  # type: ignore[misc]
    pass


class CarrelGoogleAuthenticator(OAuthMixin, GoogleOAuthenticator):  # type: ignore[misc]
    async def check_blocked_users(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """Refuse unverified addresses: anybody can put another person's address into a Google account."""
        if authentication and not authentication["auth_state"][self.user_auth_state_key].get("verified_email"):
            raise web.HTTPError(403, UNVERIFIED.format("Google"))
        return await super().check_blocked_users(username, authentication)


class CarrelCILogonAuthenticator(OAuthMixin, CILogonOAuthenticator):  # type: ignore[misc]
    def user_info_to_username(self, user_info: Any) -> str:
        """Return the name. Its claim depends on the identity provider behind CILogon."""
        return self._as_name(CILogonOAuthenticator.user_info_to_username(self, user_info))


class CarrelAzureAdAuthenticator(OAuthMixin, AzureAdOAuthenticator):  # type: ignore[misc]
    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """Return the token's claims after a check of its signature, which oauthenticator does not make."""
        tenant = f"{self.graph_url}/{self.tenant_id}"
        keys = jwt.PyJWKClient(f"{tenant}/discovery/v2.0/keys", timeout=10)
        token = token_info["id_token"]
        try:
            key = await self.threads.run(lambda: keys.get_signing_key_from_jwt(token))
            return jwt.decode(token, key, algorithms=["RS256"], audience=self.client_id, issuer=f"{tenant}/v2.0")
        except jwt.PyJWTError as error:
            self.log.error("the identity provider's token is refused: %s", error)
            raise web.HTTPError(403, "The identity provider's answer could not be verified.") from error


class CarrelOidcAuthenticator(OAuthMixin, GenericOAuthenticator):  # type: ignore[misc]
    async def check_blocked_users(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """Refuse addresses that the provider says it has not verified (OpenID Connect Core, 5.1 and 5.7)."""
        if authentication and self.username_claim == "email":
            account = authentication["auth_state"][self.user_auth_state_key]
            # Amazon Cognito writes text.
            if account.get("email_verified", True) not in (True, "true"):
                raise web.HTTPError(403, UNVERIFIED.format(self.login_service))
        return await super().check_blocked_users(username, authentication)


class CarrelDummyAuthenticator(RosterMixin, DummyAuthenticator):  # type: ignore[misc]
    pass
