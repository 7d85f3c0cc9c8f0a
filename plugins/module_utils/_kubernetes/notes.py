# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an export to Kubernetes does not carry over, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._kubernetes.z2jh import (
    NOT_EXPORTED,
    NOT_PUSHED,
    called,
    of_people,
    settings,
    shares,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import declared_name
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape

CHART = "4.4.0"
CHART_HUB = "5.5.0"
# Limits that the values do not have, and what there is instead.
_NOT_CARRIED = {
    "swap": "Kubernetes gives swap for a node: `memorySwap` of the kubelet.",
    "shm_size": "Mount an `emptyDir` with `medium: Memory` at /dev/shm, in `singleuser.storage.extraVolumes` and "
    "`extraVolumeMounts`.",
    "disk": "The size of a volume limits it: `singleuser.storage.capacity`, the same for all users.",
    "disk_warning": "The chart has no warning of this kind.",
    "pids": "Kubernetes limits processes for a node: `podPidsLimit` of the kubelet.",
    "gpus": "Install your cards' device plugin, and set `singleuser.extraResource.limits`, for example "
    '`nvidia.com/gpu: "1"`, the same for all users.',
}


def notes(hub: Mapping[str, Any], reset: Mapping[str, Any], location: Mapping[str, Any]) -> str:
    """The text of README.md. RESET and LOCATION: the hub's parts of reset_jobs and apache_vhosts."""
    name = hub["name"]
    parts = [
        f"# {name} on Kubernetes",
        f"Values for the Zero to JupyterHub chart {CHART} (https://z2jh.jupyter.org). They satisfy its schema. "
        "No cluster was asked.",
        "## Install",
        _install(name, shares(hub)),
        "## Before you install",
        _list(_before(hub)),
        "## What is not carried over",
        _list(_left(hub, reset, location)),
        *_names(hub),
    ]
    return "\n\n".join(parts) + "\n"


def _install(name: str, shared: bool) -> str:
    lines = [f"kubectl create namespace {name}"]
    if shared:
        lines.append(f"kubectl --namespace {name} apply -f volumes.yaml")
    lines += [
        "helm repo add jupyterhub https://hub.jupyter.org/helm-chart/",
        f"helm upgrade --install {name} jupyterhub/jupyterhub --version {CHART} --namespace {name} "
        "--values values.yaml --values secrets.yaml",
    ]
    return "\n".join(["```", *lines, "```"])


def _list(items: Iterator[tuple[str, str]]) -> str:
    return "\n".join(f"- **{what}** {todo}" for what, todo in items)


def _before(hub: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        f"The chart brings JupyterHub {CHART_HUB}.",
        "Images with JupyterHub 6 may not be able to log people in: `docker run --rm IMAGE jupyterhub --version` must "
        "say 5, or build the image with `jupyterhub==5.*`.",
    )
    for image in hub["images"]:
        declared = declared_name(image["image"])
        if declared:
            yield (
                f"The image {declared} is built on hosts.",
                f"Push it to a registry that the cluster reaches and write its name for {NOT_PUSHED}/{declared} in "
                "values.yaml.",
            )
    yield (
        "Sizes of volumes are not in the inventory.",
        "Each user gets the chart's 10Gi (`singleuser.storage.capacity`)"
        + (", and volumes.yaml asks for 10Gi for what people share; it needs a storage class with ReadWriteMany."
           if shares(hub) else "."),
    )  # fmt: skip
    yield (
        "The address.",
        f"An ingress controller must serve {hub['server_name']}"
        + (f" and *.{hub['server_name']}" if hub["user_domains"] else "")
        + (f", with the certificate in the secret {hub['name']}-tls." if hub["url"].startswith("https:") else "."),
    )


