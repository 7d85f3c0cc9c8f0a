# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub of the plan as values of the Zero to JupyterHub chart, version 4."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._people.group_mounts import Plan as MountsPlan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import declared_name, size_text
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.login_page import notice_from_text
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.mounts import Mounts

GIB = 1 << 30
DATA = "/data"  # stands for the volume with what people share
SHARED = "shared"
FOLDER = "/usr/local/etc/jupyterhub"  # of the chart's own jupyterhub_config.py
TEMPLATES = "/usr/local/share/carrel/templates"
# JupyterLab reads it in every image, whichever Python the image has.
SETTINGS = "/usr/local/etc/jupyter/labconfig/default_setting_overrides.json"
SERVER_SETTINGS = "/usr/local/etc/jupyter/jupyter_server_config.json"
MICROSOFT = {
    "global": "https://login.microsoftonline.com",
    "us": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
NOT_PUSHED = "registry.invalid"
# The chart's LDAPAuthenticator does not check certificates by default; 2 is Python's ssl.CERT_REQUIRED.
TLS = {"validate": 2, "ca_certs_file": "/etc/ssl/certs/ca-certificates.crt"}
AUTHENTICATORS = {
    "native": ("native", "NativeAuthenticator"),
    "github": ("github", "GitHubOAuthenticator"),
    "azuread": ("azuread", "AzureAdOAuthenticator"),
    "oidc": ("generic-oauth", "GenericOAuthenticator"),
    "gitlab": ("gitlab", "GitLabOAuthenticator"),
    "google": ("google", "GoogleOAuthenticator"),
    "cilogon": ("cilogon", "CILogonOAuthenticator"),
    "ldap": ("ldapauthenticator.LDAPAuthenticator", "LDAPAuthenticator"),
    "dummy": ("dummy", "DummyAuthenticator"),
    # Nobody gets in until the notes have been read: there, a class decides alone whom it believes.
    "several": ("null", "NullAuthenticator"),
    "custom": ("null", "NullAuthenticator"),
}
NOT_EXPORTED = ("several", "custom")
# What admits people beyond the list. Here, without `guests`, it admits nobody.
ADMITTING = ("allow_all", "allowed_domains", "allowed_domains_claim")
# Docker shares processors; Kubernetes reserves as many as the limit, unless a pod asks for less.
PROCESSORS = 0.05
START_SECONDS = 300  # the chart's own: a node may have to start, and pull the image


def of_people(hub: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hub without the users of servers of groups: there, anybody could sign up with their names."""
    users = [user for user in hub["users"] if user["server_of"] is None]
    names = {user["name"] for user in users}
    groups = [
        {**group, **{role: sorted(names.intersection(group[role])) for role in ("members", "admins")}}
        for group in hub["groups"]
    ]
    return {**hub, "users": users, "groups": groups}


def values(hub: Mapping[str, Any], program: str) -> dict[str, Any]:
    """All but the secrets. PROGRAM: the text of playbooks/files/z2jh/carrel.py."""
    files: dict[str, Any] = {
        "carrel-people": {"mountPath": f"{FOLDER}/carrel.json", "stringData": json.dumps(people(hub), indent=1)},
        "carrel-program": {"mountPath": f"{FOLDER}/jupyterhub_config.d/carrel.py", "stringData": program},
    }
    variables: dict[str, str] = {}
    login = hub["login"]
    if login["template"]:
        files["carrel-login"] = {"mountPath": f"{TEMPLATES}/{login_page(hub)}", "stringData": login["template"]}
    elif login["notice"] or login["notice_html"]:
        variables["announcement_login"] = login["notice_html"] or notice_from_text(login["notice"])
    return {
        "hub": {
            "baseUrl": hub["base_url"],
            "concurrentSpawnLimit": hub["concurrent_spawns"],
            "activeServerLimit": hub["active_servers"] or None,
            "shutdownOnLogout": hub["shutdown_on_logout"],
            "config": _config(hub),
            "extraFiles": files,
            "templatePaths": [TEMPLATES] if login["template"] else [],
            "templateVars": variables,
        },
        "singleuser": _singleuser(hub),
        "cull": {
            "enabled": hub["culler"]["idle_seconds"] > 0,
            "timeout": hub["culler"]["idle_seconds"],
            "every": hub["culler"]["every_seconds"],
            "maxAge": hub["culler"]["max_age_seconds"],
        },
        "proxy": {
            "service": {"type": "ClusterIP"},
            "chp": {"extraCommandLineFlags": ["--host-routing"] if hub["user_domains"] else []},
        },
        "ingress": _ingress(hub),
    }


def secrets(hub: Mapping[str, Any]) -> dict[str, Any]:
    """What no one else may read; an environment often holds passwords."""
    environment = {name: _literal(text) for name, text in sorted(hub["environment"].items())}
    found: dict[str, Any] = {"singleuser": {"extraEnv": environment}}
    _name, section = authenticator_class(hub)
    secret = {
        "client_secret": hub["client_secret"], "password": hub["dummy_password"], **hub["authenticator_secrets"],
    }  # fmt: skip
    exported = hub["authenticator"]["type"] not in NOT_EXPORTED
    given = {key: text for key, text in secret.items() if text and exported}
    if given:
        found["hub"] = {"config": {section: given}}
    return found


def volumes(hub: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Manifests of what must be there before the chart: the volume that people share."""
    if not shares(hub):
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"{hub['name']}-{SHARED}"},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Gi"}}},
        }
    ]


