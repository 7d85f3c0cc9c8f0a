# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several authenticators of one hub. The names of each begin with its prefix, and each has its own pages."""

from __future__ import annotations

import copy
import html
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import prefix_of
from jupyterhub.handlers.login import LoginHandler, LogoutHandler
from jupyterhub.utils import maybe_future, url_path_join
from tornado import web
from traitlets import Dict, List
from traitlets.utils.importstring import import_item

from . import inventory_api, native_pages
from .authenticators import RosterMixin
from .lti import ELSEWHERE, LaunchMixin

# Pages for accounts with passwords. They link to each other, and a hub has only one list of accounts.
UNPLACED = {path for path, _handler in native_pages.HANDLERS if path != "/login"}


class Member(RosterMixin):
    """One of several authenticators. Its pages are below /login/NAME."""

    several: CarrelSeveralAuthenticator
    place: str
    title: str

    def login_url(self, base_url: str) -> Any:
        return super().login_url(url_path_join(base_url, self.place))

    # ltiauthenticator calls these two.
    def callback_url(self, base_url: str) -> Any:
        return super().callback_url(url_path_join(base_url, self.place))

    def config_json_url(self, base_url: str) -> Any:
        return super().config_json_url(url_path_join(base_url, self.place))

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        own = [each for each in super().get_handlers(app) if each not in inventory_api.HANDLERS]
        return [(self.placed(path), self.handler(handler)) for path, handler in own]

    def placed(self, path: str) -> str:
        placed = path in UNPLACED or path.lstrip("/").startswith(self.place)
        return path if placed else url_path_join("/", self.place, path)

    def handler(self, handler: Any) -> Any:
        """Return a handler that asks this authenticator. JupyterHub's handlers ask the hub's."""

        class Handler(handler):  # type: ignore[misc]
            authenticator = self

            def render_template(self, name: str, **values: Any) -> Any:
                return super().render_template(name, **{"carrel_title": self.authenticator.title, **values})

        return Handler

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        """Refresh any user: people who are logged in with another authenticator visit these pages, too."""
        return await self.several.refresh_user(user, handler)

    async def refresh_own(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        return await super().refresh_user(user, handler)


class CarrelSeveralAuthenticator(RosterMixin):
    """The authenticator for JupyterHub. Its members prove who somebody is, on their pages."""

    members = List(Dict(), config=True, help="Each with name, title, prefix, class and traits")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        own = {"parent": self, "_deprecated_db_session": self._deprecated_db_session}
        self.each = [made(entry, self.config, **own) for entry in self.members]
        self.prefixes = [member.prefix for member in self.each]
        for member in self.each:
            member.several = self

    def of(self, name: str) -> Member | None:
        """Return the authenticator whose users have such names. None if the inventory had another prefix before."""
        prefix = prefix_of(name, (member.prefix for member in self.each))
        return next((member for member in self.each if member.prefix == prefix), None)

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        own = [*inventory_api.HANDLERS, ("/login", ChooseHandler), ("/logout", SeveralLogoutHandler)]
        return [*own, *(pair for member in self.each for pair in member.get_handlers(app))]

    def get_custom_html(self, base_url: str) -> str:
        """Return the choice. JupyterHub renders it as a template, with the page's values."""
        choices = []
        for member in self.each:
            title = html.escape(member.title).replace("{", "&#123;")  # a title is not a template
            url = f"{member.login_url(base_url)}{{% if next %}}?next={{{{ next }}}}{{% endif %}}"
            if isinstance(member, LaunchMixin):
                choices.append(f'<p class="text-center">{title}: {ELSEWHERE}</p>')
            else:
                choices.append(f'<a role="button" class="btn btn-jupyter btn-lg" href="{url}">{title}</a>')
        box = (
            '<div class="d-grid gap-3 mx-auto" style="max-width: 350px"><h2 class="text-center mt-3">Sign in with</h2>'
        )
        return "\n".join([box, *choices, "</div>"])

    async def authenticate(self, handler: Any, data: Any) -> None:
        return None

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        if not self.roster().is_person(user.name):
            return await super().refresh_user(user, handler)
        member = self.of(user.name)
        if member is None:
            self.log.warning("%s has a name of no authenticator", user.name)
            return False
        return await member.refresh_own(user, handler)

    def is_guest(self, name: str) -> bool:
        member = self.of(name)
        return member is not None and member.is_guest(name)

    async def pre_spawn_start(self, user: Any, spawner: Any) -> None:
        await self._told(user, "pre_spawn_start", user, spawner)

    async def post_spawn_stop(self, user: Any, spawner: Any) -> None:
        await self._told(user, "post_spawn_stop", user, spawner)

    async def add_user(self, user: Any) -> None:
        await self._told(user, "add_user", user)

    def delete_user(self, user: Any) -> Any:
        member = self.of(user.name)
        return None if member is None else member.delete_user(user)

    async def _told(self, user: Any, what: str, *arguments: Any) -> None:
        member = self.of(user.name)
        if member is not None:
            await maybe_future(getattr(member, what)(*arguments))


def made(entry: Mapping[str, Any], config: Any, **own: Any) -> Member:
    """Make a member. Only it gets these traits, because another one may have the same class."""
    cls: Any = import_item(entry["class"]) if isinstance(entry["class"], str) else entry["class"]
    config = copy.deepcopy(config)
    config.pop("CarrelSeveralAuthenticator", None)
    config[cls.__name__].update(entry["traits"])
    placed = {"place": f"login/{entry['name']}", "title": entry["title"], "__module__": __name__}
    member: Member = type(cls.__name__, (Member, cls), placed)(config=config, **own)
    return member


class ChooseHandler(LoginHandler):  # type: ignore[misc]
    async def post(self) -> None:
        raise web.HTTPError(405)


class SeveralLogoutHandler(LogoutHandler):  # type: ignore[misc]
    """Log out. The authenticator with which the user logged in decides which page follows."""

    page = ""

    async def handle_logout(self) -> None:
        member = self.current_user and self.authenticator.of(self.current_user.name)
        self.page = getattr(member, "logout_redirect_url", "")

    async def render_logout_page(self) -> None:
        if self.page:
            self.redirect(self.page)
        else:
            await super().render_logout_page()
