# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users with passwords. The inventory gives the first ones; everybody may change their own."""

from __future__ import annotations

from typing import Any

import bcrypt
from jupyterhub.handlers import login
from nativeauthenticator import NativeAuthenticator, handlers
from nativeauthenticator.orm import UserInfo
from tornado import web

from .authenticators import RosterMixin
from .files import DIRECTORY, read_json, read_state, write_state

APPLIED = "passwords-applied.json"  # name: hash of the inventory's password that was set last
LONGEST = 72  # bytes that bcrypt reads


def due(name: str, inventory: dict[str, str], applied: dict[str, str], exists: bool) -> str | None:
    """The password of the inventory that is to be set now; None if the account keeps the one it has."""
    password = inventory.get(name)
    if password is None:
        return None
    fingerprint = applied.get(name)
    same = fingerprint is not None and bcrypt.checkpw(password.encode(), fingerprint.encode())
    return None if exists and same else password


class LoginHandler(handlers.LoginHandler):  # type: ignore[misc]
    """nativeauthenticator 1.3.0 asks for statsd, which JupyterHub 6 does not have any more (jupyterhub#5407)."""

    post = login.LoginHandler.post

    def render_template(self, name: str, **values: Any) -> Any:
        """With what a page that extends JupyterHub's own for logging in needs, and nativeauthenticator leaves out."""
        return super().render_template(name, **{"authenticator": self.authenticator, **values})


class SameSite:
    """nativeauthenticator approves and discards accounts on a mere GET: not for a link on somebody else's page."""

    def prepare(self) -> Any:
        if self.request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":  # type: ignore[attr-defined]
            raise web.HTTPError(403, "Please use the buttons of this site.")
        return super().prepare()  # type: ignore[misc]


class ToggleHandler(SameSite, handlers.ToggleAuthorizationHandler):  # type: ignore[misc]
    pass


class DiscardHandler(SameSite, handlers.DiscardHandler):  # type: ignore[misc]
    pass


OURS = {
    handlers.LoginHandler: LoginHandler,
    handlers.ToggleAuthorizationHandler: ToggleHandler,
    handlers.DiscardHandler: DiscardHandler,
}


class CarrelNativeAuthenticator(RosterMixin, NativeAuthenticator):  # type: ignore[misc]
    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        name = self.normalize_username(data["username"])
        if len(data["password"].encode()) > LONGEST or not self.validate_username(name):
            return None
        if self.is_blocked(name):  # before any look at the password, which says whether it is right and takes its time
            return None
        if self.roster().lists(name):
            self._set_first_password(name)
        result: str | None = await super().authenticate(handler, data)
        account = self.get_user(name)
        if result is None and account and not account.is_authorized and account.is_valid_password(data["password"]):
            raise web.HTTPError(403, "Your account waits for an administrator's approval.")
        return result

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        return [(path, OURS.get(handler, handler)) for path, handler in super().get_handlers(app)]

    def _set_first_password(self, name: str) -> None:
        applied = read_state(APPLIED)
        account = self.get_user(name)
        password = due(name, read_json(DIRECTORY / "passwords.json"), applied, account is not None)
        if password is None:
            return
        if len(password.encode()) > LONGEST:
            self.log.error("the inventory's password of %s is longer than %d bytes: it is not set", name, LONGEST)
            return
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt())
        if account is None:
            account = UserInfo(username=name, password=hashed)
            self.db.add(account)
        account.password = hashed
        account.is_authorized = True
        self.db.commit()
        write_state(APPLIED, {**applied, name: hashed.decode()})
        self.log.info("%s has the password of the inventory now", name)

    def delete_user(self, user: Any) -> None:
        """Who is listed again gets the inventory's password, also if a stranger signed up with the name first."""
        applied = read_state(APPLIED)
        if applied.pop(user.name, None):
            write_state(APPLIED, applied)
        super().delete_user(user)

    def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        return self.roster().lists(username) or self.is_guest(username)

    def is_guest(self, name: str) -> bool:
        account = self.get_user(name) if self.enable_signup else None
        return account is not None and bool(account.is_authorized)

    def is_password_strong(self, password: str) -> bool:
        return len(password.encode()) <= LONGEST and bool(super().is_password_strong(password))
