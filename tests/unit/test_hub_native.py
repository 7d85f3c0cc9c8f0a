# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The native authenticator with a real database, and strangers who guess and sign up."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import bcrypt
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.passwords import is_bcrypt
from carrel_hub import files, invitations, native, owners, passwords, people
from carrel_hub.brake import Brake
from carrel_hub.native import CarrelNativeAuthenticator
from carrel_hub.native_pages import AuthorizeHandler
from carrel_hub.passwords import Busy, Passwords, Refused
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader
from jupyterhub import orm
from jupyterhub.scopes import parse_scopes
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, HTTPError

from testbed.patience import PATIENCE

USER = {"identity": "x", "admin": False, "memory": None, "swap": None, "cpus": None, "pids": None}
KEY = b"secret of the hub"


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    monkeypatch.setattr(native, "DIRECTORY", tmp_path)
    # Cheap ones, or these tests would take minutes.
    salt = bcrypt.gensalt
    monkeypatch.setattr(passwords.bcrypt, "gensalt", lambda: salt(4))
    monkeypatch.setattr(passwords, "NOBODY", bcrypt.hashpw(b"", salt(4)))
    declare(tmp_path, {"grace": "from the inventory"}, "prof")
    return tmp_path


def declare(desk: Path, first: dict[str, str], *others: str) -> None:
    users = {name: {**USER, "admin": name == "prof"} for name in (*first, *others)}
    (desk / "roster.json").write_text(json.dumps({"version": 1, "users": users, "blocked": ["mallory"]}))
    (desk / "passwords.json").write_text(json.dumps(first))


@pytest.fixture
def gate() -> Iterator[CarrelNativeAuthenticator]:
    session = orm.new_session_factory("sqlite://")()
    yield CarrelNativeAuthenticator(db=session, minimum_password_length=8, key=KEY)
    session.close()


def at(address: str = "192.0.2.7") -> Any:
    """A request as the hub has them, as far as it is looked at."""
    context = SimpleNamespace(address=(address, 1234))
    return SimpleNamespace(request=SimpleNamespace(connection=SimpleNamespace(context=context), headers=HTTPHeaders()))


def login(gate: CarrelNativeAuthenticator, name: str, password: str, address: str = "192.0.2.7") -> str | None:
    return asyncio.run(gate.authenticate(at(address), {"username": name, "password": password}))


def sign_up(gate: CarrelNativeAuthenticator, name: str, invitation: str = "", address: str = "192.0.2.7") -> str:
    return asyncio.run(gate.sign_up(at(address), name, "a password of my own", invitation))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which bcrypt ran."""
    threads: list[str] = []

    def note(work: Any) -> Any:
        def noted(*arguments: bytes) -> Any:
            threads.append(threading.current_thread().name)
            return work(*arguments)

        return noted

    for name in ("hashpw", "checkpw"):
        monkeypatch.setattr(passwords.bcrypt, name, note(getattr(bcrypt, name)))
    return threads


@pytest.mark.parametrize("name", ["grace", "prof", "eve", "mallory"])
def test_every_try_takes_one_bcrypt_outside_of_the_event_loop(
    gate: CarrelNativeAuthenticator, hashed: list[str], name: str
) -> None:
    """So nobody can tell from the time who is listed, has an account, or is blocked."""
    for _unused in range(3):
        assert login(gate, name, "wrong password") is None
    assert len(hashed) == 3 and all(thread.startswith("bcrypt") for thread in hashed)


def test_logging_in_takes_one_bcrypt_also_after_a_restart_of_the_hub(
    gate: CarrelNativeAuthenticator, hashed: list[str]
) -> None:
    assert login(gate, "grace", "from the inventory") == "grace"
    again = CarrelNativeAuthenticator(db=gate.db, key=KEY)
    assert login(again, "grace", "from the inventory") == "grace"
    assert len(hashed) == 2


def test_who_is_removed_while_the_password_is_set_has_no_account(
    gate: CarrelNativeAuthenticator, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many log-ins, the hash waits. An account would stay, and count as a guest's."""
    compute = gate.passwords.hash

    async def late(password: str) -> bytes:
        declare(desk, {}, "prof")
        return await compute(password)

    monkeypatch.setattr(gate.passwords, "hash", late)
    assert login(gate, "grace", "from the inventory") is None
    assert gate.get_user("grace") is None and not (desk / native.APPLIED).exists()


