# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse changes of things that the inventory decides, except by the roster's service."""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers import groups, users
from tornado import web

SERVICE = "roster"
DECIDES = "The inventory decides on users, admins and groups: change it there, and run the playbook."


class Decided:
    methods: tuple[str, ...] = ("POST", "DELETE")

    async def prepare(self) -> None:
        await super().prepare()  # type: ignore[misc]
        asks: Any = self.current_user  # type: ignore[attr-defined]
        is_service = isinstance(asks, orm.Service) and asks.name == SERVICE
        if self.is_decided() and not is_service:
            raise web.HTTPError(403, DECIDES)

    def is_decided(self) -> bool:
        return self.request.method in self.methods  # type: ignore[attr-defined]


class UserListHandler(Decided, users.UserListAPIHandler):  # type: ignore[misc]
    pass


class UserHandler(Decided, users.UserAPIHandler):  # type: ignore[misc]
    methods = ("POST", "PATCH")

    def is_decided(self) -> bool:
        """Whether the inventory decides. Guests are not in it, so they can be deleted."""
        listed = self.path_args[0] in self.authenticator.roster().users
        return super().is_decided() or (self.request.method == "DELETE" and listed)


class GroupListHandler(Decided, groups.GroupListAPIHandler):  # type: ignore[misc]
    pass


class GroupHandler(Decided, groups.GroupAPIHandler):  # type: ignore[misc]
    pass


class GroupUsersHandler(Decided, groups.GroupUsersAPIHandler):  # type: ignore[misc]
    pass


HANDLERS = [
    (r"/api/users", UserListHandler),
    (r"/api/users/([^/]+)", UserHandler),
    (r"/api/groups", GroupListHandler),
    (r"/api/groups/([^/]+)", GroupHandler),
    (r"/api/groups/([^/]+)/users", GroupUsersHandler),
]