def shares(hub: Mapping[str, Any]) -> bool:
    return bool(hub["shared"] or hub["colab"] or hub["groups"])


def people(hub: Mapping[str, Any]) -> dict[str, Any]:
    """What carrel.py reads: sets of mounts, each written once, and who has which and other limits than everybody."""
    mounts = Mounts(_mounts(hub))
    sets: list[list[dict[str, Any]]] = []

    def number(name: str) -> int:
        own = [
            {
                "mountPath": mount.target,
                "subPath": mount.source.removeprefix(f"{DATA}/"),
                "readOnly": mount.mode == "ro",
            }
            for mount in mounts.effective(name)
        ]
        if own not in sets:
            sets.append(own)
        return sets.index(own)

    everybody, names = number(""), called(hub)
    users: dict[str, dict[str, Any]] = {}
    for user in hub["users"]:
        limits = {key: user[key] for key in ("memory", "cpus") if user[key] != hub["limits"][key]}
        own = number(user["name"])
        if limits or own != everybody:
            users[names[user["name"]]] = {"mounts": own, **limits}
    claim, unsaid = _verified(hub["authenticator"])
    return {"volume": SHARED, "mounts": sets, "users": users, "verified": claim, "unsaid": unsaid}


def called(hub: Mapping[str, Any]) -> dict[str, str]:
    """People's names there, by those here.

    The chart does not compare identities: under a shortened name, whoever has it at the provider would get in, too.
    """
    return {user["name"]: _lower(user["identity"]) for user in hub["users"]}


def _lower(identity: str) -> str:
    """As JupyterHub has a provider's name."""
    return identity.strip().lower()


def _verified(given: Mapping[str, Any]) -> tuple[str | None, bool]:
    """The claim that says whether an address which is a name was verified, and what counts if it is missing."""
    if given["type"] == "google":  # its class does not ask with allow_all
        return "verified_email", False
    return ("email_verified", True) if given["type"] == "oidc" and given["username_claim"] == "email" else (None, True)


def login_page(hub: Mapping[str, Any]) -> str:
    return "native-login.html" if hub["authenticator"]["type"] == "native" else "login.html"


