# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any other authenticator class, with this hub's rules about who gets in."""

from __future__ import annotations

from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from oauthenticator.oauth2 import OAuthenticator
from traitlets.utils.importstring import import_item

from .authenticators import IdentityMixin, OAuthMixin
from .files import Unusable

OURS = BaseHandler.authenticator
NAME = "CarrelCustomAuthenticator"


class Guarded(Authenticator):  # type: ignore[misc]
    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """Pages with authenticators of their own would bypass the roster."""
        handlers: list[tuple[str, Any]] = super().get_handlers(app)
        if any(getattr(handler, "authenticator", OURS) is not OURS for _path, handler in handlers):
            raise Unusable("authenticator.class: it asks other authenticators, which do not heed the list of users")
        return handlers


def made(path: str) -> type[Any]:
    """The class that stands at PATH, a dotted name, below the mixins."""
    try:
        found = import_item(path)
    except Exception as error:  # whatever a module raises when it is imported
        raise Unusable(f"authenticator.class: {path} cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, Authenticator):
        raise Unusable(f"authenticator.class: {path} is no class of authenticators")
    mixin = OAuthMixin if issubclass(found, OAuthenticator) else IdentityMixin
    return type(NAME, (mixin, Guarded, found), {})
