# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an export to Kubernetes does not carry over, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._kubernetes.z2jh import NOT_PUSHED, shares
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import declared_name

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
        ("egress", "Set `singleuser.networkPolicy.egress`."),
        ("group_egress", "The chart has one policy for all; label servers by group, and write a policy a label."),
        ("services", "Declare them in `hub.services` and `hub.loadRoles`."),
        ("provider_groups", "Set `manage_groups` and `auth_state_groups_key` of the authenticator."),
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
    if kind == "azuread":
        yield (
            "The signature of Microsoft's tokens.",
            "The chart's authenticator does not verify it, this collection's does.",
        )
    if hub["normalize_usernames"]:
        yield (
            "normalize_usernames.",
            "Listed people keep their names (`username_map`). Others get the name that the provider has for them.",
        )
    servers = [user["server_of"] for user in hub["users"] if user["server_of"]]
    if servers:
        yield (
            f"The servers of {', '.join(servers)}.",
            "They are left out. JupyterHub's documentation describes accounts for collaboration.",
        )
    yield (
        "Changes to users and groups.",
        "Export and upgrade again. Remove people on the hub's admin page, too: `load_groups` only adds, and sessions "
        "live on.",
    )


def _limits(hub: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in hub["limits"]:
        if name not in ("memory", "cpus") and any(limits[name] for limits in (hub["limits"], *hub["users"])):
            yield f"{name}.", _NOT_CARRIED.get(name, "Pods have what their node gives them.")
