# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Use any other authenticator class, with this hub's rules about who gets in."""

from __future__ import annotations

from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from oauthenticator.oauth2 import OAuthenticator
from traitlets.utils.importstring import import_item

from . import lti
from .authenticators import IdentityMixin, OAuthMixin
from .files import Unusable

OURS = BaseHandler.authenticator
NAME = "CarrelCustomAuthenticator"


class Guarded(Authenticator):  # type: ignore[misc]
    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """Refuse pages with other authenticators, which would bypass the roster."""
        handlers: list[tuple[str, Any]] = super().get_handlers(app)
        if any(getattr(handler, "authenticator", OURS) is not OURS for _path, handler in handlers):
            raise Unusable("authenticator.class: it asks other authenticators, which do not heed the list of users")
        return handlers


def made(path: str, place: str = "authenticator") -> type[Any]:
    """Return the class at the dotted name PATH, below our mixins. PLACE is its path in the inventory."""
    try:
        found = import_item(path)
    except Exception as error:  # a module may raise anything when it is imported
        raise Unusable(f"{place}.class: {path} cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, Authenticator):
        raise Unusable(f"{place}.class: {path} is no class of authenticators")
    mixin: type[Any] = OAuthMixin if issubclass(found, OAuthenticator) else IdentityMixin
    if any(base.__module__ == lti.MODULE for base in found.__mro__):
        mixin = lti.LaunchMixin
    return type(NAME, (mixin, Guarded, found), {})
