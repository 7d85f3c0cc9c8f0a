# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a plan about the users and groups of hubs: id, path, what the message must contain, inputs."""

from __future__ import annotations

from typing import Any

from plan_helpers import CLASS, at_hub
from plan_hub_cases import OIDC


def roster(text: str, **keys: Any) -> dict[str, Any]:
    return {**at_hub(**{"users": ..., "users_csv": "class.csv", **keys}), "files": {"/inventory/class.csv": text}}


def line(number: int) -> str:
    return f"{CLASS}.users_csv (class.csv line {number})"


def native(password: str) -> dict[str, Any]:
    return at_hub(users=[{"name": "ada", "password": password}])


PEOPLE_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
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
    ("roster_syntax_many", f"{CLASS}.users_csv (class.csv)", "20 lines are not", roster("name\n" + '"a"x\n' * 30)),
    ("missing", f"{line(3)}.name", "the user's name", roster("name,memory\nada,1G\n,2G\n")),
    ("size", f"{line(2)}.memory", "'lots' is not a size", roster("name,memory\nada,lots\n")),
    ("wrong_type", f"{line(2)}.admin", "is text; write true or false", roster("name,admin\nada,maybe\n")),
    ("wrong_type", f"{line(2)}.cpus", "is text; write a number", roster("name,cpus\nada,two\n")),
]