def test_a_changed_password_survives_a_new_key_and_the_state_of_older_versions(
    gate: CarrelNativeAuthenticator, desk: Path
) -> None:
    assert login(gate, "grace", "from the inventory") == "grace"
    asyncio.run(gate.set_password("grace", "a password of my own"))
    another = CarrelNativeAuthenticator(db=gate.db, key=b"another")
    assert login(another, "grace", "a password of my own") == "grace"
    applied = desk / native.APPLIED
    applied.write_text(json.dumps({"grace": json.loads(applied.read_text())["grace"]["bcrypt"]}))
    assert login(another, "grace", "a password of my own") == "grace"
    assert login(another, "grace", "from the inventory") is None
    declare(desk, {"grace": "a second one"})
    assert login(another, "grace", "a password of my own") is None
    assert login(another, "grace", "a second one") == "grace"


def test_the_inventory_may_have_the_hash_of_a_password(
    gate: CarrelNativeAuthenticator, desk: Path, hashed: list[str]
) -> None:
    old = bcrypt.hashpw(b"of another hub", bcrypt.gensalt()).decode()
    declare(desk, {"grace": old})
    hashed.clear()
    assert login(gate, "grace", old) is None  # whoever sees the hash does not get in
    assert login(gate, "grace", "of another hub") == "grace"
    another = CarrelNativeAuthenticator(db=gate.db, key=b"another")
    assert login(another, "grace", "of another hub") == "grace"
    assert len(hashed) == 3 and gate.get_user("grace").password == old.encode()
    asyncio.run(gate.set_password("grace", "a password of my own"))
    for each in (another, CarrelNativeAuthenticator(db=gate.db, key=b"a third")):
        assert login(each, "grace", "of another hub") is None
        assert login(each, "grace", "a password of my own") == "grace"
    second = bcrypt.hashpw(b"of a third hub", bcrypt.gensalt()).decode()
    declare(desk, {"grace": second})
    assert login(gate, "grace", "a password of my own") is None
    assert login(gate, "grace", "of a third hub") == "grace"


