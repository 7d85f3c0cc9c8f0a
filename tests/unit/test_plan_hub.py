# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan says about good hubs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import HUB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_helpers import CLASS, HOST, Control, good, host, hub, lab, plan
from plan_hub_cases import AZURE, CLIENT, OIDC

GIB = 1 << 30
PASSWORD = "correct horse"


def planned(**keys: Any) -> dict[str, Any]:
    return good([hub(**keys)])["hub_instances"][0]


def users_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {user["name"]: user for user in result["users"]}


def test_defaults_of_a_hub() -> None:
    result = planned()
    assert result["images"] == [{"title": "Default", "image": "registry.example.org/lab:1.0"}]
    assert result["command"] == ["jupyterhub-singleuser"]
    assert result["persist"] == {"settings": "/home/jovyan/.jupyter/lab"}
    assert result["authenticator"] == {"type": "native", "signup": False}
    assert result["database"] == {"type": "sqlite", "image": None}
    assert result["culler"] == {"idle_seconds": 3600, "max_age_seconds": 0, "every_seconds": 300}
    assert (result["shared"], result["colab"], result["users_view"], result["prune"]) == (True, True, "none", "keep")
    assert [user["name"] for user in result["users"]] == ["ada", "grace"]


def test_a_hub_gets_what_labs_get() -> None:
    result = good([lab(), hub()], current=HOST)
    assert [engine["name"] for engine in result["rootless_docker_engines"]] == ["tao", "class101"]
    assert [vhost["server_name"] for vhost in result["apache_vhosts"]] == ["class101.example.org", "tao.example.org"]
    assert [item["name"] for item in result["lab_instances"]] == ["tao"]
    assert [job["name"] for job in result["reset_jobs"]] == ["tao", "class101"]
    assert result["apache_vhosts"][0]["locations"][0]["backend"].endswith(str(result["hub_instances"][0]["port"]))


def test_users_have_domains_if_the_hub_says_so() -> None:
    plain, apart = good([hub()]), good([hub(user_domains=True)])
    assert [found["apache_vhosts"][0]["subdomain_paths"] for found in (plain, apart)] == [[], ["/user/", "/services/"]]
    assert "a domain for each user" in apart["summary"][0] and "domain" not in plain["summary"][0]
    other = lab(url="https://class101.example.org.example/")
    assert good([hub(user_domains=True), other]) and good([hub(user_domains=True, state="absent"), other])


def test_hubs_ignore_defaults_for_labs() -> None:
    defaults = {"memory": "2G", "reset": {"at": "01:25"}, "limits": {"memory": "1G"}, "pull": "always", "build": "lab"}
    result = good([lab(), hub()], defaults=defaults)
    assert result["lab_instances"][0]["limits"]["memory"] == 2 * GIB
    assert users_of(result["hub_instances"][0])["ada"]["memory"] == GIB
    assert result["hub_instances"][0]["pull"] == "always"
    assert good([hub(kind=...)], defaults={"kind": "hub"})["hub_instances"]
    images = {"image": "lab:1", "images": [{"title": "a", "image": "hub:1"}]}
    result = good([lab(image=...), hub(image=...)], defaults=images)
    assert result["lab_instances"][0]["image"] == "lab:1"
    assert result["hub_instances"][0]["images"] == images["images"]


def test_a_null_for_a_key_of_the_other_kind_is_accepted() -> None:
    assert good([hub(token_file=None)])["hub_instances"]


def test_absent_needs_only_a_name_and_the_host_knows_the_kind() -> None:
    absent = {"name": "class101", "state": "absent"}
    assert good([{**absent, "kind": "hub"}])["hub_instances"][0]["users"] == []
    known = {"class101": {"engine": "class101", "port": 8801, "kind": "hub"}}
    result = good([absent], current=host(instances=known, engines={"class101": {}}))
    assert [item["state"] for item in result["hub_instances"]] == ["absent"]
    assert result["lab_instances"] == []
    assert [(job["kind"], job["state"]) for job in result["reset_jobs"]] == [("hub", "absent")]
    assert result["idle_engines"] == [{"name": "class101", "state": "stopped"}]


