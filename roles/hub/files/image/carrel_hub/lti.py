# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accept launches from a learning platform (LTI 1.3), with checks that ltiauthenticator lacks, and without blocking."""

from __future__ import annotations

import time
from typing import Any

from tornado import web
from traitlets import Set, Unicode

from .authenticators import NO_NAME, IdentityMixin

MODULE = "ltiauthenticator.lti13.auth"  # not imported here, because only administrators add this package
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
# ltiauthenticator accepts tokens of the last ten minutes.
REMEMBERED_SECONDS = 3600
DEPLOYMENT = (
    "This hub does not know the place in the learning platform that you came from. Please tell the administrator."
)
AGAIN = "This link from the learning platform has been used. Please open the hub there once more."
ELSEWHERE = "Please open this hub from a course in your learning platform."


class LaunchMixin(IdentityMixin):
    callback_handler: Any  # the class's
    deployment_ids = Set(Unicode(), config=True, help="Deployments that people may come from; none: from any")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.callback_handler = in_a_thread(self.callback_handler)
        self.used: dict[str, float] = {}

    def get_custom_html(self, base_url: str) -> str:
        """Say where to begin, because nobody can log in from the hub itself."""
        return f'<p class="text-center">{ELSEWHERE}</p>'

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Check a launch. DATA must be the claims that our callback has verified for this request, not equal ones."""
        checked = getattr(handler, "checked", None)
        if checked is None or checked is not data:
            raise web.HTTPError(403, ELSEWHERE)
        deployment = data[f"{CLAIM}deployment_id"]
        if self.deployment_ids and deployment not in self.deployment_ids:
            self.log.error("the deployment %r is none of deployment_ids", deployment)
            raise web.HTTPError(403, DEPLOYMENT)
        if not self._is_first_use(str(data["nonce"])):
            raise web.HTTPError(403, AGAIN)
        return await super().authenticate(handler, data, **kwargs)

    def _is_first_use(self, nonce: str) -> bool:
        now = time.monotonic()
        self.used = {each: until for each, until in self.used.items() if until > now}
        if nonce in self.used:
            return False
        self.used[nonce] = now + REMEMBERED_SECONDS
        return True

    def get_username(self, token: dict[str, Any]) -> str:
        """Return the name. Without the claim, the class would use a meaningless id, so names would change unnoticed."""
        custom = self.username_key.startswith("custom_")
        claims = token.get(f"{CLAIM}custom") if custom else token
        name = claims.get(self.username_key.removeprefix("custom_")) if isinstance(claims, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise web.HTTPError(403, NO_NAME.format(claim=self.username_key))
        return name


def in_a_thread(handler: Any) -> Any:
    """Return the handler with its check in a thread, because it waits for the platform's keys."""

    class Callback(handler):  # type: ignore[misc]
        checked: Any = None

        async def post(self) -> None:
            try:
                self.checked = await self.authenticator.threads.run(super().decode_and_validate_launch_request)
            except Exception as error:  # the class reports it
                self.checked = error
            await super().post()

        def decode_and_validate_launch_request(self) -> Any:
            if isinstance(self.checked, Exception):
                raise self.checked
            return self.checked

    return Callback
