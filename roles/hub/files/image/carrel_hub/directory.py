# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users in an LDAP directory. Its certificate is checked, and a directory that does not answer delays nobody else."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPBindError, LDAPException
from ldapauthenticator import LDAPAuthenticator
from ldapauthenticator.ldapauthenticator import TlsStrategy
from tornado import web
from traitlets import List, Unicode

from .authenticators import IdentityMixin

SECONDS = 10
# By default, certificates are not checked.
TLS = {"validate": ssl.CERT_REQUIRED, "ca_certs_file": "/etc/ssl/certs/ca-certificates.crt"}
DOWN = "The directory of users cannot be asked at the moment. Please try again in a minute, and tell the administrator."


class _Threaded(LDAPAuthenticator):  # type: ignore[misc]
    async def authenticate(self, handler: Any, data: Any) -> Any:
        """Ask the directory in a thread. The class itself would block the event loop."""
        ask = super().authenticate
        return await self.threads.run(lambda: asyncio.run(ask(handler, data)))

    def get_connection(self, userdn: str | None, password: str | None) -> Any:
        """Connect as the base class does, but with a deadline."""
        starts_tls = self.tls_strategy == TlsStrategy.before_bind
        server = ldap3.Server(
            self.server_address, port=self.server_port, use_ssl=self.tls_strategy == TlsStrategy.on_connect,
            tls=ldap3.Tls(**{**TLS, **self.tls_kwargs}), connect_timeout=SECONDS, get_info=ldap3.NONE,
        )  # fmt: skip
        try:
            return ldap3.Connection(
                server, user=userdn, password=password, receive_timeout=SECONDS, read_only=True,
                auto_bind=ldap3.AUTO_BIND_TLS_BEFORE_BIND if starts_tls else ldap3.AUTO_BIND_NO_TLS,
            )  # fmt: skip
        except LDAPBindError as error:
            # The hub's own account is wrong. For people who log in with this account's name, wrong passwords count.
            if (userdn, password) == (self.lookup_dn_search_user, self.lookup_dn_search_password):
                raise LDAPException(f"it refuses {userdn or 'to be searched without an account'}") from error
            return None


class CarrelLDAPAuthenticator(IdentityMixin, _Threaded):
    guest_groups = List(Unicode(), config=True, help="DNs of the groups whose members may log in as guests")

    async def groups_of(self, model: dict[str, Any]) -> list[str]:
        """Return the groups in allowed_groups, which has all groups in the inventory."""
        return list(model["auth_state"]["ldap_groups"])

    async def allow_guest(self, username: str, authentication: dict[str, Any]) -> bool:
        mine = authentication["provider_groups"]
        return self.guests and (self.everybody or not set(self.guest_groups).isdisjoint(mine))

    def unusable(self, error: Exception) -> web.HTTPError:
        self.log.error("the directory %s cannot be asked: %s", self.server_address, error)
        return web.HTTPError(503, DOWN)
