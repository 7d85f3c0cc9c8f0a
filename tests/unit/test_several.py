# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several authenticators of one hub: what the plan hands on, what the image makes of it, whose a name is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import prefix_of, same_identity
from ansible_collections.carrel.jupyter.plugins.module_utils._site.hub import has_own_parts
from carrel_hub import check, config, files, lti, native, people, provider_groups
from carrel_hub.configuration import configure
from carrel_hub.native_pages import AuthorizeHandler
from carrel_hub.passwords import Refused
from carrel_hub.several import CarrelSeveralAuthenticator
from jinja2 import Template
from jupyterhub import orm
from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from plan_helpers import good, hub
from plan_several_cases import GIT, GUESTS, UNI
from test_hub_image import LIMITS, OWN, SECRETS, STATE, given
from tornado import web
from traitlets.config import Config

LDAP = {"type": "ldap", "name": "uni", "title": "University", "prefix": "", "server_address": "ldap", **OWN,
        "secret_settings": ["lookup_dn_search_password"]}  # fmt: skip
NATIVE = {"type": "native", "name": "guests", "title": "Guests & <co>", "prefix": "guests-", "signup": True}
GITHUB = {"type": "github", "name": "git", "title": "GitHub", "prefix": "git-", "client_id": "id",
          "allowed_organizations": ["uni"], **OWN}  # fmt: skip
SECRET = {**SECRETS, "authenticator/uni/lookup_dn_search_password": "LOOKUP", "authenticator/git/client_secret": "GIT"}


def several(*each: dict[str, Any], **more: Any) -> dict[str, Any]:
    return given(authenticator={"type": "several", "each": [*each]}, **more)


def made(content: dict[str, Any]) -> CarrelSeveralAuthenticator:
    whole = configure(content, SECRET, STATE, Config())
    assert whole.problems == []
    session = orm.new_session_factory("sqlite://")()
    return CarrelSeveralAuthenticator(config=whole.config, _deprecated_db_session=session)


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CarrelSeveralAuthenticator:
    monkeypatch.setattr(files, "STATE", tmp_path)
    for module in (people, native):
        monkeypatch.setattr(module, "DIRECTORY", tmp_path)
    users = {name: {"identity": name, "admin": False, **LIMITS} for name in ("ada", "guests-ada", "git-ada")}
    content = {"version": 1, "users": users, "blocked": [], "provider_groups": {}}
    (tmp_path / "roster.json").write_text(json.dumps(content))
    (tmp_path / "passwords.json").write_text("{}")
    return made(several(LDAP, NATIVE, GITHUB))


def test_the_plan_hands_on_each_without_secrets_and_the_secrets_by_name() -> None:
    uni = {**UNI, "secret_settings": {"lookup_dn_search_password": "SECRET-1"}}
    each = {"type": "several", "each": [{**uni, "prefix": ""}, GUESTS, GIT]}
    plan = good([hub(authenticator=each, users=["ada", {"name": "guests-ada", "password": "SECRET-2"}])])
    (result,) = plan["hub_instances"]
    assert [(one["name"], one["prefix"]) for one in result["authenticator"]["each"]] == [
        ("uni", ""), ("guests", "guests-"), ("git", "git-"),
    ]  # fmt: skip
    assert "SECRET" not in json.dumps(result["authenticator"])
    assert result["authenticator_secrets"] == {
        "uni/lookup_dn_search_password": "SECRET-1", "git/client_secret": "SECRET",
    }  # fmt: skip
    assert "authenticator ldap and native and github" in plan["summary"][0] and has_own_parts(result)


def test_who_can_log_in_and_who_not_is_said_for_each() -> None:
    each = {"type": "several", "each": [UNI, GUESTS]}
    plan = good([hub(authenticator=each, users=["uni-ada", "guests-bob"])])
    assert plan["warnings"] == ["class101: guests-bob can't log in: there is neither a password nor signup: true"]