def _left(hub: Mapping[str, Any], reset: Mapping[str, Any], location: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if location["directives"]:
        yield (
            "WARNING: proxy.directives.",
            "Apache's directives end. If they let in only some, set the same limits at your ingress controller first "
            "(`ingress.annotations`): the hub is open to all who reach it.",
        )
    yield from _networks(hub)
    yield (
        "People's files.",
        "Restore a backup into the volumes: of each user's volume the folder `home`"
        + "".join(f", `{name}`" for name in hub["persist"])
        + (
            f"; into the volume {hub['name']}-shared what else lies in {hub['directory']}/data." if shares(hub) else "."
        ),
    )
    yield "The hub's database.", "People log in again; tokens that they made are gone."
    yield from _people(hub)
    yield from _limits(hub)
    if hub["users_view"] != "none":
        yield "users_view.", "Each home is a volume of its own: admins look at files through the user's server."
    if hub["sudo"]:
        yield "sudo.", "Set `singleuser.allowPrivilegeEscalation` and `singleuser.uid: 0` if your cluster allows root."
    if hub["devices"]:
        yield (
            f"devices ({', '.join(hub['devices'])}).",
            "Pods get devices from a device plugin of the cluster: `singleuser.extraResource.limits`.",
        )
    if hub["backups"]:
        yield (
            "backup.",
            "Nothing is backed up, and people have no page for it: back up the volumes and the hub's database with a "
            "program for Kubernetes, such as Velero.",
        )
    if hub["sharing"]:
        yield (
            "sharing.",
            "Give the role `user` the scopes `self`, `shares!user`, `read:users:name` and `read:groups:name` in "
            "`hub.loadRoles`.",
        )
    if hub["prune"] == "archive" or hub["delete_after_days"]:
        yield (
            "prune and delete_after_days.",
            "Volumes of people who have left stay until you delete them: `kubectl get pvc`.",
        )
    if hub["database"]["type"] == "postgresql":
        yield (
            "PostgreSQL.",
            "The chart starts none and uses SQLite; `hub.db.type` and `hub.db.url` name a server of yours.",
        )
    if hub["culler"]["max_age_seconds"] and not hub["culler"]["idle_seconds"]:
        yield "culler.max_age_seconds.", "Without idle_seconds nothing is culled, here as there."
    for key, words in (
        ("extra_config", "Put them into `hub.extraConfig`; the chart has no list of what they must leave alone."),
        ("extra_packages", "Build a hub's image with them and name it in `hub.image`."),
        ("services", "Declare them in `hub.services` and `hub.loadRoles`."),
        (
            "provider_groups",
            "The provider's members of these groups do not become members there, and get no folders of theirs: list "
            "them in `members`. JupyterHub's `manage_groups` would stop the hub, because the values have groups.",
        ),
    ):
        if hub[key]:
            yield f"{key}.", words
    if reset["at"]:
        yield (
            f"The reset at {reset['at']}.",
            "A server starts from its image anyway; `cull.maxAge` ends those that run long.",
        )
    yield (
        "Limits of requests.",
        f"Set {location['timeout_seconds']} s for idle connections"
        + (f" and {location['max_body_bytes']} bytes for uploads" if location["max_body_bytes"] else "")
        + " at your ingress controller.",
    )


def _people(hub: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = hub["authenticator"]["type"]
    if kind == "native":
        yield (
            "Passwords.",
            "Nobody can log in yet. Change to an identity provider first, or set "
            "`hub.config.NativeAuthenticator.enable_signup: true` while nobody else reaches the hub: whoever signs up "
            "with a listed name gets in, even with an admin's.",
        )
    if kind == "several":
        yield (
            "The authenticators.",
            "Nobody can log in yet: the chart has one authenticator at a time. Let a broker such as Keycloak combine "
            "yours, and set it in `hub.config`; people's names begin with the prefixes that they have here.",
        )
    if kind == "custom":
        yield (
            "The authenticator.",
            "Nobody can log in yet. Here, only listed people get in, and only by the class's own pages; there, the "
            "class decides alone: one that expects signed claims, such as LTI 1.3's, believes what is sent to "
            "/hub/login. Set one in `hub.config` only if it checks passwords or tokens itself and admits nobody else.",
        )
    given, exported = hub["authenticator"].get("settings", {}), settings(hub["authenticator"])
    dropped = sorted(name for name, setting in given.items() if exported.get(name) != setting)
    if dropped and kind not in NOT_EXPORTED:
        yield (
            f"Settings of the authenticator ({', '.join(dropped)}).",
            "What in them makes admins or admits people who are not listed is left out, because it has no effect here.",
        )
    if hub["authenticator"].get("guests"):
        yield (
            "Guests.",
            "The provider is asked again after a day, when their session ends. API tokens that they made do not end.",
        )
    if kind == "azuread":
        yield (
            "The signature of Microsoft's tokens.",
            "The chart's authenticator does not verify it, this collection's does.",
        )
    if hub["normalize_usernames"]:
        yield (
            "normalize_usernames.",
            "People have the provider's names there, in lower case: the chart would let in whoever has a shortened "
            "name at the provider.",
        )
        raw = [name for name in hub["blocked_identities"] if name in hub["blocked_users"] and "--" in name]
        if raw:
            yield (
                f"WARNING: blocked_users ({', '.join(raw)}).",
                "If these are shortened names, they block nobody there: write them as the provider has them.",
            )
    if kind == "ldap":
        yield (
            "The directory's certificate.",
            "It is checked, against the certificate authorities of the hub's image. Mount one of your own with "
            "`hub.extraFiles`, and write its path into `ca_certs_file` in `tls_kwargs`.",
        )
    servers = [user["server_of"] for user in hub["users"] if user["server_of"]]
    if servers:
        yield (
            f"The servers of {', '.join(servers)}.",
            "They are left out. JupyterHub's documentation describes accounts for collaboration.",
        )
    yield (
        "Changes to users and groups.",
        "Export and upgrade again. On the hub's admin page, also remove people and take back admin rights: "
        "`load_groups` and `admin_users` only add, and sessions live on.",
    )


def _networks(hub: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    policy = "singleuser.networkPolicy"
    if hub["egress"]:
        yield (
            "egress.",
            f"It is in `{policy}`, and holds if the cluster's network plugin enforces policies. Names can still be "
            "looked up, with `allow: []`, too.",
        )
    else:
        yield (
            "Internal networks.",
            "There, servers reach no private addresses (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16), such as a "
            f"database or a package mirror of yours: add them to `{policy}.egress`, or set "
            f"`{policy}.egressAllowRules.privateIPs: true`.",
        )
    if hub["group_egress"]:
        yield (
            f"WARNING: egress of the groups {', '.join(sorted(hub['group_egress']))}.",
            "The chart has one policy for all, here the hub's, and other policies can only add to it: a group's that "
            "allows less limits nothing. For one that allows more, label servers by group, and write a policy for the "
            "label.",
        )


def _names(hub: Mapping[str, Any]) -> Iterator[str]:
    """Whose files are whose, where people have other names than here."""
    users = [*of_people(hub)["users"], *hub["held_users"]]
    changed = {here: there for here, there in called({"users": users}).items() if here != there}
    guests = hub["normalize_usernames"] and hub["authenticator"].get("guests")
    if changed or guests:
        yield "## Names"
    if changed:
        yield "Folders in a backup, and whose they are:"
        yield "\n".join(f"- `data/users/{escape(here)}`: {there}" for here, there in sorted(changed.items()))
    if guests:
        yield (
            "WARNING: guests' folders have shortened names, too, and under such a name the provider may have somebody "
            "else. `data/hub/identities.json` says whose they are: restore none of them without looking there."
        )


def _limits(hub: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in hub["limits"]:
        if name not in ("memory", "cpus") and any(limits[name] for limits in (hub["limits"], *hub["users"])):
            yield f"{name}.", _NOT_CARRIED.get(name, "Pods have what their node gives them.")
