# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages for accounts with passwords: to log in, sign up, approve accounts, and change passwords.

nativeauthenticator's own pages run bcrypt in the event loop, and approve and discard accounts with a GET request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeVar

from jupyterhub.handlers import login
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from . import invitations
from .passwords import Refused

WRONG = "Your current password was wrong. Please try again."
DIFFERENT = "The two passwords differ. Please try again."
CHANGED = "The password has been changed."
Method = TypeVar("Method", bound=Callable[..., Awaitable[None]])


def administrators(method: Method) -> Method:
    guarded: Method = needs_scope("admin:users")(method)
    return guarded


class LoginHandler(login.LoginHandler):  # type: ignore[misc]
    """JupyterHub's own page, with a link to sign up."""

    def render_template(self, name: str, **values: Any) -> Any:
        page = "native-login.html" if name == "login.html" else name
        return super().render_template(page, **{"enable_signup": self.authenticator.enable_signup, **values})


class Page(BaseHandler):  # type: ignore[misc]
    template = ""

    async def show(self, said: str = "", good: bool = False, **values: Any) -> None:
        self.finish(await self.render_template(self.template, said=said, good=good, **values))

    async def answer(self, done: Awaitable[str], **values: Any) -> None:
        """Show the page with the result."""
        try:
            said, good = await done, True
        except Refused as refused:
            said, good = str(refused), False
        await self.show(said, good, **values)

    def field(self, name: str) -> str:
        return str(self.get_body_argument(name, "", strip=False))

    def new_password(self) -> str:
        if self.field("new_password") != self.field("new_password_confirmation"):
            raise Refused(DIFFERENT)
        return self.field("new_password")

    async def set_password(self, name: str) -> str:
        """Set the user's own password. This browser stays logged in."""
        own = name == self.current_user.name
        session = self.get_session_cookie() if own else None
        await self.authenticator.set_password(name, self.new_password(), session)
        if own:
            self.set_login_cookie(self.current_user)
        return CHANGED


class SignUpHandler(Page):
    template = "signup.html"

    def prepare(self) -> Any:
        if not self.authenticator.enable_signup:
            raise web.HTTPError(404)
        return super().prepare()

    async def get(self) -> None:
        await self.show()

    async def post(self) -> None:
        await self.answer(self.sign_up())

    async def sign_up(self) -> str:
        name, invitation = self.field("username"), self.field("invitation")
        said: str = await self.authenticator.sign_up(self, name, self.new_password(), invitation)
        return said


class AuthorizeHandler(Page):
    """Shows accounts with and without approval, and the invitations for listed people."""

    template = "authorization-area.html"

    @administrators
    async def get(self) -> None:
        await self.show(**self.people())

    @administrators
    async def post(self) -> None:
        name, action = self.field("name"), self.field("action")
        try:
            if action == "discard":
                self.discard(name)
            elif action == "discard-all":  # strangers can fill the list faster than admins can empty it one by one
                self.authenticator.discard_waiting()
            else:
                self.authenticator.approve(name, action == "approve")
        except Refused as refused:
            await self.show(str(refused), **self.people())
        else:
            self.redirect(f"{self.hub.base_url}authorize")

    def discard(self, name: str) -> None:
        account = self.authenticator.account(name)
        if account is None or account.is_authorized:
            return
        user = self.find_user(name)
        if user is None:
            self.authenticator.delete_user(SimpleNamespace(name=name))
        elif user.spawner.active:
            raise Refused(f"The server of {name} is running. Stop it first, at Admin.")
        else:
            self.authenticator.delete_user(user)
            self.users.delete(user)

    def people(self) -> dict[str, Any]:
        gate = self.authenticator
        codes = {name: invitations.code(gate.key, name) for name in gate.invited()} if gate.enable_signup else {}
        listed = gate.roster().users
        return {"accounts": gate.accounts(), "listed": listed, "waiting": gate.waiting(), "invitations": codes}


class ChangePasswordHandler(Page):
    template = "change-password.html"

    @web.authenticated
    async def get(self) -> None:
        await self.show(who=self.current_user.name, own=True)

    @web.authenticated
    async def post(self) -> None:
        await self.answer(self.change(), who=self.current_user.name, own=True)

    async def change(self) -> str:
        name, _same = self.current_user.name, self.new_password()
        if not await self.authenticator.checked(self, name, self.field("old_password")):
            raise Refused(WRONG)
        return await self.set_password(name)


class ChangeAnotherPasswordHandler(Page):
    template = "change-password.html"

    @administrators
    async def get(self, user_name: str) -> None:
        if self.authenticator.account(user_name) is None:
            raise web.HTTPError(404)
        await self.show(who=user_name, own=False)

    @administrators
    async def post(self, user_name: str) -> None:
        await self.answer(self.set_password(user_name), who=user_name, own=False)


HANDLERS = [
    (r"/login", LoginHandler),
    (r"/signup", SignUpHandler),
    (r"/authorize", AuthorizeHandler),
    (r"/change-password", ChangePasswordHandler),
    (r"/change-password/([^/]+)", ChangeAnotherPasswordHandler),
]