@pytest.mark.parametrize(
    ("name", "prefix"), [("ada", ""), ("guests-ada", "guests-"), ("guests", ""), ("git-guests-a", "git-")]
)
def test_a_name_is_of_the_longest_prefix(name: str, prefix: str) -> None:
    assert prefix_of(name, ["", "git-", "guests-"]) == prefix
    assert prefix_of(name, ["x-"]) is None


def test_each_has_traits_secrets_and_addresses_of_its_own(gate: CarrelSeveralAuthenticator) -> None:
    uni, guests, git = gate.each
    assert uni.lookup_dn_search_password == "LOOKUP" and git.client_secret == "GIT"
    assert git.oauth_callback_url == "https://example.org/class/hub/login/git/oauth_callback"
    assert git.login_url("/hub/") == "/hub/login/git/oauth_login" and guests.login_url("/") == "/login/guests/login"
    paths = [path for path, _handler in gate.get_handlers(None)]
    assert len(paths) == len(set(paths))
    assert {"/login", "/logout", "/login/uni/login", "/login/guests/login", "/signup", "/authorize",
            "/login/git/oauth_login", "/login/git/oauth_callback"} <= set(paths)  # fmt: skip
    assert gate.enable_auth_state and git.enable_auth_state and not uni.enable_auth_state
    assert all(one.auth_refresh_age == 1 and one.any_allow_config for one in (gate, *gate.each))


def test_two_of_one_class_share_nothing(gate: CarrelSeveralAuthenticator) -> None:
    other = {**LDAP, "name": "lab", "title": "Lab", "prefix": "lab-", "server_address": "other", "secret_settings": []}
    one, two = made(several(LDAP, other)).each
    assert (one.server_address, two.server_address) == ("ldap", "other")
    assert (one.prefix, two.prefix, two.lookup_dn_search_password) == ("", "lab-", None)


def test_the_page_escapes_titles_and_keeps_where_one_was_going(gate: CarrelSeveralAuthenticator) -> None:
    page = Template(gate.get_custom_html("/hub/")).render(next="%2Fhub%2Fhome")
    assert "Guests &amp; &lt;co&gt;" in page and 'href="/hub/login/guests/login?next=%2Fhub%2Fhome"' in page
    odd = made(several({**LDAP, "title": "{{ 1/0 }} {% endraw %}"}, NATIVE))
    assert "&#123;&#123; 1/0 }}" in Template(odd.get_custom_html("/hub/")).render()


def test_names_of_others_are_refused(gate: CarrelSeveralAuthenticator) -> None:
    uni, guests, git = gate.each

    async def ask(one: Any, name: str) -> bool:
        return bool(await one.check_allowed(name, {"identity": name, "name": name}))

    assert asyncio.run(ask(uni, "ada")) and asyncio.run(ask(git, "git-ada"))
    for one, name in ((uni, "guests-ada"), (uni, "git-ada"), (git, "ada"), (git, "guests-ada")):
        with pytest.raises(web.HTTPError, match="people who log in another way"):
            asyncio.run(ask(one, name))
    assert [guests.normalize_username(name) for name in ("Ada", "guests-ada")] == ["guests-ada"] * 2
    assert guests.invited() == ["guests-ada"]
    unprefixed = made(several({**LDAP, "prefix": "uni-"}, {**NATIVE, "prefix": ""})).each[1]
    with pytest.raises(Refused, match="people who log in another way"):
        asyncio.run(unprefixed.sign_up(None, "uni-ada", "long enough", ""))
    assert asyncio.run(unprefixed.authenticate(None, {"username": "uni-ada", "password": "x"})) is None


def test_accounts_that_an_earlier_inventory_left_to_others_are_out_of_reach(gate: CarrelSeveralAuthenticator) -> None:
    """A hub with passwords alone had the account ada; now that name is of the directory's Ada."""
    guests: Any = gate.each[1]
    for name in ("ada", "eve", "guests-eve"):
        guests._store(name, b"x", approved=False)
    assert [account.username for account in guests.accounts()] == guests.waiting() == ["guests-eve"]
    assert guests.account("guests-eve") and guests.account("ada") is None
    with pytest.raises(Refused, match="no account eve"):
        guests.approve("eve", True)
    with pytest.raises(Refused, match="no account ada"):
        asyncio.run(guests.set_password("ada", "long enough"))
    page: Any = SimpleNamespace(authenticator=guests)
    AuthorizeHandler.discard(page, "eve")
    guests.discard_waiting()
    assert {account.username for account in guests.db.query(native.UserInfo)} == {"ada", "eve"}


