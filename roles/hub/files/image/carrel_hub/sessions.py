# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends with a password: anyone who knew the old one may have logged in and made tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyterhub import orm


def end(db: Any, name: str, session: str | None = None) -> None:
    """End the cookies and tokens of NAME, but for those of the browser's SESSION and of servers that run."""
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
    """With which a server asks the hub; without it the server would be of no use until it is started again.

    JupyterHub keeps no link to it. Anybody can give a token of theirs the same note, but not an earlier time: the
    server's is the last one from before the start.
    """
    if spawner.server is None or spawner.started is None:
        return None
    note = f"Server at {spawner.server.base_url}"
    own = (token for token in tokens if token.note == note and token.created <= spawner.started)
    return max(own, key=lambda token: token.id, default=None)
