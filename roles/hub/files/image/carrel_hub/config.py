# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the role's two files into JupyterHub's configuration. No I/O."""

from __future__ import annotations

import hmac
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import ENVIRONMENT
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.domains import service_url
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import prefix_of
from sqlalchemy import URL

from . import disk, domains
from .files import DIRECTORY, Unusable
from .group_servers import GroupServers

VERSION = 1
AUTHENTICATORS = {
    "native": "carrel_hub.native.CarrelNativeAuthenticator",
    "github": "carrel_hub.authenticators.CarrelGitHubAuthenticator",
    "azuread": "carrel_hub.authenticators.CarrelAzureAdAuthenticator",
    "oidc": "carrel_hub.authenticators.CarrelOidcAuthenticator",
    "gitlab": "carrel_hub.authenticators.CarrelGitLabAuthenticator",
    "google": "carrel_hub.authenticators.CarrelGoogleAuthenticator",
    "cilogon": "carrel_hub.authenticators.CarrelCILogonAuthenticator",
    "ldap": "carrel_hub.directory.CarrelLDAPAuthenticator",
    "custom": "carrel_hub.custom.CarrelCustomAuthenticator",  # made by configuration.configure
    "dummy": "carrel_hub.authenticators.CarrelDummyAuthenticator",
    "several": "carrel_hub.several.CarrelSeveralAuthenticator",
}
# https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
MICROSOFT = {
    "global": "https://login.microsoftonline.com",
    "us": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
CULLER = "idle-culler"
ROSTER = "roster"
METRICS = "metrics"
RESET = "reset"
PROXY = "proxy"
BACKUPS = "backups"
BACKUPS_PORT = 8082
# https://github.com/jupyterhub/jupyterhub-idle-culler#permissions
CULLER_SCOPES = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
# The roster service makes no admins: refresh_user does that. It stops what somebody who leaves had access to.
ROSTER_SCOPES = ["admin:users", "admin:groups", "read:users:shares", "read:groups:shares", "delete:servers"]
# To share, users name people and groups. These scopes tell whether they exist, but give no list.
SHARING_SCOPES = ["shares!user", "read:users:name", "read:groups:name"]
# What members may do with the server of their group.
GROUP_SERVER_SCOPES = ["access:servers", "servers"]
# No access to servers: a program in one could keep a token that is sent to it.
RESET_SCOPES = ["list:users", "servers"]


def database_url(config: Mapping[str, Any], secrets: Mapping[str, Any], state: Path) -> str:
    database = config["database"]
    if database["type"] == "sqlite":
        return f"sqlite:///{state}/jupyterhub.sqlite"
    return URL.create(
        "postgresql+psycopg",
        username=database["user"],
        password=secrets["database_password"],
        host=database["host"],
        port=database.get("port"),
        database=database["name"],
    ).render_as_string(hide_password=False)


def address(service: str, config: Mapping[str, Any]) -> str:
    """Return the name of the hub or its proxy in their own network. In users' networks they have other names."""
    return f"{service}.{config['network']}"


def _services(config: Mapping[str, Any], secrets: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    culler = config["culler"]
    # JupyterHub gives this variable only to users' servers.
    variables = {"JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "1"} if config["user_domains"] else {}
    services: list[dict[str, Any]] = [
        {"name": METRICS, "api_token": secrets["metrics_token"]},
        {"name": RESET, "api_token": secrets["reset_token"]},
        {"name": PROXY, "api_token": secrets["proxy_token"]},  # bin/starting.mjs
        {"name": ROSTER, "command": [sys.executable, "-m", "carrel_hub.roster"]},
    ]
    scopes = {METRICS: ["read:metrics"], RESET: RESET_SCOPES, PROXY: ["proxy"], ROSTER: ROSTER_SCOPES}
    if culler["idle_seconds"]:
        scopes[CULLER] = CULLER_SCOPES
        command = [
            sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={culler['idle_seconds']}",
            f"--cull-every={culler['every_seconds']}", f"--max-age={culler['max_age_seconds']}",
        ]  # fmt: skip
        services.append({"name": CULLER, "command": command})
    if config["backups"]:
        # This service logs people in, gets only their names, and has no rights.
        command = [sys.executable, "-m", "carrel_hub.backups"]
        url = f"http://{address('hub', config)}:{BACKUPS_PORT}"
        backups = {"name": BACKUPS, "url": url, "command": command, "oauth_no_confirm": True, "display": False}
        services.append({**backups, "environment": variables})
    for service in config["services"]:
        entry = {key: service[key] for key in ("name", "url", "command", "environment") if service[key]}
        if "command" in entry and variables:
            entry["environment"] = {**variables, **(service["environment"] or {})}
        services.append({**entry, "api_token": secrets[f"services/{service['name']}"]})
        if service["scopes"]:
            scopes[service["name"]] = service["scopes"]
    # The inventory has names of services and groups. With an ending for each kind, no role has the name of another one,
    # or of JupyterHub's own: user, admin, server, token.
    roles = [{"name": f"{name}-service", "scopes": needed, "services": [name]} for name, needed in scopes.items()]
    ours = [{"name": BACKUPS, "access": "everybody"}] if config["backups"] else []
    for group, user in config["group_servers"].items():
        own = [f"{scope}!user={user}" for scope in GROUP_SERVER_SCOPES]
        roles.append({"name": f"{user}-server", "scopes": own, "groups": [group]})
    return services, [*roles, *_access([*ours, *config["services"]], SHARING_SCOPES if config["sharing"] else [])]


def _access(services: Iterable[Mapping[str, Any]], more: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield roles for the pages of services: for groups or everybody, otherwise only for admins.

    MORE has further scopes for everybody.
    """
    everybody = [*more]
    for service in services:
        scope = f"access:services!service={service['name']}"
        if service["access"] == "everybody":
            everybody.append(scope)
        elif service["access"]:
            yield {"name": f"{service['name']}-access", "scopes": [scope], "groups": service["access"]}
    if everybody:
        yield {"name": "user", "scopes": ["self", *everybody]}


def single(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the authenticators, one or several. If there are several, each has a name."""
    given = config["authenticator"]
    return list(given["each"]) if given["type"] == "several" else [given]


def own_settings(given: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the traits of an authenticator's class that the administrator sets."""
    secret = {name: secrets[secret_name(given, name)] for name in given.get("secret_settings", [])}
    return {**given.get("settings", {}), **secret}


def secret_name(given: Mapping[str, Any], trait: str) -> str:
    return f"authenticator/{given['name']}/{trait}" if "name" in given else f"authenticator/{trait}"


@dataclass(frozen=True)
class HasPassword:
    """Whether a user has a password in the hub, for its templates. Of several authenticators, only native has some."""

    prefix: str
    prefixes: Sequence[str]

    def __call__(self, user: Any) -> bool:
        return user is not None and prefix_of(user.name, self.prefixes) == self.prefix


def _password(each: Sequence[Mapping[str, Any]]) -> HasPassword | bool:
    native = next((one for one in each if one["type"] == "native"), None)
    if native is None or "prefix" not in native:
        return native is not None
    return HasPassword(native["prefix"], [one["prefix"] for one in each])


def _auth_state_key(secrets: Mapping[str, Any]) -> bytes:
    """Return a key that differs from the cookies' key, but is made from the same secret."""
    return hmac.digest(bytes.fromhex(secrets["cookie_secret"]), b"auth state", "sha256")


def _authenticator(config: Mapping[str, Any], given: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return an authenticator's own traits."""
    kind = given["type"]
    if kind == "several":
        return {"members": [_member(config, each, secrets) for each in given["each"]]}
    if kind == "native":
        key = bytes.fromhex(secrets["cookie_secret"])
        return {"enable_signup": given["signup"], "minimum_password_length": 8, "key": key}
    if kind == "dummy":
        return {"password": secrets["dummy_password"]}
    # allow_all would bypass the roster.
    own = own_settings(given, secrets)
    traits: dict[str, Any] = {
        "guests": given["guests"],
        "everybody": own.pop("allow_all", False),
        "user_domains": config["user_domains"],
    }
    if kind == "ldap":
        groups = own.pop("allowed_groups", [])
        traits |= {
            "server_address": given["server_address"],
            "guest_groups": groups,
            "allowed_groups": sorted({*groups, *_groups(config, given)}),
        }
    if kind in ("ldap", "custom"):
        return {**own, **traits}
    return {**own, **traits, **_oauth(config, given, secrets)}


def _groups(config: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return the groups of this provider in the inventory."""
    named = config["provider_groups"]
    if "name" not in given:
        return list(named)
    own = f"{given['name']}:"
    return [group.removeprefix(own) for group in named if group.startswith(own)]


def _member(config: Mapping[str, Any], given: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of several authenticators. It needs all prefixes to decide to which one a name belongs."""
    names: dict[str, Any] = {"prefix": given["prefix"], "prefixes": [each["prefix"] for each in single(config)]}
    if given["type"] != "native":
        names["provider"] = given["name"]
    traits = {**_authenticator(config, given, secrets), **_common(config, given), **names}
    place = {name: given[name] for name in ("name", "title")}
    return {**place, "class": AUTHENTICATORS[given["type"]], "traits": traits}


def _oauth(config: Mapping[str, Any], given: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the traits of a class of oauthenticator for which the inventory has keys."""
    kind = given["type"]
    several = "name" in given
    place = f"login/{given['name']}/" if several else ""
    traits: dict[str, Any] = {
        "client_id": given["client_id"],
        "client_secret": secrets[secret_name(given, "client_secret") if several else "client_secret"],
        "oauth_callback_url": f"{config['url']}hub/{place}oauth_callback",
    }
    if kind == "github":
        organizations = given["allowed_organizations"]
        traits["allowed_organizations"] = set(organizations)
        # Private memberships are visible only with this scope.
        if organizations:
            traits["scope"] = ["read:org"]
    elif kind == "azuread":
        cloud = MICROSOFT[given["cloud"]]
        tenant = f"{cloud}/{given['tenant_id']}"
        traits |= {
            "tenant_id": given["tenant_id"],
            "username_claim": given["username_claim"],
            "graph_url": cloud,
            "authorize_url": f"{tenant}/oauth2/v2.0/authorize",
            "token_url": f"{tenant}/oauth2/v2.0/token",
            "scope": ["openid", "profile", "email"],
        }
    elif kind == "oidc":
        names = ("username_claim", "authorize_url", "token_url", "userdata_url", "login_service")
        traits |= {name: given[name] for name in names}
        traits["scope"] = given["scopes"]
        if given["groups_claim"]:
            traits["auth_state_groups_key"] = f"oauth_user.{given['groups_claim']}"
    return traits


def _asks_again(given: Mapping[str, Any]) -> bool:
    """Whether the hub asks GitHub about guests while they work, with data from their log-in."""
    return given["type"] == "github" and bool(given["allowed_organizations"] or given["guests"])


def _common(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return traits that every authenticator has."""
    return {
        "any_allow_config": True,  # the roster decides
        "allow_existing_users": False,
        "normalized": config["normalize_usernames"],
        # JupyterHub calls refresh_user for requests, at most once a second. It reads the roster.
        "auth_refresh_age": 1,
        "enable_auth_state": any(map(_asks_again, given.get("each", [given]))),
        "auth_refresh_strict": True,
    }


def traits(config: Mapping[str, Any], secrets: Mapping[str, Any], state: Path) -> dict[str, dict[str, Any]]:
    """Return all traits by class."""
    if config.get("version") != VERSION:
        raise Unusable(f"config.json has version {config.get('version')!r}, this image reads {VERSION}")
    given, each = config["authenticator"], single(config)
    name = AUTHENTICATORS[given["type"]]
    services, roles = _services(config, secrets)
    hub: dict[str, Any] = {
        "spawner_class": "carrel_hub.spawner.CarrelSpawner",
        "authenticator_class": name,
        "proxy_class": "carrel_hub.proxy.CarrelProxy",
        "base_url": config["base_url"],
        "public_url": config["url"],
        "hub_bind_url": "http://0.0.0.0:8081",
        "hub_connect_url": "http://hub:8081",
        "cookie_secret": bytes.fromhex(secrets["cookie_secret"]),
        "db_url": database_url(config, secrets, state),
        "upgrade_db": True,  # JupyterHub copies SQLite's file first
        "pid_file": "",
        "cleanup_servers": False,
        "cleanup_proxy": False,
        "allow_named_servers": False,
        "concurrent_spawn_limit": config["concurrent_spawns"],
        "active_server_limit": config["active_servers"],
        "shutdown_on_logout": config["shutdown_on_logout"],
        "services": services,
        "load_roles": roles,
        "template_paths": [str(DIRECTORY / "templates"), str(Path(__file__).parent / "templates")],
        "template_vars": {
            "notice_html": config["notice_html"],
            "carrel_native": any(one["type"] == "native" for one in each),
            "carrel_password": _password(each),
            "carrel_disk": disk.notice_of,
            "carrel_group_servers": GroupServers(config["group_servers"]),
            "carrel_backups": service_url(config["url"], BACKUPS, config["user_domains"]) if config["backups"] else "",
        },
    }
    if config["user_domains"]:
        hub["subdomain_host"] = config["url"].rstrip("/")
        hub["subdomain_hook"] = domains.subdomain
        # Users' pages can set all cookies without this prefix for the hub and for other servers.
        hub["cookie_host_prefix_enabled"] = True
    if urlsplit(config["url"]).scheme == "https":
        hub["tornado_settings"] = {"cookie_options": {"secure": True}}
    if config["provider_groups"] or any(one.get("guests") and one["type"] != "github" for one in each):
        # These providers are asked only at the log-in. A day is authenticators.GUEST_SECONDS.
        hub["cookie_max_age_days"] = 1
    if config["database"]["type"] == "postgresql":
        hub["db_kwargs"] = {"pool_pre_ping": True}
    return {
        "JupyterHub": hub,
        "CryptKeeper": {"keys": [_auth_state_key(secrets)] if any(map(_asks_again, each)) else []},
        "ConfigurableHTTPProxy": {
            "should_start": False,
            "api_url": f"http://{address('proxy', config)}:8001",
            "auth_token": secrets["proxy_token"],
        },
        "CarrelSpawner": {
            "instance": config["name"],
            "network": config["network"],
            "image": config["images"][0]["image"],
            "allowed_images": {entry["title"]: entry["image"] for entry in config["images"]}
            if len(config["images"]) > 1
            else {},
            "cmd": config["command"],
            # How long servers remember the hub's yes. The default of five minutes is too long after a removal.
            "args": ["--HubOAuth.cache_max_age=10"],
            "notebook_dir": config["home"],
            "environment": {**ENVIRONMENT, **config["environment"]},
            "default_url": config["default_url"],
            "start_timeout": config["spawn_timeout_seconds"],
            "http_timeout": config["http_timeout_seconds"],
        },
        name.rpartition(".")[2]: {
            **_authenticator(config, given, secrets),
            **_common(config, given),
        },
    }
