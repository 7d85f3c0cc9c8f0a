# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How people log in to a hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    Reader,
    boolean,
    choice,
    given,
    has_control,
    listing,
    record,
    text,
    wrong_type,
)


class Authenticator(NamedTuple):
    public: dict[str, Any]  # the type and all that is no secret
    client_secret: str | None = None
    dummy_password: str | None = None

    @property
    def type(self) -> str:
        return str(self.public["type"])

    @property
    def open(self) -> bool:
        """Whether people who are not listed may get in."""
        return bool(self.public.get("signup") or self.public.get("allowed_organizations") or self.type == "dummy")


def _endpoint(value: Any, path: str, problems: Problems) -> str | Invalid:
    """Shows nothing of an address, which may hold a password."""
    if not isinstance(value, str):
        return wrong_type(value, "an address in quotes", path, problems)
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("https", "http") and parts.hostname and not parts.username and not parts.fragment
        good = good and parts.port != 0
    except ValueError:
        good = False
    if not good or has_control(value) or re.search(r"[\s\\]", value):
        problems.add(path, "endpoint")
        return INVALID
    return str(value)


def _tenant(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("the id of your tenant")(value, path, problems)
    # With these, any tenant's administrator makes names at will.
    if checked in ("common", "organizations", "consumers"):
        problems.add(path, "tenant_any", value=checked)
        return INVALID
    if isinstance(checked, Invalid):
        return checked
    # Tokens name the issuer by the id in lower case, whatever the address has that they were asked for under.
    tenant = checked.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", tenant):
        domain = tenant if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", tenant) else "DOMAIN"
        problems.add(path, "tenant", domain=domain)
        return INVALID
    return tenant


def _claim(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("the name of a claim, for example preferred_username")(value, path, problems)
    # Two people of one name would share an account (jupyterhub/oauthenticator#213).
    if checked in ("name", "given_name", "family_name", "nickname"):
        problems.add(path, "claim_not_unique", value=checked)
        return INVALID
    return checked


_CLIENT: dict[str, Reader] = {"client_id": text("the client's id, in quotes"), "client_secret": values.secret}
_CLIENT_REQUIRED = {
    "client_id": "the id that the provider gave to the hub",
    "client_secret": "its secret, from a vault",
}
_ENDPOINTS = {
    "authorize_url": "the provider's authorization endpoint",
    "token_url": "the provider's token endpoint",
    "userdata_url": "the provider's userinfo endpoint",
}


class _Type(NamedTuple):
    keys: Mapping[str, Reader]
    required: Mapping[str, str]
    defaults: Mapping[str, Any]


_TYPES: dict[str, _Type] = {
    "native": _Type({"signup": boolean}, {}, {"signup": False}),
    "github": _Type(
        {**_CLIENT, "allowed_organizations": listing(text("an organization's name"), "a list of organizations")},
        _CLIENT_REQUIRED,
        {"allowed_organizations": []},
    ),
    "azuread": _Type(
        {**_CLIENT, "tenant_id": _tenant, "username_claim": _claim},
        {**_CLIENT_REQUIRED, "tenant_id": "the id of your tenant"},
        {"username_claim": "preferred_username"},
    ),
    "oidc": _Type(
        {
            **_CLIENT,
            **dict.fromkeys(_ENDPOINTS, _endpoint),
            "username_claim": _claim,
            "scopes": listing(text("a scope"), "a list of scopes, for example [openid, profile, email]"),
            "login_service": text("a name for the button"),
            "insecure": boolean,
        },
        {**_CLIENT_REQUIRED, **_ENDPOINTS},
        {
            "username_claim": "preferred_username",
            "scopes": ["openid", "profile", "email"],
            "login_service": "Single Sign-On",
        },
    ),
    "dummy": _Type(
        {"insecure": boolean, "dummy_password": values.secret},
        {"dummy_password": "the one password that lets everybody in"},
        {},
    ),
}
_SECRETS = ("client_secret", "dummy_password", "insecure")
_kind = choice(*_TYPES)


def read_authenticator(value: Any, path: str, problems: Problems) -> Authenticator | Invalid:
    if not isinstance(value, Mapping):
        return wrong_type(value, "a mapping, for example {type: native}", path, problems)
    kind = value.get("type")
    if kind is None:
        problems.add(f"{path}.type", "missing", wanted="one of " + ", ".join(_TYPES))
    if kind is None or isinstance(kind, Invalid):
        return INVALID
    if isinstance(_kind(kind, f"{path}.type", problems), Invalid):
        # The rest can be checked where it is clear what is meant.
        kind = nearest(kind, _TYPES) if isinstance(kind, str) else None
        if kind is None:
            return INVALID
        value = {**value, "type": kind}
    keys, required, defaults = _TYPES[kind]
    parts = record({"type": _kind, **keys}, required)(value, path, problems)
    # What could not be rendered is reported already.
    insecure = parts.get("insecure") in (True, INVALID)
    if kind == "dummy" and not insecure:
        problems.add(path, "dummy_insecure")
    for key in _ENDPOINTS:
        if given(parts.get(key)) and not insecure and not _is_safe(parts[key]):
            problems.add(f"{path}.{key}", "endpoint_http")
    public = {key: defaults.get(key) if item is None else item for key, item in parts.items() if key not in _SECRETS}
    return Authenticator(public, parts.get("client_secret"), parts.get("dummy_password"))


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