@pytest.mark.parametrize(
    ("recorded", "declared"),
    [
        ({"backend": "volumes"}, {"backend": "volumes"}),
        ({"backend": "directories"}, {}),
        ({}, {"backend": "volumes"}),  # of version 0.1.0
        ({"backend": "volumes"}, {"state": "absent"}),
    ],
)
def test_a_hub_keeps_its_backend(recorded: dict[str, Any], declared: dict[str, Any]) -> None:
    known = {"class101": {"engine": "class101", "port": 8801, "kind": "hub", **recorded}}
    assert good([hub(**declared)], current=host(instances=known, engines={"class101": {}}))


def test_held_keeps_its_place() -> None:
    result = good([hub(state="held")])
    assert result["apache_vhosts"][0]["locations"][0]["state"] == "held"
    assert result["hub_instances"][0]["state"] == "held"


def test_the_narrower_place_wins_and_among_groups_the_widest() -> None:
    result = planned(
        users=["ada", "bob", "eve", {"name": "grace", "memory": "1G", "swap": 0}],
        limits={"memory": "2G", "swap": "1G", "cpus": 1, "pids": 100},
        groups={
            "small": {"members": ["ada", "grace"], "memory": "3G"},
            "large": {"admins": ["ada"], "members": ["bob"], "memory": "4G", "cpus": 2},
        },
    )
    limits = {name: (user["memory"], user["swap"], user["cpus"]) for name, user in users_of(result).items()}
    assert limits == {
        "ada": (4 * GIB, GIB, 2),
        "bob": (4 * GIB, GIB, 2),
        "eve": (2 * GIB, GIB, 1),
        "grace": (GIB, None, 1),
    }
    assert result["limits"].items() >= {"memory": 2 * GIB, "swap": GIB, "cpus": 1, "pids": 100}.items()


def test_users_of_files_and_their_groups() -> None:
    files = {"/inventory/a.csv": "name,groups\nbob,stat\n", "/inventory/b.csv": "name,admin\nprof,true\n"}
    (result,) = good(
        [hub(users=[{"name": "ada", "groups": ["stat"]}], users_csv=["a.csv", "b.csv"],
             groups={"stat": {"members": ["ada"], "admins": ["prof"]}, "empty": None})], files=files
    )["hub_instances"]  # fmt: skip
    assert {name: user["admin"] for name, user in users_of(result).items()} == {
        "ada": False,
        "bob": False,
        "prof": True,
    }
    assert result["groups"] == [
        {"name": "empty", "members": [], "admins": [], "mounts": None},
        {"name": "stat", "members": ["ada", "bob"], "admins": ["prof"], "mounts": None},
    ]


def test_names_are_normalized_wherever_they_stand() -> None:
    result = planned(
        normalize_usernames=True,
        users=["Ada.L@uni.example", {"name": "prof@uni.example", "groups": ["stat"]}],
        groups={"stat": {"members": ["ada.l@uni.example"], "admins": ["prof--uni-example"]}},
        blocked_users=["Eve@uni.example"],
    )
    assert users_of(result)["ada-l--uni-example"]["identity"] == "Ada.L@uni.example"
    assert result["groups"][0]["members"] == ["ada-l--uni-example", "prof--uni-example"]
    assert result["groups"][0]["admins"] == ["prof--uni-example"]
    assert result["blocked_users"] == ["eve--uni-example"]


def test_unicode_names_are_jupyterhubs_too() -> None:
    assert users_of(planned(users=["jörg", "小林"])).keys() == {"jörg", "小林"}