def _mounts(hub: Mapping[str, Any]) -> dict[str, Any]:
    """The mounts file without people's own directories, which are volumes of their own here."""
    plan = MountsPlan(
        {
            "path": DATA,
            "file": "/mounts.json",
            "home": hub["home"],
            "targets": hub["targets"],
            "users": [{"name": user["name"], "groups": [], "admin": user["admin"]} for user in hub["users"]],
            "user_directories": [],
            "groups": [{**group, "mounts": _below_data(hub, group["mounts"])} for group in hub["groups"]],
            "shared": hub["shared"],
            "colab": hub["colab"],
            "users_view": "none",
            "allow_empty": True,
        }
    )
    if plan.problems:
        raise ValueError(plan.message())
    return plan.content


def _below_data(hub: Mapping[str, Any], mounts: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Sources may be written with the whole path of the host."""
    data = f"{hub['directory']}/data/"
    return mounts and [{**mount, "source": mount["source"].removeprefix(data)} for mount in mounts]


def _config(hub: Mapping[str, Any]) -> dict[str, Any]:
    kind = hub["authenticator"]["type"]
    name, section = authenticator_class(hub)
    names = called(hub)
    hubs: dict[str, Any] = {
        "authenticator_class": name,
        "load_groups": {
            group["name"]: {"users": sorted({names[user] for user in (*group["members"], *group["admins"])})}
            for group in hub["groups"]
        },
    }
    given = hub["authenticator"]
    if given.get("allowed_organizations") or given.get("guests") or hub["provider_groups"]:
        hubs["cookie_max_age_days"] = 1  # the provider is asked at the log-in only
    if hub["user_domains"]:
        hubs |= {"subdomain_host": hub["url"].rstrip("/"), "cookie_host_prefix_enabled": True}
    users = hub["users"]
    return {
        "JupyterHub": hubs,
        "Authenticator": {
            "allowed_users": [names[user["name"]] for user in users],
            "admin_users": [names[user["name"]] for user in users if user["admin"]],
            "blocked_users": sorted({*hub["blocked_users"], *map(_lower, hub["blocked_identities"])}),
            # Otherwise people who are removed from the list could still log in.
            "allow_existing_users": False,
        },
        # Only what is in the home outlives the pod.
        "KubeSpawner": {"http_timeout": hub["http_timeout_seconds"], "notebook_dir": hub["home"]},
        section: _authenticator(hub, kind),
    }


def authenticator_class(hub: Mapping[str, Any]) -> tuple[str, str]:
    """How the chart calls it, and the section with its traits."""
    return AUTHENTICATORS[hub["authenticator"]["type"]]


def _authenticator(hub: Mapping[str, Any], kind: str) -> dict[str, Any]:
    given = hub["authenticator"]
    return {} if kind in NOT_EXPORTED else {**settings(given), **_traits(hub, given, kind)}


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the class's settings without those that make admins or, without `guests`, admit people, who are listed."""
    found = {name: setting for name, setting in given.get("settings", {}).items() if not name.startswith("admin_")}
    if not given.get("guests"):
        for name in ("allowed_idps", "idps"):
            if isinstance(found.get(name), Mapping):
                found[name] = {provider: _identifying(entry) for provider, entry in found[name].items()}
    return found


def _identifying(entry: Any) -> Any:
    return {key: each for key, each in entry.items() if key not in ADMITTING} if isinstance(entry, Mapping) else entry


def _traits(hub: Mapping[str, Any], given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind == "native":
        # There, anyone who signs up with an allowed name gets in: nobody may before the notes have been read.
        return {"enable_signup": False, "minimum_password_length": 8}
    if kind == "dummy":
        return {}
    if kind == "ldap":
        own = given["settings"].get("tls_kwargs", {})
        return {"server_address": given["server_address"], "tls_kwargs": {**TLS, **own}}
    traits: dict[str, Any] = {
        "client_id": given["client_id"],
        "oauth_callback_url": f"{hub['url']}hub/oauth_callback",
    }
    if kind == "github":
        traits["allowed_organizations"] = given["allowed_organizations"]
        traits["scope"] = ["read:org"] if given["allowed_organizations"] else []
        return traits
    if kind in ("gitlab", "google", "cilogon"):
        return traits
    traits["username_claim"] = given["username_claim"]
    if kind == "azuread":
        tenant = f"{MICROSOFT[given['cloud']]}/{given['tenant_id']}"
        return traits | {
            "tenant_id": given["tenant_id"],
            "authorize_url": f"{tenant}/oauth2/v2.0/authorize",
            "token_url": f"{tenant}/oauth2/v2.0/token",
            "scope": ["openid", "profile", "email"],
        }
    names = ("authorize_url", "token_url", "userdata_url", "login_service")
    return traits | {name: given[name] for name in names} | {"scope": given["scopes"]}


def _singleuser(hub: Mapping[str, Any]) -> dict[str, Any]:
    memory, processors = hub["limits"]["memory"], hub["limits"]["cpus"]
    owner = [int(part) for part in hub["owner"].split(":")] if hub["owner"] else [None, None]
    home = "volume-{user_server}"
    found: dict[str, Any] = {
        "image": _image(hub["images"][0]["image"]),
        "profileList": _profiles(hub["images"]),
        "cmd": hub["command"],
        "defaultUrl": hub["default_url"],
        "startTimeout": max(hub["spawn_timeout_seconds"], START_SECONDS),
        # Kubernetes refuses a guarantee above the limit; the chart's own is 1G.
        "memory": {"limit": memory and size_text(memory), "guarantee": size_text(min(memory or GIB, GIB))},
        "cpu": {"limit": processors, "guarantee": processors and min(processors, PROCESSORS)},
        "storage": {
            "homeMountPath": hub["home"],
            "dynamic": {"subPath": "home"},
            "extraVolumes": {
                SHARED: {"name": SHARED, "persistentVolumeClaim": {"claimName": f"{hub['name']}-{SHARED}"}}
            }
            if shares(hub)
            else {},
            "extraVolumeMounts": {
                f"own-{name}": {"name": home, "mountPath": target, "subPath": name}
                for name, target in hub["persist"].items()
            },
        },
    }
    if hub["egress"]:
        networks = [{"to": [{"ipBlock": {"cidr": network}}]} for network in hub["egress"]["allow"]]
        # The chart's own rule allows every public address.
        found["networkPolicy"] = {"egress": networks, "egressAllowRules": {"nonPrivateIPs": False}}
    if hub["owner"]:
        found["uid"], found["fsGid"] = owner
    files = {
        name: {"mountPath": path, "stringData": json.dumps(hub[key], indent=1)}
        for name, key, path in (("settings", "settings", SETTINGS), ("server", "server_settings", SERVER_SETTINGS))
        if hub[key]
    }
    if files:
        found["extraFiles"] = files
    return found


def _image(image: str | Mapping[str, str]) -> dict[str, Any]:
    """The chart joins name and tag by a colon, which is how a digest fits in."""
    name, _colon, tag = _reference(image).rpartition(":")
    return {"name": name, "tag": tag}


def _reference(image: str | Mapping[str, str]) -> str:
    declared = declared_name(image)
    return f"{NOT_PUSHED}/{declared}:not-pushed" if declared else str(image)


def _profiles(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(images) == 1:
        return []
    profiles: list[dict[str, Any]] = [
        {"display_name": entry["title"], "kubespawner_override": {"image": _reference(entry["image"])}}
        for entry in images
    ]
    return [{**profiles[0], "default": True}, *profiles[1:]]


def _literal(text: str) -> str:
    """KubeSpawner fills in what stands in braces, Kubernetes what stands in $( )."""
    return text.replace("{", "{{").replace("}", "}}").replace("$", "$$")


def _ingress(hub: Mapping[str, Any]) -> dict[str, Any]:
    secure = hub["url"].startswith("https:")
    hosts = [hub["server_name"], *([f"*.{hub['server_name']}"] if hub["user_domains"] else [])]
    tls = [{"hosts": hosts, "secretName": f"{hub['name']}-tls"}] if secure else []
    return {"enabled": True, "hosts": hosts, "tls": tls}