@pytest.mark.parametrize("form", ["$2x$12$", "$2b$17$", "$argon2id$v=19$", "$5$", "$6$", "$y$", "scrypt:32768:8:1$"])
def test_a_hash_of_another_kind_is_no_password(
    gate: CarrelNativeAuthenticator, desk: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    """Nor does it take the place of the person's own."""
    assert login(gate, "grace", "from the inventory") == "grace"
    declare(desk, {"grace": f"{form}{'a' * 40}"})
    assert login(gate, "grace", f"{form}{'a' * 40}") is None
    assert login(gate, "grace", "from the inventory") == "grace"
    assert "the inventory's password of grace is a hash that can't be checked" in caplog.text
    assert "aaaa" not in caplog.text


@pytest.mark.parametrize(("cost", "taken"), [("04", True), ("12", True), ("15", True), ("16", False), ("31", False)])
def test_a_hash_that_would_take_hours_to_check_is_none(cost: str, taken: bool) -> None:
    assert is_bcrypt(f"$2b${cost}${'a' * 53}") is taken


def test_two_first_log_ins_at_once_make_one_account(gate: CarrelNativeAuthenticator) -> None:
    async def both() -> list[str | None]:
        data = {"username": "grace", "password": "from the inventory"}
        return await asyncio.gather(*(gate.authenticate(at(), data) for _unused in range(5)))

    assert asyncio.run(both()) == ["grace"] * 5
    assert [account.username for account in gate.accounts()] == ["grace"]


def test_people_beyond_the_queue_are_asked_to_come_again(gate: CarrelNativeAuthenticator) -> None:
    gate.passwords = Passwords(1, most_waiting=2)

    async def many() -> list[Any]:
        data = {"username": "grace", "password": "from the inventory"}
        refused = threading.Event()
        before = asyncio.ensure_future(gate.passwords._threads.run(lambda: refused.wait(PATIENCE)))
        waiting = tries = {
            asyncio.ensure_future(gate.authenticate(at(f"192.0.2.{number}"), data)) for number in range(6)
        }
        # Each one's address is looked up first, so nobody knows whose try comes first.
        while len(waiting) > 1 and not before.done():
            _unused, waiting = await asyncio.wait(waiting | {before}, return_when=asyncio.FIRST_COMPLETED)
            waiting -= {before}
        refused.set()
        assert await before
        return await asyncio.gather(*tries, return_exceptions=True)

    answers = asyncio.run(many())
    assert answers.count("grace") == 1
    assert {error.status_code for error in answers if isinstance(error, HTTPError)} == {503}
    assert login(gate, "grace", "from the inventory") == "grace"


def test_wrong_tries_lock_out_their_address_and_nobody_else(gate: CarrelNativeAuthenticator) -> None:
    for _unused in range(10):
        assert login(gate, "grace", "wrong password", "192.0.2.66") is None
    with pytest.raises(HTTPError, match="wait a minute"):
        login(gate, "grace", "from the inventory", "192.0.2.66")
    assert login(gate, "grace", "from the inventory") == "grace"
    assert login(gate, "eve", "wrong password", "192.0.2.66") is None


def test_the_log_has_the_addresses_of_wrong_passwords(
    gate: CarrelNativeAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(gate.log, "warning", lambda text, *values: said.append(text % values))
    for name in ("eve'from:192.0.2.7", "eve\nfrom:192.0.2.7"):  # nobody has the second name, so it is no try
        assert login(gate, name, "wrong password", "192.0.2.66") is None
    assert login(gate, "grace", "from the inventory") == "grace"
    assert said == ['wrong password from 192.0.2.66 for "eve\'from:192.0.2.7"']


def test_tries_that_come_at_once_count_before_they_are_answered(gate: CarrelNativeAuthenticator) -> None:
    async def many() -> list[Any]:
        data = {"username": "grace", "password": "wrong password"}
        return await asyncio.gather(*(gate.authenticate(at(), data) for _unused in range(15)), return_exceptions=True)

    answers = asyncio.run(many())
    assert (answers.count(None), len([error for error in answers if isinstance(error, HTTPError)])) == (10, 5)


def test_one_address_cannot_try_everybody(gate: CarrelNativeAuthenticator) -> None:
    gate.wrong_of_address = Brake(12, 60)
    for number in range(12):
        assert login(gate, f"user{number}", "wrong password", "192.0.2.66") is None
    with pytest.raises(HTTPError, match="wait a minute"):
        login(gate, "grace", "from the inventory", "192.0.2.66")
    assert login(gate, "grace", "from the inventory") == "grace"


def test_a_class_behind_one_address_gets_in(gate: CarrelNativeAuthenticator, desk: Path) -> None:
    gate.wrong_of_address = Brake(12, 60)
    everybody = {f"student{number}": f"password {number}" for number in range(15)}
    declare(desk, everybody)
    assert [login(gate, name, password) for name, password in everybody.items()] == list(everybody)


def test_an_account_that_waits_does_not_confirm_endless_guesses(gate: CarrelNativeAuthenticator) -> None:
    assert sign_up(gate, "eve") == native.SENT
    with pytest.raises(HTTPError, match="approval"):
        login(gate, "eve", "a password of my own")
    for _unused in range(10):
        assert login(gate, "eve", "wrong password") is None
    with pytest.raises(HTTPError, match="wait a minute"):
        login(gate, "eve", "a password of my own")


@pytest.mark.parametrize("name", ["grace", "prof", "mallory", "Prof", " prof ", "eve", "guest"])
def test_signing_up_reveals_no_names_and_takes_no_listed_one(gate: CarrelNativeAuthenticator, name: str) -> None:
    sign_up(gate, "guest")
    before = gate.get_user("guest").password
    assert sign_up(gate, name) == native.SENT
    assert {account.username for account in gate.accounts()} == {"guest", *({"eve"} & {name})}
    assert gate.get_user("guest").password == before


def test_listed_people_sign_up_once_with_the_invitation(gate: CarrelNativeAuthenticator) -> None:
    code = invitations.code(KEY, "prof")
    assert gate.invited() == ["prof"]
    for name, given in (("prof", "abcd-efgh-ijkl-mnop"), ("grace", invitations.code(KEY, "grace")), ("eve", code)):
        with pytest.raises(Refused, match="not for this name"):
            sign_up(gate, name, given)
    assert sign_up(gate, "prof", f" {code.upper()}\n") == native.WELCOME
    assert login(gate, "prof", "a password of my own") == "prof"
    assert gate.invited() == []
    with pytest.raises(Refused, match="has been used"):
        sign_up(gate, "prof", code)


def test_the_server_of_a_group_is_not_invited(gate: CarrelNativeAuthenticator, desk: Path) -> None:
    users = {"prof": USER, "group-stat": {**USER, "server_of": "stat"}}
    (desk / "roster.json").write_text(json.dumps({"version": 1, "users": users, "blocked": []}))
    assert gate.invited() == ["prof"]


def test_nobody_becomes_a_guest_with_the_name_of_a_server_that_a_group_had(gate: CarrelNativeAuthenticator) -> None:
    gate.enable_signup = True
    for name in ("eve", "group-stat"):
        sign_up(gate, name)
        gate.approve(name, True)
    files.write_state(
        owners.LISTED, {"names": [], "identities": {"group-stat": "group:stat", "group-geo": "group:geo"}}
    )
    assert gate.check_allowed("eve") and not gate.check_allowed("group-stat")
    assert sign_up(gate, "group-geo") == native.SENT and gate.get_user("group-geo") is None
    with pytest.raises(Refused, match="group's server"):
        gate.approve("group-stat", True)
    gate.approve("group-stat", False)


def test_an_old_invitation_does_not_work_for_a_later_person_of_the_name(gate: CarrelNativeAuthenticator) -> None:
    code = invitations.code(KEY, "prof")
    sign_up(gate, "prof", code)
    gate.delete_user(SimpleNamespace(name="prof"))
    assert gate.get_user("prof") is None
    with pytest.raises(Refused):
        sign_up(gate, "prof", code)
    assert sign_up(gate, "prof", invitations.code(KEY, "prof")) == native.WELCOME


def test_an_account_older_than_the_listing_is_not_approved(gate: CarrelNativeAuthenticator, desk: Path) -> None:
    sign_up(gate, "ada")
    declare(desk, {}, "ada")
    with pytest.raises(Refused, match="needs an invitation"):
        gate.approve("ada", True)
    assert sign_up(gate, "ada", invitations.code(KEY, "ada")) == native.WELCOME
    assert login(gate, "ada", "a password of my own") == "ada"


def test_people_listed_again_get_in_with_the_inventorys_password(gate: CarrelNativeAuthenticator) -> None:
    assert login(gate, "grace", "from the inventory") == "grace"
    asyncio.run(gate.set_password("grace", "a password of my own"))
    gate.delete_user(SimpleNamespace(name="grace"))
    assert login(gate, "grace", "a password of my own") is None
    assert login(gate, "grace", "from the inventory") == "grace"


@pytest.mark.parametrize(
    "name",
    ["", "a" * 129, "ada\u200b", "\ufeffada", "ada\u202eevil", "a\u3164da", "a b", "a,b", "a/b", "..", "a\nb"],
)
def test_names_that_look_like_others_are_refused(gate: CarrelNativeAuthenticator, name: str) -> None:
    with pytest.raises(Refused, match="A name has"):
        sign_up(gate, name)
    assert not list(gate.accounts())


def test_sign_ups_have_limits(gate: CarrelNativeAuthenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.sign_ups = Brake(5, 60)
    for number in range(5):
        sign_up(gate, f"user{number}", address="192.0.2.66")
    with pytest.raises(Refused, match="Too many people"):
        sign_up(gate, "one-more", address="192.0.2.66")
    monkeypatch.setattr(native, "MOST_WAITING", 6)
    assert sign_up(gate, "one-more") == native.SENT
    with pytest.raises(Refused, match="Too many people"):
        sign_up(gate, "two-more")
    assert sign_up(gate, "prof", invitations.code(KEY, "prof")) == native.WELCOME


def test_a_lecture_with_invitations_signs_up_from_one_address(gate: CarrelNativeAuthenticator, desk: Path) -> None:
    gate.sign_ups = Brake(3, 3600)
    students = [f"student{number}" for number in range(8)]
    declare(desk, {}, *students)

    async def all_at_once() -> list[str]:
        codes = {name: invitations.code(KEY, name) for name in students}
        tries = (gate.sign_up(at(), name, "a password of my own", code) for name, code in codes.items())
        return await asyncio.gather(*tries)

    assert asyncio.run(all_at_once()) == [native.WELCOME] * 8
    for _unused in range(3):
        with pytest.raises(Refused, match="not for this name"):
            sign_up(gate, "student0", invitations.code(KEY, "student0"))  # has been used, and so counts
    with pytest.raises(Refused, match="Too many people"):
        sign_up(gate, "guest")


def test_one_invitation_used_twice_at_once_makes_one_account(gate: CarrelNativeAuthenticator) -> None:
    async def twice() -> list[Any]:
        code = invitations.code(KEY, "prof")
        tries = (gate.sign_up(at(), "prof", password, code) for password in ("the first one's", "the second's"))
        return await asyncio.gather(*tries, return_exceptions=True)

    answers = asyncio.run(twice())
    assert len([answer for answer in answers if isinstance(answer, Refused)]) == 1


def authorize(gate: CarrelNativeAuthenticator, admin: bool, **fields: str) -> AuthorizeHandler:
    """What comes of the form at Authorize users; who asks is made up, JupyterHub would know it from the cookie."""
    start = RequestStartLine("POST", "/hub/authorize", "HTTP/1.1")
    request = HTTPServerRequest(start_line=start, headers=HTTPHeaders({"Host": "hub"}), connection=mock.Mock())
    request.body_arguments = {name: [value.encode()] for name, value in fields.items()}
    hub = SimpleNamespace(base_url="/hub/")
    handler = AuthorizeHandler(Application(db=gate.db, authenticator=gate, hub=hub, cookie_secret=KEY), request)
    handler._transforms = []
    handler._jupyterhub_user = SimpleNamespace(name="prof")
    handler.expanded_scopes = {"admin:users"} if admin else set()
    handler.parsed_scopes = parse_scopes(handler.expanded_scopes)
    asyncio.run(handler.post())
    return handler


def test_an_admin_empties_a_full_waiting_list_with_one_form(
    gate: CarrelNativeAuthenticator, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "MOST_WAITING", 6)
    sign_up(gate, "prof", invitations.code(KEY, "prof"))
    for name in ("guest", "was-in", "ada", "spam1", "spam2", "spam3", "spam4"):
        sign_up(gate, name)
        if name == "guest":
            gate.approve(name, True)
    gate.db.add(orm.User(name="was-in"))  # and may have files
    declare(desk, {}, "prof", "ada")  # since then
    with pytest.raises(Refused, match="Too many people"):
        sign_up(gate, "late")
    with pytest.raises(HTTPError) as refused:
        authorize(gate, admin=False, action="discard-all")
    assert refused.value.status_code == 403 and len(list(gate.accounts())) == 8
    answer = authorize(gate, admin=True, action="discard-all")
    assert (answer.get_status(), answer._headers["Location"]) == (302, "/hub/authorize")
    assert {account.username for account in gate.accounts()} == {"prof", "guest", "was-in", "ada"}
    assert sign_up(gate, "late") == native.SENT


@pytest.mark.parametrize(("waiting", "shown"), [(0, ""), (1, "1 waits for"), (500, "500 wait for")])
def test_the_form_for_all_that_wait_has_its_token(waiting: int, shown: str) -> None:
    frame = DictLoader({"page.html": "{% block main %}{% endblock %}"})
    loader = ChoiceLoader([frame, FileSystemLoader(Path(native.__file__).parent / "templates")])
    template = Environment(loader=loader, autoescape=True).get_template("authorization-area.html")
    text = template.render(xsrf="the token", accounts=[], waiting=["guest"] * waiting)
    form = re.search(r"<form method=.post.[^>]*>(.*?)</form>", text, re.DOTALL)
    assert bool(form) == bool(waiting) and shown in text
    if form:
        assert 'name="_xsrf" value="the token"' in form[1] and 'value="discard-all"' in form[1]


SESSION = "the browser's"


def with_sessions(gate: CarrelNativeAuthenticator, name: str) -> orm.User:
    """Logged in with two browsers and with tokens, and a server runs: as JupyterHub has it in its database."""
    db = gate.db
    server = f"jupyterhub-user-{name}"
    if not db.query(orm.OAuthClient).count():
        db.add_all([orm.OAuthClient(identifier="jupyterhub"), orm.OAuthClient(identifier=server)])
    user = orm.User(name=name)
    db.add(user)
    db.commit()
    url, early, late = f"/user/{name}/", datetime(2026, 1, 1, 8), datetime(2026, 1, 1, 10)
    user._orm_spawners.append(orm.Spawner(name="", started=datetime(2026, 1, 1, 9), server=orm.Server(base_url=url)))
    for note, created in (
        ("script", late),
        (f"Server at {url}", early),
        ("of before", early),
        (f"Server at {url}", late),
    ):
        token = orm.APIToken(user=user, client_id="jupyterhub", note=note, created=created)
        token.token = f"{note} {created}"
        db.add(token)
    for session in (SESSION, "another"):
        token = orm.APIToken(user=user, client_id=server, note=session, session_id=session, created=late)
        token.token = session
        db.add(token)
    db.add(orm.OAuthCode(user=user, client_id=server, code="code"))
    db.commit()
    return user


def what_is_left(gate: CarrelNativeAuthenticator) -> list[tuple[str, int]]:
    gate.db.expire_all()
    assert not gate.db.query(orm.OAuthCode).count()
    return [(token.note, token.created.hour) for token in gate.db.query(orm.APIToken).order_by(orm.APIToken.id)]


def test_a_password_set_by_an_admin_ends_sessions_but_not_the_server(gate: CarrelNativeAuthenticator) -> None:
    login(gate, "grace", "from the inventory")
    grace = with_sessions(gate, "grace")
    cookie = grace.cookie_id
    asyncio.run(gate.set_password("grace", "a password of my own"))
    assert what_is_left(gate) == [("Server at /user/grace/", 8)], "a token of that name is no way around"
    assert grace.cookie_id != cookie


def test_changing_ones_password_keeps_this_browser_logged_in(gate: CarrelNativeAuthenticator) -> None:
    login(gate, "grace", "from the inventory")
    with_sessions(gate, "grace")
    asyncio.run(gate.set_password("grace", "a password of my own", SESSION))
    assert what_is_left(gate) == [("Server at /user/grace/", 8), (SESSION, 10)]
    assert login(gate, "grace", "a password of my own") == "grace"
    assert what_is_left(gate) == [("Server at /user/grace/", 8), (SESSION, 10)], "logging in ends nothing"


def test_a_new_password_in_the_inventory_ends_sessions_before_anybody_logs_in(
    gate: CarrelNativeAuthenticator, desk: Path, hashed: list[str]
) -> None:
    login(gate, "grace", "from the inventory")
    grace = with_sessions(gate, "grace")
    own = SimpleNamespace(current_user=grace)

    async def many(handler: Any) -> list[Any]:
        return await asyncio.gather(*(gate.refresh_user(grace, handler) for _unused in range(5)))

    assert asyncio.run(many(own)) == [True] * 5
    asyncio.run(gate.set_password("grace", "a password of my own"))
    cookie = grace.cookie_id
    assert asyncio.run(many(own)) == [True] * 5
    declare(desk, {"grace": "a second one"})
    hashed.clear()
    assert asyncio.run(many(own)) == [False] * 5
    assert len(hashed) == 2 and grace.cookie_id != cookie
    assert what_is_left(gate) == [("Server at /user/grace/", 8)]
    assert asyncio.run(gate.refresh_user(grace, own)) is True, "the server's own token"
    assert login(gate, "grace", "a second one") == "grace"
    declare(desk, {"grace": "a third one"})
    assert asyncio.run(gate.refresh_user(grace, SimpleNamespace(current_user="prof"))) is True


def test_an_invitation_ends_sessions_of_who_had_the_name_before(gate: CarrelNativeAuthenticator, desk: Path) -> None:
    sign_up(gate, "ada")
    with_sessions(gate, "ada")
    declare(desk, {}, "ada")
    sign_up(gate, "ada", invitations.code(KEY, "ada"))
    assert what_is_left(gate) == [("Server at /user/ada/", 8)]


@pytest.mark.parametrize("password", ["short", "x" * 73, "\u00e4" * 37])
def test_passwords_that_bcrypt_would_cut_and_short_ones_are_refused(
    gate: CarrelNativeAuthenticator, password: str
) -> None:
    sign_up(gate, "eve")
    with pytest.raises(Refused, match="at least 8"):
        asyncio.run(gate.sign_up(at(), "bob", password, ""))
    with pytest.raises(Refused, match="at least 8"):
        asyncio.run(gate.set_password("eve", password))
    assert login(gate, "grace", password) is None


def test_busy_is_a_refusal_with_words() -> None:
    assert "try again" in str(Busy())