def test_a_short_name_is_the_one_of_the_plan(gate: CarrelSeveralAuthenticator) -> None:
    each = {"type": "several", "each": [UNI, GUESTS]}
    plan = good([hub(authenticator=each, normalize_usernames=True, users=["uni-Ada.L@uni.example"])])
    ((person,),) = ([*one["users"]] for one in plan["hub_instances"])
    uni = made(several({**LDAP, "prefix": "uni-"}, NATIVE, normalize_usernames=True)).each[0]
    model = asyncio.run(uni._identified({"name": "ada.l@uni.example", "auth_state": {"ldap_groups": []}}))
    name = uni.normalize_username(model["name"])
    assert name == person["name"] == "uni-ada-l--uni-example" and uni.owns(name)
    assert same_identity(model["identity"], person["identity"])


LONG = (
    "Anybody@students.uni-heidelberg.de",
    "maximilian.von.mustermann@uni.example",
    "ada",
    "sso-maximilian.von.mustermann@uni.example",
)


def test_a_prefix_stays_and_leaves_long_names_their_room(gate: CarrelSeveralAuthenticator) -> None:
    """The plan, oauthenticator's own shortening, JupyterHub at the log-in and the service that creates users agree."""
    sso = {**GIT, "name": "sso", "title": "SSO"}
    each = {"type": "several", "each": [sso, GUESTS]}
    long_ones = [f"sso-{name}" for name in LONG]
    plan = good([hub(authenticator=each, normalize_usernames=True, users=[*long_ones, "sso-" + LONG[0].upper()[1:]])])
    listed = {person["identity"]: person["name"] for person in plan["hub_instances"][0]["users"]}
    assert len(set(listed.values())) == len(LONG) + 1
    secret = {**SECRET, "authenticator/sso/client_secret": "x"}
    content = several({**GITHUB, "name": "sso", "title": "SSO", "prefix": "sso-"}, NATIVE, normalize_usernames=True)
    session = orm.new_session_factory("sqlite://")()
    made = configure(content, secret, STATE, Config())
    whole = CarrelSeveralAuthenticator(config=made.config, _deprecated_db_session=session)
    for raw in LONG:
        info = {"login": raw, "token": "x"}
        name = whole.each[0].normalize_username(whole.each[0].user_info_to_username(info))
        model = asyncio.run(whole.each[0]._identified({"name": name, "auth_state": {"github_user": info}}))
        assert model is not None
        name = whole.each[0].normalize_username(model["name"])
        assert name == listed[f"sso-{raw}"] == whole.normalize_username(name), raw
        assert same_identity(model["identity"], f"sso-{raw}")
    guest = whole.each[1].normalize_username("maximilian.von.mustermann@uni.example")
    assert guest == whole.each[1].normalize_username("Guests-maximilian.von.mustermann@uni.example")
    assert guest == "guests-maximilian-von-mus--uni-example"


def test_groups_say_which_provider_has_them(gate: CarrelSeveralAuthenticator) -> None:
    git = gate.each[2]
    model = {"identity": "git-ada", "name": "git-ada", "provider_groups": ["stat"]}
    assert asyncio.run(git.check_allowed("git-ada", model))
    assert provider_groups.recent() == {"git-ada": ["git:stat"]}
    content = several(LDAP, GITHUB, provider_groups=["uni:cn=a,dc=x", "git:stat"])
    assert made(content).each[0].allowed_groups == ["cn=a,dc=x"]