def test_mounts_are_as_group_mounts_takes_them() -> None:
    mounts = [{"source": "datasets/tiles", "target": "/opt/tiles", "members": "ro"}]
    result = planned(groups={"geo": {"members": ["ada"], "mounts": mounts}}, targets=["/opt"])
    assert result["groups"][0]["mounts"] == [
        {"source": "datasets/tiles", "target": "/opt/tiles", "members": "ro", "admins": "rw", "disk": None}
    ]


def test_a_home_that_holds_the_settings_needs_no_folder_for_them() -> None:
    assert planned(home="/home/jovyan")["persist"] == {}


OWN: dict[str, Any] = {"guests": False, "settings": {}, "secret_settings": []}


@pytest.mark.parametrize(
    ("written", "public"),
    [
        ({"type": "native", "signup": True}, {"type": "native", "signup": True}),
        ({"type": "github", **CLIENT}, {"type": "github", "client_id": "hub", "allowed_organizations": [], **OWN}),
        (
            AZURE,
            {"type": "azuread", "client_id": "hub", "tenant_id": AZURE["tenant_id"],
             "username_claim": "preferred_username", "cloud": "global", **OWN},
        ),
        (
            {**AZURE, "tenant_id": "ABCDEF00-2222-3333-4444-55555555555F"},
            {"type": "azuread", "client_id": "hub", "tenant_id": "abcdef00-2222-3333-4444-55555555555f",
             "username_claim": "preferred_username", "cloud": "global", **OWN},
        ),
        (
            OIDC,
            {**{key: item for key, item in OIDC.items() if key != "client_secret"},
             "username_claim": "preferred_username", "scopes": ["openid", "profile", "email"],
             "login_service": "Single Sign-On", "groups_claim": None, **OWN},
        ),
        ({"type": "gitlab", **CLIENT, "settings": {"gitlab_url": "https://git.example"}},
         {"type": "gitlab", "client_id": "hub", **OWN, "settings": {"gitlab_url": "https://git.example"}}),
        ({"type": "ldap", "server_address": "ldap.example", "guests": True},
         {"type": "ldap", "server_address": "ldap.example", **OWN, "guests": True}),
        ({"type": "custom", "class": "a.B"}, {"type": "custom", "class": "a.B", **OWN}),
        ({"type": "dummy", "insecure": True, "dummy_password": PASSWORD}, {"type": "dummy"}),
    ],
)  # fmt: skip
def test_authenticators(written: dict[str, Any], public: dict[str, Any]) -> None:
    result = planned(authenticator=written)
    assert result["authenticator"] == public
    assert result["client_secret"] == written.get("client_secret")
    assert result["dummy_password"] == written.get("dummy_password")


@pytest.mark.parametrize(
    "more", [{"token_url": "http://localhost:9000/token"}, {"token_url": "http://10.0.0.1/t", "insecure": True}]
)
def test_a_provider_without_tls_for_trials(more: dict[str, Any]) -> None:
    assert planned(authenticator={**OIDC, **more})["authenticator"]["token_url"] == more["token_url"]


def test_what_the_administrator_adds() -> None:
    files = {"/inventory/exam.py": "c.x = 1\n", "/inventory/hub/b.py": ""}
    service = {"name": "stats", "access": "everybody", "scopes": ["list:users"]}
    instance = hub(
        extra_config=["exam.py", "hub/b.py"], extra_packages=["a[b]==1.0"], services=[service],
        groups={"g": {"members": ["ada"], "provider_groups": ["cn=g,dc=x"], "egress": {"allow": []}}, "h": {}},
        authenticator={"type": "ldap", "server_address": "ldap", "secret_settings": {"lookup_dn_search_password": "x"}},
    )  # fmt: skip
    plan = good([instance], files=files)
    (result,) = plan["hub_instances"]
    assert result["extra_config"] == [{"name": "exam.py", "text": "c.x = 1\n"}, {"name": "hub/b.py", "text": ""}]
    assert result["extra_packages"] == ["a[b]==1.0"]
    assert result["services"] == [{**service, "url": None, "command": None, "environment": {}}]
    assert result["provider_groups"] == {"g": ["cn=g,dc=x"]}
    assert result["group_egress"] == {"g": {"allow": []}}
    assert result["authenticator"]["secret_settings"] == ["lookup_dn_search_password"]
    assert result["authenticator_secrets"] == {"lookup_dn_search_password": "x"}
    (line,) = plan["summary"]
    assert result["own"] == [
        "extra_config exam.py, hub/b.py", "extra_packages a[b]==1.0", "services stats", "authenticator settings",
    ]  # fmt: skip
    for own in result["own"]:
        assert f"your own {own}" in line


