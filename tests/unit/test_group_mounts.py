# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets what: the plan that becomes the mounts file, and the reader of the file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._people.group_mounts import SHOWN, Plan
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.mounts import MountsError, effective_mounts
from docker.types import Mount as DockerMount
from hypothesis import given
from hypothesis import strategies as st

HOME = "/home/jovyan/work"
DATA = "/srv/hub/data"


def user(name: str, *groups: str, admin: bool = False) -> dict[str, Any]:
    return {"name": name, "groups": list(groups), "admin": admin}


def group(name: str, members: str = "", admins: str = "", mounts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    full = mounts and [{"target": None, "members": "rw", "admins": "rw", **mount} for mount in mounts]
    return {"name": name, "members": members.split(), "admins": admins.split(), "mounts": full}


def plan(**more: Any) -> Plan:
    own = [{"name": "home", "target": "."}, {"name": "settings", "target": "/home/jovyan/.jupyter/lab"}]
    given_: dict[str, Any] = {
        "path": DATA, "file": "/srv/hub/mounts/mounts.json", "home": HOME, "targets": [], "user_directories": own,
        "users": [user("ada"), user("bob"), user("prof", admin=True)], "groups": [], "shared": True, "colab": True,
        "users_view": "ro", "allow_empty": False,
    }  # fmt: skip
    return Plan({**given_, **more})


def gets(made: Plan, name: str, *groups: str) -> dict[str, tuple[str, str, str]]:
    """Target: source, mode and reason, relative to home and data, as the hub will read it."""
    assert not made.problems
    found = effective_mounts(json.dumps(made.content), name, groups)
    if not groups:
        assert found == made.effective[name]
    return {m.target.replace(HOME, "~"): (m.source.replace(DATA + "/", ""), m.mode, m.why) for m in found}


OWN = {
    "~": ("users/ada/home", "rw", "the user's own"),
    "/home/jovyan/.jupyter/lab": ("users/ada/settings", "rw", "the user's own"),
}


def test_everybody_gets_their_own_the_shared_and_the_common_directory() -> None:
    assert gets(plan(), "ada") == {
        **OWN,
        "~/shared": ("shared", "ro", "everyone"),
        "~/colab": ("colab", "rw", "everyone"),
    }
    assert gets(plan(shared=False, colab=False), "ada") == OWN


def test_admins_write_in_shared_and_see_all_users() -> None:
    found = gets(plan(), "prof")
    assert found["~/shared"] == ("shared", "rw", "admin")
    assert found["~/users"] == ("users", "ro", "admin")
    assert gets(plan(users_view="rw"), "prof")["~/users"][1] == "rw"
    assert "~/users" not in gets(plan(users_view="none"), "prof")
    assert plan().sources == {"shared", "colab"}


def test_groups_by_membership() -> None:
    made = plan(users=[user("ada", "stat"), user("bob"), user("prof")], groups=[group("stat", "bob", "prof")])
    assert gets(made, "ada")["~/groups/stat"] == ("groups/stat", "rw", "member of stat")
    assert gets(made, "bob")["~/groups/stat"] == ("groups/stat", "rw", "member of stat")
    assert gets(made, "prof")["~/groups/stat"] == ("groups/stat", "rw", "admin of stat")
    assert made.content["groups"]["stat"]["members"] == ["ada", "bob"]  # type: ignore[index]
    assert "groups/stat" in made.sources


def test_an_admin_of_the_hub_gets_only_the_groups_that_list_them() -> None:
    assert "~/groups/stat" not in gets(plan(groups=[group("stat", "ada")]), "prof")


def test_the_mode_depends_on_the_role() -> None:
    mounts = [
        {"source": "data/maps", "target": "maps", "members": "ro"},
        {"source": f"{DATA}/exams", "members": "none"},
        {"source": "inbox", "target": "/data/inbox", "admins": "none"},
    ]
    made = plan(groups=[group("geo", "ada", "bob", mounts)], targets=["/data"])
    ada, bob = gets(made, "ada"), gets(made, "bob")
    assert (ada["~/maps"][1], bob["~/maps"][:2]) == ("ro", ("data/maps", "rw"))
    assert "~/exams" not in ada and bob["~/exams"][0] == "exams"
    assert "/data/inbox" in ada and "/data/inbox" not in bob
    assert made.sources == {"data/maps", "exams", "inbox", "shared", "colab"}


def test_one_directory_through_two_groups_has_the_wider_mode() -> None:
    read = group("read", "ada bob", mounts=[{"source": "maps", "members": "ro"}])
    write = group("write", "ada", mounts=[{"source": "maps"}])
    for groups in ([read, write], [write, read]):
        made = plan(groups=groups)
        assert gets(made, "ada")["~/maps"] == ("maps", "rw", "member of write")
        assert gets(made, "bob")["~/maps"] == ("maps", "ro", "member of read")


def test_groups_that_only_the_hub_knows_of() -> None:
    made = plan(groups=[group("stat")])
    assert gets(made, "ada", "stat", "unknown")["~/groups/stat"][2] == "member of stat"
    assert "~/groups/stat" not in gets(made, "ada")


def test_an_unknown_user_gets_the_mounts_of_everyone() -> None:
    found = gets(plan(), "new@uni.example", "none-such")
    assert found["~"][0] == "users/new-40uni-2eexample/home" and len(found) == 4


def test_the_hub_can_hand_it_to_docker() -> None:
    made = plan()
    first = next(mount for mount in made.effective["ada"] if mount.target == f"{HOME}/shared")
    assert dict(DockerMount(**first.docker())) == {
        "Target": f"{HOME}/shared", "Source": f"{DATA}/shared", "Type": "bind", "ReadOnly": True,
    }  # fmt: skip


# What is refused


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"users": []}, "allow_empty: true"),
        ({"users": [user("ada", "statt")], "groups": [group("stat")]}, "unknown group 'statt': did you mean 'stat'?"),
        ({"users": [user("ada"), user("ada")]}, "'ada' is in the list twice"),
        ({"users": [user("../etc")]}, "slash"),
        ({"users": [user("n" * 300)]}, "300 characters"),
        ({"users": [user("a\udc80")]}, "character"),
        ({"groups": [group("stat", "adda")]}, "'adda', who is not among the users: did you mean 'ada'?"),
        ({"groups": [group("stat", "", "zz")]}, "'zz', who is not among the users"),
        ({"groups": [group("stat"), group("stat")]}, "'stat' is in the list twice"),
        ({"groups": [group("../stat")]}, "plain name"),
        ({"groups": [group("g" * 64)]}, "plain name"),
        ({"groups": [group("", "ada")]}, "plain name"),
        ({"groups": [group("g", mounts=[{"source": "/etc"}])]}, "outside of the instance's data"),
        ({"groups": [group("g", mounts=[{"source": "/srv/hub/data2/x", "target": "x"}])]}, "outside"),
        ({"groups": [group("g", mounts=[{"source": "a/../../x", "target": "x"}])]}, "plain path below"),
        ({"groups": [group("g", mounts=[{"source": ".", "target": "x"}])]}, "plain path below"),
        ({"groups": [group("g", mounts=[{"source": DATA + "/", "target": "x"}])]}, "plain path below"),
        ({"groups": [group("g", mounts=[{"source": "users/bob/home", "target": "x"}])]}, "users' own files"),
        ({"groups": [group("g", mounts=[{"source": "users", "target": "x"}])]}, "users' own files"),
        ({"groups": [group("g", mounts=[{"source": "database", "target": "x"}])]}, "folder of the hub itself"),
        ({"groups": [group("g", mounts=[{"source": "hub/x", "target": "x"}])]}, "folder of the hub itself"),
        ({"groups": [group("g", mounts=[{"source": "shared/deep", "target": "x"}])]}, "lies in the source shared"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": "../x"}])]}, "plain path without"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": "/etc"}])]}, "outside of the home"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": "/home/jovyan/works"}])]}, "outside of the home"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": "/"}])]}, "outside of the home"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": "."}])]}, "plain path without"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": HOME}])]}, "outside of the home"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": "{username}"}])]}, "plain path without"),
        ({"groups": [group("g", mounts=[{"source": "x", "target": "a\nb"}])]}, "plain path without"),
        ({"path": "/srv/../etc"}, "path: /srv/../etc must be"),
        ({"path": "/"}, "must be an absolute path below /"),
        ({"path": "/srv/{x}/data"}, "path: /srv/{x}/data must be"),
        ({"path": "data"}, "path: data must be"),
        ({"home": "work"}, "home: work must be"),
        ({"targets": ["/"]}, "targets: / must be"),
        ({"file": f"{DATA}/shared/mounts.json"}, "put it elsewhere"),
        ({"user_directories": [{"name": "../home", "target": "."}]}, "plain name"),
        ({"user_directories": [{"name": "home", "target": "/"}]}, "nothing can be mounted on /"),
    ],
)  # fmt: skip
def test_what_is_refused(bad: dict[str, Any], says: str) -> None:
    made = plan(**bad)
    assert made.problems and says in made.message(), made.message()
    made.message().encode()


