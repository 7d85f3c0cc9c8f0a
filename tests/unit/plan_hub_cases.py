# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a plan about hubs: id, path, what the message must contain, inputs."""

from __future__ import annotations

from typing import Any

from plan_helpers import CLASS, GEO, TAO, at_hub, here, host, hub, lab

CLIENT = {"client_id": "hub", "client_secret": "SECRET"}
OIDC = {
    "type": "oidc",
    **CLIENT,
    "authorize_url": "https://id.example.org/auth",
    "token_url": "https://id.example.org/token",
    "userdata_url": "https://id.example.org/me",
}
AZURE = {"type": "azuread", **CLIENT, "tenant_id": "11111111-2222-3333-4444-555555555555"}


def login(base: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return at_hub(authenticator={key: item for key, item in {**base, **keys}.items() if item is not ...})


def mounts(*entries: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return at_hub(groups={"stat": {"members": ["ada"], "mounts": list(entries)}}, **keys)


def ldap(**keys: Any) -> dict[str, Any]:
    return login({"type": "ldap", "server_address": "ldap.example"}, **keys)


def domains(url: str, **keys: Any) -> dict[str, Any]:
    return at_hub(user_domains=True, url=url, **keys)


DOMAINS = hub(user_domains=True)

OWN_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("extra_config_file", f"{CLASS}.extra_config", "write the path of a file", at_hub(extra_config="missing.py")),
    ("wrong_type", f"{CLASS}.extra_config", "write the path of a Python file, or a list", at_hub(extra_config=1)),
    ("wrong_type", f"{CLASS}.extra_config[0]", "write the path of a Python file", at_hub(extra_config=[1])),
    ("file_twice", f"{CLASS}.extra_config[1]", "'a.py' is listed twice", at_hub(extra_config=["a.py", "a.py"])),
    ("package", f"{CLASS}.extra_packages[0]", "write name==version", at_hub(extra_packages=["numpy>=2"])),
    ("package", f"{CLASS}.extra_packages[0]", "is not a package", at_hub(extra_packages=["a==1 --index-url=x"])),
    (
        "service_name",
        f"{CLASS}.services[0].name",
        "none of backups, idle-culler",
        at_hub(services=[{"name": "roster"}]),
    ),
    ("service_twice", f"{CLASS}.services[1].name", "'a' is also", at_hub(services=[{"name": "a"}, {"name": "a"}])),
    ("service_url", f"{CLASS}.services[0].url", "a host", at_hub(services=[{"name": "a", "url": "http://u:p@h"}])),
    (
        "service_group",
        f"{CLASS}.services[0].access",
        "did you mean 'stat'?",
        at_hub(services=[{"name": "a", "access": ["stats"]}], groups={"stat": {"members": ["ada"]}}),
    ),
    ("class_name", f"{CLASS}.authenticator.class", "its module", login({"type": "custom", "class": "Mine"})),
    ("missing", f"{CLASS}.authenticator.class", "the class's full name", login({"type": "custom"})),
    ("missing", f"{CLASS}.authenticator.server_address", "host name", ldap(server_address=...)),
    ("trait_name", f"{CLASS}.authenticator.settings", "'Enable' is not", ldap(settings={"Enable": 1})),
    (
        "trait_secret",
        f"{CLASS}.authenticator.settings.a_password",
        "secret_settings",
        ldap(settings={"a_password": "x"}),
    ),
    (
        "trait_twice",
        f"{CLASS}.authenticator.secret_settings.a",
        "keep it here",
        ldap(settings={"a": 1}, secret_settings={"a": "SECRET"}),
    ),
    (
        "provider_groups",
        f"{CLASS}.groups.g.provider_groups",
        "with native",
        at_hub(groups={"g": {"members": ["ada"], "provider_groups": ["x"]}}),
    ),
]

# Each user's server has a name below the hub's.
DOMAINS_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("sharing_domains", f"{CLASS}.sharing", "user_domains: true", at_hub(sharing=True)),
    ("group_server_domains", f"{CLASS}.groups.g.server", "user_domains: true", at_hub(groups={"g": {"server": True}})),
    ("domains_path", f"{CLASS}.url", "without a path", domains("https://example.org/hub1/")),
    ("domains_address", f"{CLASS}.user_domains", "below 192.0.2.1", domains("https://192.0.2.1/")),
    ("domains_http", f"{CLASS}.user_domains", "https:// in url", domains("http://class101.example.org/", tls=...)),
    *(
        ("domains_host", f"{GEO}.url", "at all names below", {"instances": [DOMAINS, lab(name="geo", url=url)]})
        for url in (
            "https://class101.example.org:8443/",
            "https://a.class101.example.org/",
            "https://b.a.class101.example.org/x/",
        )
    ),
]  # fmt: skip