def test_databases() -> None:
    assert planned(database="postgresql")["database"]["image"] == "docker.io/library/postgres:17"
    database = {"type": "postgresql", "image": "localhost:5000/pg:17"}
    assert planned(database=database)["database"] == database


def test_settings_are_plain_data() -> None:
    settings_ = {
        "@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark", "sizes": [1, 2.5, None, {"a": True}]}
    }
    assert planned(settings=settings_)["settings"] == settings_


def test_warnings() -> None:
    def warnings(**keys: Any) -> list[str]:
        return good([hub(**keys)], current=HOST)["warnings"]

    assert warnings() == ["class101: ada, grace can't log in: there is neither a password nor signup: true"]
    assert warnings(users=[{"name": "ada", "password": PASSWORD}]) == []
    dummy = {"type": "dummy", "insecure": True, "dummy_password": PASSWORD}
    assert warnings(authenticator=dummy) == [
        "class101: anybody who knows the authenticator's one password can log in as any user"
    ]
    assert "a0, a1, a2, a3, a4 and 2 more can't" in warnings(users=[f"a{n}" for n in range(7)])[0]
    nobody = "class101: people can sign up, but no admin could approve them: give an admin a password"
    assert warnings(authenticator={"type": "native", "signup": True}) == [nobody]
    only = [{"name": "ada", "admin": True}, {"name": "grace", "password": "long-enough"}]
    assert warnings(authenticator={"type": "native", "signup": True}, users=only) == [nobody]
    only[0]["password"] = "long-enough"
    assert warnings(authenticator={"type": "native", "signup": True}, users=only) == []
    assert (
        "if that is a normalized name"
        in warnings(authenticator=OIDC, normalize_usernames=True, users=["ada--uni-example"])[0]
    )
    assert "the provider must verify" in warnings(authenticator={**OIDC, "username_claim": "email"})[0]
    files = {"/inventory/a.csv": f"name,password\nada,{PASSWORD}\n"}
    (warning,) = good([hub(users=..., users_csv="a.csv")], files=files)["warnings"]
    assert "a.csv holds passwords" in warning and PASSWORD not in warning


@pytest.mark.parametrize(
    ("keys", "gib"),
    [
        ({"limits": {"memory": "5G"}}, "10.0"),
        ({"limits": {"memory": "5G"}, "active_servers": 1}, None),
        ({"limits": {"memory": "5G"}, "active_servers": 5}, "10.0"),
        ({"limits": {"memory": "5G"}, "active_servers": 5, "authenticator": {"type": "github", **CLIENT,
          "allowed_organizations": ["x"]}}, "25.0"),
        ({"limits": {"memory": "5G"}, "active_servers": 5, "users": [], "allow_no_users": True}, "25.0"),
        ({"users": [{"name": "ada", "memory": "9G"}, "grace"], "active_servers": 1}, "9.0"),
        ({}, None),
    ],
)  # fmt: skip
def test_memory_is_held_against_the_hosts(keys: dict[str, Any], gib: str | None) -> None:
    keys = {"authenticator": OIDC, **keys}
    warnings = good([hub(**keys)], current=HOST)["warnings"]
    hint = "" if keys.get("active_servers") else "; active_servers of a hub limits how many servers run at once"
    assert warnings == ([f"the memory limits add up to {float(gib):g}G, the host has 8G{hint}"] if gib else [])