def test_two_mounts_on_one_target_are_refused_for_users_with_both() -> None:
    groups = [group(name, "ada", "", [{"source": name, "target": "course"}]) for name in ("one", "two")]
    made = plan(groups=groups)
    assert len(made.problems) == 1
    assert all(part in made.problems[0] for part in (HOME + "/course", f"{DATA}/one", "member of two", "'ada'"))
    groups[1]["members"] = ["bob"]
    assert plan(groups=groups).problems == []


def test_a_target_inside_of_a_read_only_mount_is_refused() -> None:
    made = plan(groups=[group("geo", "ada prof", mounts=[{"source": "maps", "target": "shared/maps"}])])
    assert len(made.problems) == 1  # prof may write in shared, so that Docker can make the place
    assert "'ada'" in made.problems[0] and "read-only" in made.problems[0]


def test_many_problems_are_shortened() -> None:
    made = plan(users=[user("ada", *(f"group{number}" for number in range(5000)))])
    assert len(made.problems) == 5000
    assert made.message().endswith(f"and {5000 - SHOWN} more") and made.message().count("\n") == SHOWN


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 2}', '{"version": 1}', '{"version": 1, "user": 1, "admins": 2}'],
)
def test_a_file_that_cannot_be_read(text: str) -> None:
    with pytest.raises(MountsError, match="the mounts file"):
        effective_mounts(text, "ada")


def test_a_conflict_that_only_the_hub_s_groups_bring_stops_the_spawn() -> None:
    groups = [group(name, "", "", [{"source": name, "target": "course"}]) for name in ("one", "two")]
    text = json.dumps(plan(groups=groups).content)
    with pytest.raises(MountsError, match="two mounts on"):
        effective_mounts(text, "ada", ["one", "two"])


NAMES = ["ada", "bob", "eve"]


@given(
    st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))), max_size=4),
    st.sampled_from(NAMES),
)
def test_nobody_gets_a_group_that_does_not_list_them(roles: list[tuple[set[str], set[str]]], name: str) -> None:
    groups = [group(f"g{n}", " ".join(members), " ".join(admins)) for n, (members, admins) in enumerate(roles)]
    made = plan(users=[user(one) for one in NAMES], groups=groups)
    got = {target for target in gets(made, name) if target.startswith("~/groups/")}
    assert got == {f"~/groups/g{n}" for n, both in enumerate(roles) if name in both[0] | both[1]}