HUB_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    *OWN_CASES,
    *DOMAINS_CASES,
    # keys
    ("other_kind", f"{CLASS}.token_file", "is not a key of a hub; leave it out, users log in", at_hub(token_file="/t")),
    ("other_kind", f"{CLASS}.memory", "write it in limits", at_hub(memory="8G")),
    ("size", f"{CLASS}.memory", "'lots' is not a size", at_hub(memory="lots")),
    ("other_kind", f"{CLASS}.collaboration", "is not a key of a hub; leave it out", at_hub(collaboration=True)),
    ("other_kind", f"{TAO}.users", "is not a key of a lab; write password or token", here(users=["ada"])),
    ("gpus_few", f"{CLASS}.limits.gpus", "1 is more than the hub has", at_hub(limits={"gpus": 1})),
    (
        "gpus_few",
        f"{CLASS}.groups.stat.gpus",
        "at most 1",
        at_hub(groups={"stat": {"members": ["ada"], "gpus": 2}}, gpu_devices=["nvidia.com/gpu=0"]),
    ),
    ("gpus_few", f"{CLASS}.users[0].gpus", "at most 0", at_hub(users=[{"name": "ada", "gpus": 1}])),
    ("range", f"{CLASS}.limits.gpus", "from 0 to 64", at_hub(limits={"gpus": -1})),
    ("other_kind", f"{TAO}.gpu_devices", "write devices", here(gpu_devices=["nvidia.com/gpu=0"])),
    ("other_kind", f"{TAO}.prune", "is not a key of a lab; leave it out", here(prune="keep")),
    *(
        (
            "backend_moved",
            f"{CLASS}.backend",
            f"are in {old} on the host, and with {other} everybody would get an empty home; write backend: {old}, or",
            {
                **at_hub(backend=new, state=state),
                "current": host(instances={"class101": {"kind": "hub", "backend": old}}),
            },
        )
        for old, new, other, state in (
            ("directories", "volumes", "volumes", "present"),
            ("volumes", "directories", "directories", "held"),
            ("volumes", ..., "directories", "present"),
        )
    ),
    (
        "kind_moved",
        f"{CLASS}.kind",
        "is a lab on the host",
        {**at_hub(), "current": host(instances={"class101": {"engine": "class101", "port": 8801, "kind": "lab"}})},
    ),
    (
        "kind_moved",
        f"{TAO}.kind",
        "write kind: hub",
        {
            **here(state="absent", kind="lab"),
            "current": host(instances={"tao": {"engine": "tao", "port": 8801, "kind": "hub"}}),
        },
    ),
    ("unknown_key", f"{CLASS}.user_csv", "did you mean 'users_csv'?", at_hub(user_csv="x")),
    ("missing", f"{CLASS}.image", "images: [{title, image}, ...]", at_hub(image=...)),
    ("image_and_images", f"{CLASS}.images", "keep one", at_hub(images=[{"title": "a", "image": "a:1"}])),
    ("image_tag", f"{CLASS}.image", "write a tag", at_hub(image="localhost:5000/lab")),
    ("image_tag", f"{CLASS}.images[0].image", "write a tag", at_hub(image=..., images=[{"title": "a", "image": "a"}])),
    ("image_tag", f"{CLASS}.database.image", "write a tag", at_hub(database={"type": "postgresql", "image": "pg"})),
    (
        "title_twice",
        f"{CLASS}.images[1].title",
        "'a' is also",
        at_hub(image=..., images=[{"title": "a", "image": "a:1"}, {"title": "a", "image": "a:2"}]),
    ),
    ("empty", f"{CLASS}.images", "write a list of {title, image}", at_hub(image=..., images=[])),
    ("persist_name", f"{CLASS}.persist", "not home", at_hub(persist={"home": "/opt/x"})),
    (
        "persist_in_home",
        f"{CLASS}.persist.x",
        "'/home/jovyan/work/x' lies in",
        at_hub(persist={"x": "/home/jovyan/work/x"}),
    ),
    ("persist_over_home", f"{CLASS}.persist.x", "'/home' holds the home", at_hub(persist={"x": "/home"})),
    ("target_twice", f"{CLASS}.persist.b", "where persist.a", at_hub(persist={"a": "/opt/x", "b": "/opt/x"})),
    (
        "environment_reserved",
        f"{CLASS}.environment.JUPYTERHUB_HOST",
        "leave",
        at_hub(environment={"JUPYTERHUB_HOST": "1"}),
    ),
    ("volumes_view", f"{CLASS}.users_view", "write none", at_hub(backend="volumes", users_view="ro")),
    (
        "volumes_prune",
        f"{CLASS}.prune",
        "authenticator.signup lets in; write keep",
        at_hub(backend="volumes", users_view="none", prune="archive", authenticator={"type": "native", "signup": True}),
    ),
    ("default_url", f"{CLASS}.default_url", "'lab' is not a path", at_hub(default_url="lab")),
    ("default_url", f"{CLASS}.default_url", "is not a path", at_hub(default_url="//evil.example")),
    ("wrong_type", f"{CLASS}.default_url", "for example /lab", at_hub(default_url=1)),
    ("database_image", f"{CLASS}.database.image", "sqlite needs", at_hub(database={"type": "sqlite", "image": "a:1"})),
    ("choice", f"{CLASS}.database.type", "write sqlite or postgresql", at_hub(database="mysql")),
    ("settings_plugin", f"{CLASS}.settings", "'themes' is not the name", at_hub(settings={"themes": {}})),
    ("settings_plugin", f"{CLASS}.settings", "'../x:y' is not", at_hub(settings={"../x:y": {}})),
    ("wrong_type", f"{CLASS}.settings.a:b", "a mapping of the plugin's settings", at_hub(settings={"a:b": "dark"})),
    ("wrong_type", f"{CLASS}.settings.a:b[0]", "what JSON has", at_hub(settings={"a:b": {"c": [float("inf")]}})),
    ("wrong_type", f"{CLASS}.settings", "a mapping, for example", at_hub(settings=[])),
    ("network", f"{CLASS}.egress.allow[0]", "docs/howto/firewall.md", at_hub(egress={"allow": ["pypi.org"]})),
    ("network", f"{CLASS}.egress.allow[0]", "'192.0.2.1/24' is not", at_hub(egress={"allow": ["192.0.2.1/24"]})),
    ("network", f"{CLASS}.egress.allow[0]", "is not a network of IPv4", at_hub(egress={"allow": ["2001:db8::/32"]})),
    ("wrong_type", f"{CLASS}.egress.allow[0]", "in quotes, for example 192", at_hub(egress={"allow": [7]})),
    ("missing", f"{CLASS}.egress.allow", "[] for none", at_hub(egress={})),
    ("missing", f"{CLASS}.groups.g.egress.allow", "[] for none", at_hub(groups={"g": {"egress": {}}})),
    (
        "network",
        f"{CLASS}.groups.g.egress.allow[0]",
        "docs/howto/firewall.md",
        at_hub(groups={"g": {"egress": {"allow": ["pypi.org"]}}}),
    ),
    ("range", f"{CLASS}.culler.every_seconds", "from 1", at_hub(culler={"every_seconds": 0})),
    ("swap_alone", f"{CLASS}.limits.swap", "write memory too", at_hub(limits={"swap": "1G"})),
    ("swap_alone", f"{CLASS}.users[0].swap", "write memory too", at_hub(users=[{"name": "ada", "swap": "1G"}])),
    (
        "swap_alone",
        f"{CLASS}.groups.g.swap",
        "memory",
        at_hub(groups={"g": {"members": ["ada", "grace"], "swap": "1G"}}),
    ),
    # logging in
    ("wrong_type", f"{CLASS}.authenticator", "for example {type: native}", at_hub(authenticator="native")),
    ("missing", f"{CLASS}.authenticator.type", "one of native, github", at_hub(authenticator={"signup": True})),
    ("choice", f"{CLASS}.authenticator.type", "'saml' is not one of", at_hub(authenticator={"type": "saml"})),
    (
        "missing",
        f"{CLASS}.authenticator.client_id",
        "the id that",
        login({"type": "github", "client_secret": "SECRET"}),
    ),
    ("missing", f"{CLASS}.authenticator.client_secret", "vault", login({"type": "github", "client_id": "hub"})),
    ("missing", f"{CLASS}.authenticator.tenant_id", "your tenant", login(AZURE, tenant_id=...)),
    ("missing", f"{CLASS}.authenticator.authorize_url", "authorization endpoint", login(OIDC, authorize_url=...)),
    ("missing", f"{CLASS}.authenticator.token_url", "token endpoint", login(OIDC, token_url=...)),
    ("missing", f"{CLASS}.authenticator.userdata_url", "userinfo endpoint", login(OIDC, userdata_url=...)),
    ("missing", f"{CLASS}.authenticator.dummy_password", "one password", login({"type": "dummy", "insecure": True})),
    (
        "unknown_key_far",
        f"{CLASS}.authenticator.tenant_id",
        "type, signup",
        login({"type": "native", "tenant_id": "x"}),
    ),
    ("dummy_insecure", f"{CLASS}.authenticator", "anyone", login({"type": "dummy", "dummy_password": "SECRET"})),
    ("tenant", f"{CLASS}.authenticator.tenant_id", "microsoftonline.com/DOMAIN/v2.0", login(AZURE, tenant_id="a/b")),
    (
        "tenant",
        f"{CLASS}.authenticator.tenant_id",
        "the issuer at https://login.microsoftonline.com/uni.example/v2.0/.well-known/openid-configuration",
        login(AZURE, tenant_id="Uni.example"),
    ),
    ("tenant", f"{CLASS}.authenticator.tenant_id", "is not the id", login(AZURE, tenant_id="1111-2222")),
    ("tenant_any", f"{CLASS}.authenticator.tenant_id", "people of any tenant", login(AZURE, tenant_id="common")),
    (
        "claim_not_unique",
        f"{CLASS}.authenticator.username_claim",
        "preferred_username",
        login(AZURE, username_claim="name"),
    ),
    (
        "claim_not_unique",
        f"{CLASS}.authenticator.settings.username_claim",
        "two people could share an account",
        login({"type": "google", **CLIENT, "settings": {"username_claim": "name"}}),
    ),
    (
        "claim_not_unique",
        f"{CLASS}.authenticator.settings.allowed_idps.uni.username_derivation.username_claim",
        "two people could share an account",
        login(
            {
                "type": "cilogon",
                **CLIENT,
                "settings": {"allowed_idps": {"uni": {"username_derivation": {"username_claim": "nickname"}}}},
            }
        ),
    ),
    (
        "endpoint",
        f"{CLASS}.authenticator.token_url",
        "is not an address",
        login(OIDC, token_url="id.example.org/token"),
    ),
    (
        "endpoint",
        f"{CLASS}.authenticator.token_url",
        "is not",
        login(OIDC, token_url="https://me:SECRET@id.example.org/"),
    ),
    ("endpoint", f"{CLASS}.authenticator.token_url", "is not", login(OIDC, token_url="https://[::1/")),
    ("endpoint", f"{CLASS}.authenticator.token_url", "is not", login(OIDC, token_url="https://id.example.org:99999/")),
    (
        "endpoint_http",
        f"{CLASS}.authenticator.token_url",
        "write https://",
        login(OIDC, token_url="http://id.example.org/t"),
    ),
    ("not_text", f"{CLASS}.authenticator.client_secret", "in quotes", login(OIDC, client_secret=987654321)),
    # mounts, as group_mounts checks them
    ("mounts", f"{CLASS}.groups.stat.mounts", "outside of the instance's data", mounts({"source": "/etc"})),
    ("mounts", f"{CLASS}.groups.stat.mounts", "'../x' must be a plain path", mounts({"source": "../x", "target": "x"})),
    ("mounts", f"{CLASS}.groups.stat.mounts", "only users_view", mounts({"source": "users/grace"})),
    ("mounts", f"{CLASS}.groups.stat.mounts", "to targets", mounts({"source": "a", "target": "/opt/a"})),
    ("mounts", f"{CLASS}.groups", "lies in the source a", mounts({"source": "a"}, {"source": "a/b"})),
    (
        "mounts",
        f"{CLASS}.groups",
        "two mounts on /home/jovyan/work/a",
        mounts({"source": "a"}, {"source": "b", "target": "a"}),
    ),
    ("mounts", f"{CLASS}.targets", "without . and .. and braces", at_hub(targets=["/opt/{x}"])),
    ("mounts", f"{CLASS}.persist", "braces", at_hub(persist={"a": "/opt/{x}"})),
    ("choice", f"{CLASS}.groups.stat.mounts[0].members", "none, ro or rw", mounts({"source": "a", "members": "r"})),
    ("missing", f"{CLASS}.groups.stat.mounts[0].source", "for example groups/", mounts({"target": "a"})),
]
