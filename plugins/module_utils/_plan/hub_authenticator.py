# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How people log in to a hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import hub_own, types
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, record_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    given,
    has_control,
    text,
    wrong_type,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import prefix_of


class Authenticator(NamedTuple):
    public: dict[str, Any]  # the type and all keys that are not secret
    client_secret: str | None = None
    dummy_password: str | None = None
    secret_settings: Mapping[str, str] | None = None
    each: Sequence[Authenticator] = ()  # for the type several

    @property
    def type(self) -> str:
        return str(self.public["type"])

    @property
    def single(self) -> Sequence[Authenticator]:
        return self.each or [self]

    def of(self, name: str) -> Authenticator | None:
        """Return the authenticator of the hub's user NAME."""
        if not self.each:
            return self
        prefix = prefix_of(name, [one.public["prefix"] for one in self.each])
        return next((one for one in self.each if one.public["prefix"] == prefix), None)

    @property
    def secrets(self) -> dict[str, str]:
        """Secret traits by name. With several authenticators: all secrets, by AUTHENTICATOR/NAME."""
        if not self.each:
            return dict(self.secret_settings or {})
        return {
            f"{one.public['name']}/{key}": secret
            for one in self.each
            for key, secret in {"client_secret": one.client_secret, **one.secrets}.items()
            if secret is not None
        }

    @property
    def guests(self) -> str | None:
        """The key that lets in people who are not listed."""
        if self.each:
            found = (f"each[{index}].{one.guests}" for index, one in enumerate(self.each) if one.guests)
            return next(found, None)
        keys = ("signup", "allowed_organizations", "guests")
        return next((key for key in keys if given(self.public.get(key)) and self.public[key]), None)

    @property
    def open(self) -> bool:
        """Whether people may get in who are not listed."""
        return self.guests is not None or self.type == "dummy"

    @property
    def own(self) -> bool:
        """Whether the administrator sets traits of the class."""
        return any(one.type == "custom" or one.public.get("settings") or one.secret_settings for one in self.single)


def _endpoint(value: Any, path: str, problems: Problems) -> str | Invalid:
    """Read an address. Messages never show it, because it may contain a password."""
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
    # With these, the administrator of any tenant can choose any user name.
    if checked in ("common", "organizations", "consumers"):
        problems.add(path, "tenant_any", value=checked)
        return INVALID
    if isinstance(checked, Invalid):
        return checked
    # The issuer in a token has the id in lower case, however the inventory spells it.
    tenant = checked.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", tenant):
        domain = tenant if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", tenant) else "DOMAIN"
        problems.add(path, "tenant", domain=domain)
        return INVALID
    return tenant


# Two people with the same name would share an account (jupyterhub/oauthenticator#213), and people choose these names.
_NOT_UNIQUE = ("name", "given_name", "family_name", "nickname")


