# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let people into servers that are shared with their groups.

JupyterHub 6.1 gives what is shared with a group to its members, but not to their tokens (scopes.get_scopes_for), and
servers see only tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyterhub import orm, roles, scopes


def install() -> None:
    """Add what is shared with a user's groups to the permissions that limit those of the user's tokens."""
    expand = roles.roles_to_expanded_scopes

    def with_shares(held: Iterable[Any], owner: Any) -> frozenset[str]:
        groups = owner.groups if isinstance(owner, orm.User) else []
        shares = [share for group in groups for share in group.shared_with_me]
        return frozenset(expand(held, owner)).union(*map(scopes.expand_share_scopes, shares))

    roles.roles_to_expanded_scopes = with_shares
