# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users with passwords. The inventory sets the first ones, and users may change theirs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.passwords import is_bcrypt, is_other_hash
from jupyterhub import orm
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.orm import UserInfo
from tornado import web
from traitlets import Bytes

from . import inventory_api, invitations, native_pages, owners, sessions
from .authenticators import ANOTHERS, RosterMixin
from .brake import Brake, Visitors
from .files import DIRECTORY, read_json, read_state, write_state
from .passwords import LONGEST, Busy, Passwords, Refused

APPLIED = "passwords-applied.json"  # by name: a fingerprint of the last password that was set from the inventory
LONGEST_NAME = 128  # the length of UserInfo.username
SHORTEST = 8
MOST_WAITING = 500  # accounts without approval
TOO_OFTEN = "Too many wrong passwords. Please wait a minute, then try again."
TOO_MANY = "Too many people are signing up at the moment. Please try again in an hour, or tell the administrator."
WAITS = "Your account waits for an administrator's approval."
NAME = "A name has at most 128 characters, without capital letters, spaces, commas, slashes and invisible characters."
LENGTH = f"A password has at least {SHORTEST} characters, and at most {LONGEST} bytes."
SENT = (
    "An administrator will look at your request. If the name belongs to somebody already, nothing was sent. "
    "If you are on the administrator's list, ask there for an invitation and sign up with it."
)
NOT_INVITED = "This invitation is not for this name, or has been used. Please ask the administrator."
WELCOME = "Your account is ready: log in with it."