def test_sessions_are_refreshed_by_whom_they_are_of(gate: CarrelSeveralAuthenticator) -> None:
    uni, guests, git = gate.each
    for asked in (gate, uni, guests, git):
        for name in ("ada", "guests-ada", "git-ada"):
            assert asyncio.run(asked.refresh_user(SimpleNamespace(name=name, admin=False)))
        assert not asyncio.run(asked.refresh_user(SimpleNamespace(name="eve", admin=False)))
    prefixed = made(several({**LDAP, "prefix": "uni-"}, NATIVE))
    assert not asyncio.run(prefixed.refresh_user(SimpleNamespace(name="ada", admin=False)))


def test_only_people_with_a_password_here_can_change_it() -> None:
    hub = config.traits(several(LDAP, NATIVE), SECRET, STATE)["JupyterHub"]
    can = hub["template_vars"]["carrel_password"]
    assert can(SimpleNamespace(name="guests-ada")) and not can(SimpleNamespace(name="ada")) and not can(None)
    assert config.traits(given(), SECRETS, STATE)["JupyterHub"]["template_vars"]["carrel_password"] is True


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"settings": {"server_prt": 1}}, "authenticator.each[0].settings.server_prt: the authenticator has no such"),
        ({"settings": {"allow_all": True}}, "counts with guests: true alone"),
        ({"settings": {"prefix": "x"}}, "authenticator.each[0].settings.prefix: the role sets it"),
        ({"type": "custom", "class": "nothing.There"}, "authenticator.each[0].class: nothing.There cannot be imported"),
        ({"type": "custom", "class": "os.path"}, "authenticator.each[0].class: os.path is no class of authenticators"),
        ({"settings": {"server_port": "x"}}, "authenticator.each[0].settings: The 'server_port' trait"),
    ],
)
def test_errors_in_one_of_them_are_reported(changed: dict[str, Any], says: str) -> None:
    (problem,) = check.problems(several({**LDAP, "secret_settings": [], **changed}, NATIVE))
    assert says in str(problem)


def test_good_ones_have_no_problem_and_extra_config_leaves_them_alone() -> None:
    assert list(check.problems(several(LDAP, NATIVE, GITHUB))) == []
    text = "c.LDAPAuthenticator.server_address = 'x'\nc.GitHubOAuthenticator.client_id = 'x'\n"
    text += "c.CarrelSeveralAuthenticator.members = []\nc.LDAPAuthenticator.server_port = 1\n"
    found = list(map(str, check.problems(several(LDAP, NATIVE, GITHUB, extra_config=[{"name": "a", "text": text}]))))
    assert [line.partition(":")[0] for line in found] == ["a, line 1", "a, line 2", "a, line 3"]


class Launched(Authenticator):  # type: ignore[misc]
    """In place of ltiauthenticator's, which tests/integration has."""

    username_key = "email"
    callback_handler = BaseHandler

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        return {"name": self.get_username(data), "auth_state": data}


@pytest.mark.parametrize(
    ("key", "claims", "says"),
    [
        ("email", {"email": "ada@uni"}, None),
        ("custom_login", {f"{lti.CLAIM}custom": {"login": "ada@uni"}}, None),
        ("email", {"sub": "7"}, "email is missing"),
        ("custom_login", {"login": "ada@uni"}, "custom_login is missing"),
        ("email", {"email": "ada@uni", f"{lti.CLAIM}deployment_id": "2"}, "does not know the place"),
    ],
)
def test_a_launch_needs_a_name_and_a_known_place(key: str, claims: dict[str, Any], says: str | None) -> None:
    gate = type("Gate", (lti.LaunchMixin, Launched), {"username_key": key})(deployment_ids={"1"})
    launch = {"nonce": "n", f"{lti.CLAIM}deployment_id": "1", **claims}
    callback = SimpleNamespace(checked=launch)
    if says is None:
        assert asyncio.run(gate.authenticate(callback, launch))["name"] == "ada@uni"
        with pytest.raises(web.HTTPError, match="has been used"):
            asyncio.run(gate.authenticate(callback, launch))
    else:
        with pytest.raises(web.HTTPError, match=says):
            asyncio.run(gate.authenticate(callback, launch))