def test_summary_shows_no_secret() -> None:
    result = good(
        [hub(authenticator={**OIDC, "client_secret": "SECRET"}, environment={"A": "SECRET"}, limits={"memory": "2G"},
             groups={"stat": {}})]
    )  # fmt: skip
    assert result["summary"] == [
        "class101: present; https://class101.example.org/; image registry.example.org/lab:1.0; engine class101; port "
        "not known yet; reset by hand; authenticator oidc; users 2, groups 1; database sqlite; "
        "limits of a user 2G of memory"
    ]
    native = good([hub(users=[{"name": "ada", "password": "SECRET-SECRET"}])])
    assert "SECRET" not in "".join(native["summary"] + native["warnings"])


def test_all_problems_of_people_at_once() -> None:
    files = {"/inventory/a.csv": "name,groups\nBob,stat\nada,geo\n"}
    _result, problems = plan(
        [hub(users=["ada", "Eve"], users_csv="a.csv", groups={"stat": {"members": ["zoe"]}}, blocked_users=["ada"])],
        files=files,
    )
    assert [(problem.path, problem.id) for problem in problems] == [
        (f"{CLASS}.users[1]", "user_name"),
        (f"{CLASS}.users_csv (a.csv line 2)", "user_name"),
        (f"{CLASS}.users_csv (a.csv line 3)", "user_twice"),
        (f"{CLASS}.users_csv (a.csv line 3).groups", "user_group"),
        (f"{CLASS}.blocked_users[0]", "user_blocked"),
        (f"{CLASS}.groups.stat.members[0]", "group_user"),
    ]


def test_one_wrong_mount_of_many_users_is_reported_once() -> None:
    mounts = [{"source": "a"}, {"source": "b", "target": "a"}]
    names = [f"user{number}" for number in range(100)]
    _result, problems = plan([hub(users=names, groups={"all": {"members": names, "mounts": mounts}})])
    assert len(problems) == 21
    assert problems[-1].message == "and 80 more of this kind"


def test_what_could_not_be_rendered_is_not_reported_again() -> None:
    keys = {
        "users": [INVALID, {"name": INVALID}, {"name": "ada", "password": INVALID, "groups": INVALID}],
        "groups": {"stat": {"members": ["zoe", INVALID]}, "geo": INVALID},
        "settings": {"a:b": {"c": INVALID}, "d:e": INVALID},
        "authenticator": {"type": INVALID},
        "blocked_users": [INVALID],
    }
    problems = Problems()
    problems.add(f"{CLASS}.users[0]", "template", error="'user' is undefined")
    assert make_plan(Inputs(instances=[hub(**keys)]), Control(), problems) is None
    assert [problem.id for problem in problems.items] == ["template"]


def test_a_thousand_users_and_two_hundred_groups_take_no_time() -> None:
    names = [f"user{number:04}@uni.example" for number in range(1000)]
    groups = {f"g{number}": {"members": names[number : number + 50], "memory": "2G"} for number in range(200)}
    wrong = {name: {"members": [f"x{user}" for user in group["members"]]} for name, group in groups.items()}
    start = time.process_time()
    assert len(planned(users=names, groups=groups, normalize_usernames=True)["users"]) == 1000
    _result, problems = plan([hub(users=names, groups=wrong)])
    assert len(problems) == 10000
    assert time.process_time() - start < 2


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("ada") | st.dates(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["name", "type", "members", "mounts", "source", "memory", "swap", "a:b", "image"])
        | st.text(max_size=4) | st.integers(), inner, max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(HUB)), VALUES, max_size=5))
def test_any_hub_is_planned_or_refused_and_never_an_exception(keys: dict[str, Any]) -> None:
    result, problems = plan([hub(**keys)], current=HOST)
    assert (result is None) == bool(problems)
    assert all("\n" not in str(problem) for problem in problems)