class CarrelNativeAuthenticator(RosterMixin, NativeAuthenticator):  # type: ignore[misc]
    key = Bytes(config=True, help="Secret from which invitations and fingerprints of passwords are made")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.passwords = Passwords()
        self.visitors = Visitors()
        # By name and address, so that others' wrong tries lock nobody out. A whole class may share one address.
        self.wrong = Brake(10, 60)
        self.wrong_of_address = Brake(200, 60)
        self.sign_ups = Brake(100, 3600)
        self.looking: set[str] = set()

    def normalize_username(self, username: str) -> str:
        """Add the prefix if somebody leaves it out."""
        name: str = super().normalize_username(username)
        return name if name.startswith(self.prefix) else str(super().normalize_username(self.prefix + username))

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        name = self.normalize_username(data.get("username", ""))
        password = data.get("password", "")
        if len(password.encode()) > LONGEST or len(name) > LONGEST_NAME or not self.validate_username(name):
            return None
        if not self.owns(name):
            return None
        if not await self.checked(handler, name, password):
            return None
        account = self.get_user(name)
        if account is None or not account.is_authorized:
            raise web.HTTPError(403, WAITS)
        return name

    async def checked(self, handler: Any, name: str, password: str) -> bool:
        """Whether this is the person's password. Wrong ones are counted, and those whose check has not ended."""
        address = await self.visitors.address(handler.request)
        if not self.wrong.take((address, name)):
            raise web.HTTPError(429, TOO_OFTEN)
        if not self.wrong_of_address.take(address):
            raise web.HTTPError(429, TOO_OFTEN)
        try:
            right = await self._is_right(name, password)
        except Busy as error:
            raise web.HTTPError(503, str(error)) from error
        if right:
            self.wrong.forget((address, name))
            self.wrong_of_address.give_back(address)
        else:  # the address comes first, because the name may be any text
            self.log.warning("wrong password from %s for %r", address, name)
        return right

    async def _is_right(self, name: str, password: str) -> bool:
        """Check the password. bcrypt runs once, whether the account exists or not."""
        first = self._first_password(name)
        if first is not None and not await self._is_applied(name, first):
            if not await self._apply(name, first):
                return False
            if not is_bcrypt(first):
                return hmac.compare_digest(password.encode(), first.encode())
        account = self.get_user(name)
        return await self.passwords.check(password, account.password if account else None)

    def _first_password(self, name: str) -> str | None:
        if not self.roster().lists(name):
            return None
        password: str | None = read_json(DIRECTORY / "passwords.json").get(name)
        if password is not None and len(password.encode()) > LONGEST:
            self.log.error("the inventory's password of %s is longer than %d bytes: it is not set", name, LONGEST)
            return None
        if password is not None and is_other_hash(password):
            self.log.error("the inventory's password of %s is a hash that can't be checked: it is not set", name)
            return None
        return password

    def _fingerprint(self, name: str, password: str) -> str:
        return hmac.new(self.key, f"password\0{name}\0{password}".encode(), hashlib.sha256).hexdigest()

    def _is_known(self, name: str, first: str) -> bool:
        applied = read_state(APPLIED).get(name)
        known = applied.get("hmac", "") if isinstance(applied, dict) else ""
        return hmac.compare_digest(known, self._fingerprint(name, first)) and self.get_user(name) is not None

    async def _is_applied(self, name: str, first: str) -> bool:
        """Whether the inventory's password was set already. bcrypt runs only if the key has changed."""
        applied = read_state(APPLIED).get(name)
        if applied is None or self.get_user(name) is None:
            return False
        # Older versions wrote only the hash.
        known = {"bcrypt": applied} if isinstance(applied, str) else applied
        fingerprint = self._fingerprint(name, first)
        if hmac.compare_digest(known.get("hmac", ""), fingerprint):
            return True
        old = known["bcrypt"]
        same = first == old if is_bcrypt(first) else await self.passwords.check(first, old.encode())
        if not same:
            return False
        write_state(APPLIED, {**read_state(APPLIED), name: {**known, "hmac": fingerprint}})
        return True

    async def _apply(self, name: str, first: str) -> bool:
        """Whether the person still has this password: meanwhile the list may have changed, or another request came."""
        hashed = first.encode() if is_bcrypt(first) else await self.passwords.hash(first)
        if self._first_password(name) != first:
            return False
        if self._is_known(name, first):
            return True
        self._store(name, hashed, approved=True)
        known = {"bcrypt": hashed.decode(), "hmac": self._fingerprint(name, first)}
        write_state(APPLIED, {**read_state(APPLIED), name: known})
        self.log.info("%s has the password of the inventory now", name)
        return True

    def _store(self, name: str, hashed: bytes, approved: bool) -> None:
        account = self.get_user(name)
        if account is None:
            account = UserInfo(username=name, password=hashed)
            self.db.add(account)
        account.password = hashed
        account.is_authorized = approved
        self.db.commit()
        sessions.end(self.db, name)

    async def sign_up(self, handler: Any, name: str, password: str, invitation: str) -> str:
        """Return the page's text. It is the same whether the name is free or not. Raises Refused."""
        name = self.normalize_username(name.strip())
        if len(name) > LONGEST_NAME or not self.validate_username(name):
            raise Refused(NAME)
        if not self.owns(name):
            raise Refused(ANOTHERS.format(name=name))
        if not self.is_password_strong(password):
            raise Refused(LENGTH)
        address = await self.visitors.address(handler.request)
        if not self.sign_ups.take(address):
            raise Refused(TOO_MANY)
        if invitation and self._fits(name, invitation):
            # Invited people do not count: a whole lecture may share one address. This comes before the hash, because
            # otherwise people would count while theirs is computed.
            self.sign_ups.give_back(address)
        hashed = await self.passwords.hash(password)
        if invitation:
            if not self._fits(name, invitation):  # another request may have used the invitation meanwhile
                raise Refused(NOT_INVITED)
            self._store(name, hashed, approved=True)
            return WELCOME
        roster = self.roster()
        taken = name in roster.users or name in roster.blocked or owners.was_group(name)
        if not taken and self.get_user(name) is None:
            waiting = self.db.query(UserInfo).filter(UserInfo.is_authorized.isnot(True)).count()
            if waiting >= MOST_WAITING:
                raise Refused(TOO_MANY)
            self._store(name, hashed, approved=False)
        return SENT

    def _fits(self, name: str, invitation: str) -> bool:
        return name in self.invited() and invitations.fits(self.key, name, invitation)

    def invited(self) -> list[str]:
        """Return listed people with neither a password in the inventory nor an account."""
        roster, first = self.roster(), read_json(DIRECTORY / "passwords.json")
        approved = {account.username for account in self.accounts() if account.is_authorized}
        known = approved | first.keys()
        people = (name for name in roster.users if roster.lists(name) and roster.is_person(name) and self.owns(name))
        return sorted(name for name in people if name not in known)

    def accounts(self) -> Iterable[Any]:
        """Return the accounts whose names belong to this authenticator."""
        return [each for each in self.db.query(UserInfo).order_by(UserInfo.username) if self.owns(each.username)]

    def account(self, name: str) -> Any:
        return self.get_user(name) if self.owns(name) else None

    def approve(self, name: str, approved: bool) -> None:
        """Approve an account. Raises Refused for a listed name, because anybody could have signed up with it."""
        account = self.account(name)
        if account is None:
            raise Refused(f"There is no account {name} any more.")
        if name in self.roster().users:
            raise Refused(f"{name} is in the inventory, which decides. Who has no password there needs an invitation.")
        if approved and owners.was_group(name):
            raise Refused(f"{name} was the name of a group's server, whose files a guest would get.")
        account.is_authorized = approved
        self.db.commit()

    def waiting(self) -> list[str]:
        """Return guests without approval who have never logged in. Others may have files."""
        known = {user.name for user in self.db.query(orm.User)} | self.roster().users.keys()
        return [each.username for each in self.accounts() if not each.is_authorized and each.username not in known]

    def discard_waiting(self) -> None:
        for name in self.waiting():
            self.delete_user(SimpleNamespace(name=name))

    async def set_password(self, name: str, password: str, session: str | None = None) -> None:
        """Set a password, and end all sessions except the browser's SESSION. Raises Refused."""
        if not self.is_password_strong(password):
            raise Refused(LENGTH)
        hashed = await self.passwords.hash(password)
        account = self.account(name)
        if account is None:
            raise Refused(f"There is no account {name} any more.")
        account.password = hashed
        self.db.commit()
        sessions.end(self.db, name, session)

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        """End sessions as soon as the inventory has a new password, not only when somebody logs in with it."""
        first = self._first_password(user.name)
        if first is not None and not self._is_known(user.name, first):
            is_new = await self._is_new(user.name, first)
            # Administrators who start another user's server stay logged in.
            if is_new and handler is not None and handler.current_user is user:
                return False
        return await super().refresh_user(user, handler)

    async def _is_new(self, name: str, first: str) -> bool:
        """Set the password if it is new. A browser sends many requests at once, and one bcrypt is enough for them."""
        if name in self.looking:
            return True
        self.looking.add(name)
        try:
            if await self._is_applied(name, first):
                return False
            await self._apply(name, first)
        except Busy:
            self.log.warning("too many people are logging in: %s has to wait for the new password", name)
        finally:
            self.looking.discard(name)
        return True

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        return [*inventory_api.HANDLERS, *native_pages.HANDLERS]

    def delete_user(self, user: Any) -> None:
        """Forget the password, so that people who are listed again get the inventory's, or need a new invitation."""
        applied = read_state(APPLIED)
        if applied.pop(user.name, None):
            write_state(APPLIED, applied)
        account = self.get_user(user.name)
        if account is not None and account.is_authorized:
            invitations.renew(user.name)
        super().delete_user(user)

    def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        return self.roster().lists(username) or self.is_guest(username)

    def is_guest(self, name: str) -> bool:
        account = self.get_user(name) if self.enable_signup and not owners.was_group(name) else None
        return account is not None and bool(account.is_authorized)

    def is_password_strong(self, password: str) -> bool:
        return len(password.encode()) <= LONGEST and bool(super().is_password_strong(password))
