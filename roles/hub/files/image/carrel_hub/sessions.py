# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""End sessions and tokens with a password, because somebody who knew the old one may have made them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyterhub import orm


def end(db: Any, name: str, session: str | None = None) -> None:
    """End the cookies and tokens of NAME, except those of the browser's SESSION and of running servers."""
    user = orm.User.find(db, name)
    if user is None:
        return
    user.cookie_id = orm.new_token()
    tokens = db.query(orm.APIToken).filter_by(user_id=user.id).all()
    kept = {_own_token(spawner, tokens) for spawner in user.orm_spawners.values()}
    for token in tokens:
        if token not in kept and not (session and token.session_id == session):
            db.delete(token)
    for code in db.query(orm.OAuthCode).filter_by(user_id=user.id):
        db.delete(code)
    db.commit()


def _own_token(spawner: Any, tokens: Iterable[Any]) -> Any:
    """Return the token with which a server asks the hub. Without it, nobody could use the server until it is restarted.

    JupyterHub does not record which token it is. People can make tokens with the same note, but not with an earlier
    time: the server's token is the last one from before the start.
    """
    if spawner.server is None or spawner.started is None:
        return None
    note = f"Server at {spawner.server.base_url}"
    own = (token for token in tokens if token.note == note and token.created <= spawner.started)
    return max(own, key=lambda token: token.id, default=None)