HIDDEN = "xq7SECRET"
SECRETS = st.sampled_from([HIDDEN, f" {HIDDEN}\n", [HIDDEN], {HIDDEN: HIDDEN}, HIDDEN[:6], HIDDEN * 9])


@given(SECRETS, st.sampled_from(["native", "github", "oidc", "dummy", "ldap"]), st.sampled_from([",", ";", '"', "\n"]))
def test_no_message_shows_a_secret(secret: Any, kind: str, separator: str) -> None:
    keys = {
        "users": [{"name": "ada", "password": secret}, {"name": "bob", "password": secret, "memory": "x"}],
        "authenticator": {**OIDC, "type": kind, "client_secret": secret, "dummy_password": secret, "token_url": secret},
        "users_csv": ["header.csv", "none.csv"],
        "environment": {"A": [HIDDEN]},
    }
    files = {
        "/inventory/header.csv": f"name,password\neve{separator}{HIDDEN}{separator}\n",
        "/inventory/none.csv": f"eve{separator}{HIDDEN}\n",
    }
    _result, problems = plan([hub(**keys)], files=files)
    assert problems and HIDDEN[:6] not in str(problems)


@settings(max_examples=100)
@given(st.lists(st.text("abA@.-, /%\x00é", max_size=8), max_size=6), st.booleans())
def test_no_two_users_share_a_name(names: list[str], normalize: bool) -> None:
    result, problems = plan([hub(users=names, normalize_usernames=normalize, allow_no_users=True)])
    assert (result is None) == bool(problems)
    if result:
        found = [user["name"] for user in result["hub_instances"][0]["users"]]
        assert len(found) == len(set(found)) == len(names)


def test_held_users_keep_their_folders_and_are_out() -> None:
    users = ["ada", {"name": "bob", "state": "held", "password": "long enough"}, {"name": "prof", "admin": True}]
    result = planned(users=users, groups={"geo": {"members": ["ada", "bob"], "admins": ["bob"]}}, blocked_users=["eve"])
    assert [user["name"] for user in result["users"]] == ["ada", "prof"]
    assert result["held_users"] == [{"name": "bob", "identity": "bob"}] and result["blocked_users"] == ["bob", "eve"]
    assert result["groups"][0]["members"] == ["ada"] and result["groups"][0]["admins"] == []
    assert "state" not in result["users"][0]


def test_who_is_blocked_keeps_the_name_that_the_provider_has() -> None:
    users = ["ada@uni", {"name": "Bob@uni", "state": "held"}]
    result = planned(users=users, blocked_users=["Eve@uni"], authenticator=OIDC, normalize_usernames=True)
    assert result["blocked_users"] == ["bob--uni", "eve--uni"]
    assert result["blocked_identities"] == ["Bob@uni", "Eve@uni"]


def test_the_server_of_a_group_is_a_member_without_a_password() -> None:
    groups = {"Stat": {"members": ["ada"], "admins": ["prof"], "server": True, "memory": "4G"}, "geo": {"memory": "8G"}}
    people = [{"name": name, "password": PASSWORD} for name in ("ada", "prof")]
    plan = good([hub(users=people, groups=groups, user_domains=True)])
    (result,) = plan["hub_instances"]
    server = next(user for user in result["users"] if user["server_of"])
    assert (server["name"], server["server_of"]) == ("group-stat", "Stat")
    assert (server["admin"], server["password"]) == (False, None)
    assert server["memory"] == 4 << 30
    assert server["identity"] != server["name"]  # an earlier guest of this name was somebody else
    stat = next(group for group in result["groups"] if group["name"] == "Stat")
    assert (stat["members"], stat["admins"]) == (["ada", "group-stat"], ["prof"])
    assert "users 2, groups 2; servers of groups 1" in plan["summary"][0]
    assert not any("group-stat" in warning for warning in plan["warnings"])