def _claim(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("the name of a claim, for example preferred_username")(value, path, problems)
    if checked in _NOT_UNIQUE:
        problems.add(path, "claim_not_unique", value=checked)
        return INVALID
    return checked


def _check_claims(settings: Any, path: str, problems: Problems) -> None:
    """The same of claims that the class's own traits name, at any depth, as CILogon's are."""
    if isinstance(settings, Mapping):
        for name, setting in settings.items():
            if name in ("username_claim", "username_key") and setting in _NOT_UNIQUE:
                problems.add(f"{path}.{name}", "claim_not_unique", value=setting)
            else:
                _check_claims(setting, f"{path}.{name}", problems)


_CLIENT: dict[str, Key] = {
    "client_id": Key(
        types.text("the client's id, in quotes"),
        "The hub's client id at the provider.",
        example="class101",
        needed="the id that the provider gave to the hub",
    ),
    "client_secret": Key(
        types.SECRET,
        "Its secret.",
        example="{{ vault_class101_client_secret }}",
        needed="its secret, from a vault",
        secret=True,
    ),
}
_ENDPOINT = Type(_endpoint, "an address", "id.uni.example/token")
_ENDPOINTS: dict[str, Key] = {
    key: Key(_ENDPOINT, f"The {what}.", example=f"https://id.uni.example/{path}", needed=f"the {what}")
    for key, what, path in (
        ("authorize_url", "provider's authorization endpoint", "authorize"),
        ("token_url", "provider's token endpoint", "token"),
        ("userdata_url", "provider's userinfo endpoint", "userinfo"),
    )
}
_USERNAME_CLAIM = Key(
    Type(_claim, "the name of a claim", "nickname"),
    "Claim that has the user's name.",
    example="oid",
    default="preferred_username",
)
_INSECURE = Key(
    types.BOOLEAN,
    "Allows settings that are only for trials: dummy, or addresses without TLS.",
    example=True,
    default=False,
)

_CLASS: dict[str, Key] = {
    "guests": Key(
        types.BOOLEAN,
        "Lets the class's own rules, such as allow_all in settings, admit people who are not listed.",
        example=True,
        default=False,
    ),
    "settings": Key(
        hub_own.TRAITS_TYPE,
        "Traits of the authenticator's class.",
        example={"logout_redirect_url": "https://uni.example/logged-out"},
        default={},
    ),
    "secret_settings": Key(
        hub_own.SECRET_TRAITS_TYPE,
        "Secret traits of the authenticator's class.",
        example={"lookup_dn_search_password": "{{ vault_ldap_password }}"},
        default={},
        secret=True,
    ),
}
_PROVIDER = {**_CLIENT, **_CLASS}

# Keys by type, except for the type several, which is in hub_several.
TYPES: dict[str, dict[str, Key]] = {
    "native": {
        "signup": Key(
            types.BOOLEAN, "Whether people may sign up; an admin then approves them.", example=True, default=False
        )
    },
    "github": {
        **_PROVIDER,
        "allowed_organizations": Key(
            types.listing(types.text("an organization's name"), "a list of organizations", "a list of organizations"),
            "Organizations whose members may log in, too.",
            example=["our-lab"],
            default=[],
        ),
    },
    "azuread": {
        **_PROVIDER,
        "tenant_id": Key(
            Type(_tenant, "the id of a tenant", "common"),
            "Id of your tenant.",
            example="11111111-2222-3333-4444-555555555555",
            needed="the id of your tenant",
        ),
        "cloud": Key(
            types.choice("global", "us", "china"), "Which of Microsoft's clouds.", example="us", default="global"
        ),
        "username_claim": _USERNAME_CLAIM,
    },
    "oidc": {
        **_PROVIDER,
        **_ENDPOINTS,
        "username_claim": _USERNAME_CLAIM,
        "scopes": Key(
            types.listing(
                types.text("a scope"), "a list of scopes, for example [openid, profile, email]", "a list of scopes"
            ),
            "OAuth scopes that the hub requests.",
            example=["openid", "profile"],
            default=["openid", "profile", "email"],
        ),
        "login_service": Key(
            types.text("a name for the button"),
            "Text of the log-in button.",
            example="Uni Login",
            default="Single Sign-On",
        ),
        "groups_claim": Key(
            types.text("the name of a claim, for example groups"),
            "Claim that has the user's groups, for provider_groups.",
            example="groups",
        ),
        "insecure": _INSECURE,
    },
    "gitlab": _PROVIDER,
    "google": _PROVIDER,
    "cilogon": _PROVIDER,
    "ldap": {
        "server_address": Key(
            types.text("the directory's host name"),
            "Host name of the LDAP server; its certificate must have this name.",
            example="ldap.uni.example",
            needed="the directory's host name",
        ),
        **_CLASS,
    },
    "custom": {
        "class": Key(
            hub_own.CLASS_TYPE,
            "Authenticator class in the hub's image; extra_packages adds packages to the image.",
            example="ltiauthenticator.lti13.auth.LTI13Authenticator",
            needed="the class's full name, with its module",
        ),
        **_CLASS,
    },
    "dummy": {
        "insecure": _INSECURE,
        "dummy_password": Key(
            types.SECRET,
            "The one password with which everybody can log in.",
            example="{{ vault_trial_password }}",
            needed="the one password that lets everybody in",
            secret=True,
        ),
    },
}
# Keys that are not in Authenticator.public.
_PRIVATE = {"insecure"} | {key for keys in TYPES.values() for key, declared in keys.items() if declared.secret}


def type_key(kinds: Collection[str]) -> Key:
    return Key(types.choice(*kinds), "Type of the authenticator.", example="oidc", needed="one of " + ", ".join(kinds))


def read_kind(
    value: Any, path: str, kinds: Mapping[str, Mapping[str, Key]], wanted: str, problems: Problems
) -> dict[str, Any] | Invalid:
    """Read a mapping whose type decides which keys it has. KINDS has the keys by type."""
    if not isinstance(value, Mapping):
        return wrong_type(value, wanted, path, problems)
    kind, declared = value.get("type"), type_key(kinds)
    if kind is None:
        problems.add(f"{path}.type", "missing", wanted=declared.needed)
    if kind is None or isinstance(kind, Invalid):
        return INVALID
    if isinstance(declared.type.read(kind, f"{path}.type", problems), Invalid):
        # If it is clear which type is meant, the other keys can be checked, too.
        kind = nearest(kind, kinds) if isinstance(kind, str) else None
        if kind is None:
            return INVALID
        value = {**value, "type": kind}
    parts: dict[str, Any] | Invalid = record_of({"type": declared, **kinds[kind]})(value, path, problems)
    return parts


def one(parts: dict[str, Any], keys: Mapping[str, Key], path: str, problems: Problems) -> Authenticator:
    """Make an authenticator of one of TYPES from the result of read_kind."""
    # INVALID is reported already.
    insecure = parts.get("insecure") in (True, INVALID)
    if parts["type"] == "dummy" and not insecure:
        problems.add(path, "dummy_insecure")
    for key in _ENDPOINTS:
        if given(parts.get(key)) and not insecure and not _is_safe(parts[key]):
            problems.add(f"{path}.{key}", "endpoint_http")
    _check_claims(parts.get("settings"), f"{path}.settings", problems)
    parts = {"type": parts["type"], **filled(keys, parts)}
    public = {key: item for key, item in parts.items() if key not in _PRIVATE}
    secrets = parts.get("secret_settings", {})
    if "secret_settings" in parts and INVALID not in (secrets, parts["settings"]):
        for name in sorted(secrets.keys() & parts["settings"].keys()):
            problems.add(f"{path}.secret_settings.{name}", "trait_twice")
        public["secret_settings"] = sorted(secrets)
    return Authenticator(public, parts.get("client_secret"), parts.get("dummy_password"), secrets)


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
