# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every message of a plan about hubs: id, path, what the message must contain, inputs."""

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


def roster(text: str, **keys: Any) -> dict[str, Any]:
    return {**at_hub(**{"users": ..., "users_csv": "class.csv", **keys}), "files": {"/inventory/class.csv": text}}


def line(number: int) -> str:
    return f"{CLASS}.users_csv (class.csv line {number})"


def mounts(*entries: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return at_hub(groups={"stat": {"members": ["ada"], "mounts": list(entries)}}, **keys)


def native(password: str) -> dict[str, Any]:
    return at_hub(users=[{"name": "ada", "password": password}])


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
    # people
    ("users_empty", f"{CLASS}.users", "allow_no_users: true", at_hub(users=[])),
    ("users_empty", f"{CLASS}.users", "allow_no_users: true", at_hub(users=...)),
    ("wrong_type", f"{CLASS}.users", "a list of names or", at_hub(users={"ada": {}})),
    ("wrong_type", f"{CLASS}.users[1]", "a mapping of name", at_hub(users=["ada", 7])),
    ("missing", f"{CLASS}.users[0].name", "the user's name", at_hub(users=[{"admin": True}])),
    (
        "user_name",
        f"{CLASS}.users[0]",
        "not in lower case, as JupyterHub knows its users: write 'ada'",
        at_hub(users=["Ada"]),
    ),
    ("user_name", f"{CLASS}.users[0]", "a slash", at_hub(users=["../etc"])),
    ("user_name", f"{CLASS}.users[0]", "a step in a path", at_hub(users=["%2e%2e"])),
    ("user_name", f"{CLASS}.users[0]", "too long", at_hub(users=["a" * 300])),
    ("user_name", f"{CLASS}.users[0]", "too long", at_hub(users=["ü" * 60])),
    ("user_name", f"{CLASS}.users[0]", "a comma or a space", at_hub(users=["ada lovelace"])),
    (
        "user_name",
        f"{CLASS}.users[0]",
        "',' becomes '': a user's name is empty",
        at_hub(users=[","], normalize_usernames=True),
    ),
    ("user_name", f"{CLASS}.users[0]", "U+200B (zero width space): remove it", at_hub(users=["ada\u200b"])),
    ("user_name", f"{CLASS}.users[0]", "U+202E (right-to-left override)", at_hub(users=["ada\u202eevil"])),
    ("user_name", f"{CLASS}.users[0]", "mixes letters", at_hub(users=["ada\u05d0"])),
    ("user_name", f"{CLASS}.users[0]", "write 'jos\u00e9'", at_hub(users=["jose\u0301"])),
    ("user_name", f"{CLASS}.blocked_users[0]", "U+00A0", at_hub(blocked_users=["e\u00a0ve"])),
    (
        "user_name",
        f"{CLASS}.users[0]",
        "U+200B",
        at_hub(normalize_usernames=True, users=["a" * 31 + "\u200b"]),
    ),
    ("user_name", line(3), "U+FEFF (byte-order mark)", roster("name\nada\n\ufeffgrace\n")),
    ("roster_header_twice", line(3), "by itself", roster("name,groups\nada,\n\ufeffName,groups\ngrace,\n")),
    ("user_name", f"{CLASS}.blocked_users[0]", "not in lower case", at_hub(blocked_users=["Eve"])),
    ("user_twice", f"{CLASS}.users[1]", f"'ada' is also in {CLASS}.users[0]", at_hub(users=["ada", "ada"])),
    ("user_twice", line(2), f"'ada' is also in {CLASS}.users[0]", roster("name\nada\n", users=["ada"])),
    (
        "user_collision",
        f"{CLASS}.users[1]",
        f"'ada-l@uni.example', and 'ada.l@uni.example' of {CLASS}.users[0], both become 'ada-l--uni-example'",
        at_hub(users=["ada.l@uni.example", "ada-l@uni.example"], normalize_usernames=True),
    ),
    (
        "user_group",
        f"{CLASS}.users[0].groups",
        "did you mean 'stat'",
        at_hub(users=[{"name": "a", "groups": ["sta"]}], groups={"stat": None}),
    ),
    ("user_group", f"{line(2)}.groups", "'geo' is not one of the groups; write it", roster("name,groups\nada,geo\n")),
    ("user_blocked", f"{CLASS}.blocked_users[0]", f"'ada' is also in {CLASS}.users[0]", at_hub(blocked_users=["ada"])),
    (
        "group_server",
        f"{CLASS}.groups.Stat.server",
        f"'group-stat', which is also the name of {CLASS}.users[0]",
        at_hub(users=["group-stat"], groups={"Stat": {"server": True}}, user_domains=True),
    ),
    (
        "group_of_server",
        f"{CLASS}.groups.geo.admins[0]",
        "'group-stat' is whom the server of the group 'Stat' belongs to",
        at_hub(groups={"Stat": {"server": True}, "geo": {"admins": ["group-stat"]}}, user_domains=True),
    ),
    ("group_name", f"{CLASS}.groups", "'a/b' is not a name", at_hub(groups={"a/b": {}})),
    ("group_name", f"{CLASS}.groups", "a whole number is not", at_hub(groups={7: {}})),
    ("wrong_type", f"{CLASS}.groups", "{statistics: {members: [ada]}}", at_hub(groups=["stat"])),
    ("wrong_type", f"{CLASS}.groups.stat", "a mapping of members", at_hub(groups={"stat": ["ada"]})),
    (
        "group_user",
        f"{CLASS}.groups.stat.members[0]",
        "did you mean 'grace'",
        at_hub(groups={"stat": {"members": ["grase"]}}),
    ),
    (
        "group_user",
        f"{CLASS}.groups.stat.admins[0]",
        "'zoe' is not one of the users; write",
        at_hub(groups={"stat": {"admins": ["zoe"]}}),
    ),
    (
        "password_not_native",
        f"{CLASS}.users[0].password",
        "with oidc",
        at_hub(users=[{"name": "ada", "password": "SECRET-SECRET"}], authenticator=OIDC),
    ),
    ("password_short", f"{CLASS}.users[0].password", "at least 8", native("SECRET")),
    ("password_long", f"{CLASS}.users[0].password", "72 bytes", native("SECRET" * 13)),
    *[
        ("password_hash", f"{CLASS}.users[0].password", "60 characters, cost 4 to 15", native(f"{form}SECRET-SECRET"))
        for form in ("$2a$", "$2b$", "$2x$", "$2y$", "$argon2id$", "$5$", "$6$", "$y$", "scrypt:32768:8:1$")
    ],
    # one that Apache's htpasswd -C 17 makes, and one that lost its end
    ("password_hash", f"{CLASS}.users[0].password", "bcrypt", native(f"$2y$17${'a' * 53}")),
    ("password_hash", f"{CLASS}.users[0].password", "bcrypt", native(f"$2b$12${'a' * 52}")),
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
    # rosters
    ("roster_file", f"{CLASS}.users_csv", "No such file", at_hub(users_csv="missing.csv")),
    ("roster_file", f"{CLASS}.users_csv", "not UTF-8", at_hub(users_csv="binary.csv")),
    ("roster_header", line(1), "name,groups,admin,memory", roster("ada,stat,no,8G,SECRET\n")),
    ("roster_header", line(1), "separated by commas", roster("name;groups;admin\nada;;no\n")),
    ("roster_column", line(1), "'grups' is not a column; did you mean 'groups'?", roster("name,grups\nada,x\n")),
    ("roster_column", line(1), "the columns are: name, groups", roster("name,zzz\nada,x\n")),
    ("roster_column_twice", line(1), "'name' is listed twice", roster("name,name\nada,x\n")),
    ("roster_fields", line(3), "has 3 fields, the first line has 2", roster("name,memory\nada,1G\nbob,1G,SECRET\n")),
    ("roster_empty", f"{CLASS}.users_csv (class.csv)", "is empty", roster("\n\n")),
    ("roster_syntax", line(2), "is not CSV", roster('name,memory\n"ada"x,1G\n')),
    ("missing", f"{line(3)}.name", "the user's name", roster("name,memory\nada,1G\n,2G\n")),
    ("size", f"{line(2)}.memory", "'lots' is not a size", roster("name,memory\nada,lots\n")),
    ("wrong_type", f"{line(2)}.admin", "is text; write true or false", roster("name,admin\nada,maybe\n")),
    ("wrong_type", f"{line(2)}.cpus", "is text; write a number", roster("name,cpus\nada,two\n")),
]
