# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All messages about problems in an inventory. None of them shows a value that may be secret."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import NamedTuple

# The text after the key's path. "{x}" is filled in. A message says what is wrong, and then what to write.
MESSAGES: dict[str, str] = {
    # shape
    "wrong_type": "is {got}; write {wanted}",
    "unknown_key": "unknown key; did you mean '{near}'?",
    "unknown_key_far": "unknown key; the keys here are: {known}",
    "compose_key": "is a key of compose files, not of this inventory; {instead}",
    "missing": "is missing; write {wanted}",
    "empty": "is empty; write {wanted}, or leave the key out",
    "choice": "{value} is not one of the possible values; write {options}",
    "range": "{value} is out of range; write {wanted} from {low} to {high}",
    "control_character": "contains a line break or another control character; write it without",
    "not_a_default": "can't be a default, each instance needs its own; move it to jupyter_instances",
    "template": "could not be rendered: {error}; define what is missing, give the vault's password, or write !unsafe "
    "before a text that has braces of its own",
    "template_comment": "contains '{{#', or uses a variable that does: templates begin a comment there, and part of "
    "the text would be lost; write !unsafe before it where it is defined",
    # names
    "name": "{value} is not a name for an instance or an engine; write 1 to 31 of a-z, 0-9 and '-', beginning with a "
    "letter and not ending in '-'{hint}",
    "name_reserved": "{value} can't be used: {reason}; choose another name",
    "name_twice": "{value} is also the name of {other}; give each instance a name of its own",
    "rollout_share": "is {got}; write {wanted}",
    "merge_differs": "has another value in {other}; write it in one of the two, or in {own} of the host, which wins",
    "engine_chain": "instance {value} runs on the engine '{engine}' itself; write engine: {last}",
    "other_kind": "is not a key of a {kind}; {instead}",
    "kind_moved": "the instance is a {old} on the host, and its data would be lost to a {new}; write kind: {old}, or "
    "run with state: absent first, which archives the data",
    # urls
    "url_scheme": "does not begin with https:// or http://; write the full address{hint}",
    "url_character": "contains a space, a backslash or a control character; write the address without it",
    "url_userinfo": "contains a user name or password before '@'; write the address without it",
    "url_query": "contains '?' or '#'; an instance's address has neither, write what comes before",
    "url_host": "{value} is not a host name; write letters, digits, '-' and '.', for example lab.example.org",
    "url_host_unicode": "{value} is not ASCII; write the host name in punycode{hint}",
    "url_ipv6": "the host is an IPv6 address; write a host name that leads to it",
    "url_port": "{value} is not a port; write a whole number from 1 to 65535",
    "url_port_scheme": "{scheme} on port {port} is what browsers and Apache take for the other scheme; write {wanted}",
    "url_path": "the path {value} can't be served; write segments of letters, digits, '-', '_', '.' and '~' that don't "
    "begin with '.', single slashes between them",
    "url_path_encoded": "the path contains an encoded character ('%'); write a path of plain letters and digits",
    "url_twice": "{value} is also the address of {other}; give each instance an address of its own",
    "url_shadow": "{value} hides a page of {other}, whose server answers under that path itself; choose another path",
    "url_plain_and_tls": "port 80 of {host} leads to https because of {other}; write https:// too, or another host",
    "url_mixed_port": "port {port} speaks both http and https, because of {other}; choose another port",
    # tls
    "tls_missing": "is missing for an https address; choose one of {modes} (none only with http://, files with "
    "certificate and private_key), here or for all instances in jupyter_tls",
    "tls_none": "is none, but the address begins with https://; write http:// there, or one of {modes} here (files "
    "with certificate and private_key)",
    "tls_on_http": "is {mode}, but the address begins with http://; write https:// there, or tls: none here",
    "tls_pair": "mode files needs certificate and private_key, both paths on the host; write both",
    "tls_no_pair": "mode {mode} makes its own certificate; leave certificate and private_key out, or write mode: files",
    "tls_acme_host": "no certificate authority issues a certificate for {host}; write a public host name in url, "
    "or another mode",
    "tls_differs": "differs from {other} on the same host name and port; write the same tls for both",
    "hsts_on_http": "is more than 0, but the address begins with http://; write 0, or https:// there",
    "hsts_differs": "differs from {other} on the same host name and port; write the same hsts_seconds for both",
    # images
    "image": "is not an image reference; write [registry/]name[:tag][@sha256:...] in lower case, for example "
    "registry.example.org/lab:1.0",
    "image_tag_for_pull": "has no tag or digest, so reset.pull would bring in a different image any night; write a tag",
    "image_and_build": "both image and build are given; keep one",
    "image_or_build": "neither image nor build is given; write image: NAME:TAG, or build: FOLDER",
    "build_pull": "nothing is pulled for an image that is built on the host; leave pull out",
    "declared_name": "{value} is not a name for an image; write lower-case letters and digits, between them '.', '_', "
    "'-' and '/'",
    "declared_own": "{value} is the name of the collection's own image; choose another one",
    "declared_twice": "{value} is also the name of {other}; give each image a name of its own",
    "declared_unknown": "{value} is not one of jupyter_images{hint}; declare it there",
    "declared_image": "{problem}",
    "declared_kernel": "{problem}",
    "beside_folder": "has no effect beside folder; write it into the Dockerfile, or leave folder out",
    "build_context": "{value} is not a folder on the control node; write the folder that holds the Dockerfile",
    "smoke_file": "{value} can't be read on the control node ({error}); write the path of a notebook",
    "smoke_notebook": "{value} can't be run: {error}",
    "build_dockerfile": "there is no file {value} on the control node; write its name relative to the context",
    # values
    "time": '{value} is not a time of day; write HH:MM, for example "01:25"{daily}',
    "time_unquoted": 'is a number, because YAML reads HH:MM without quotes in base 60; write "{text}" in quotes',
    "timezone": "{value} is not a time zone; write a name such as {near}",
    "repository": "{value} is not a place for repositories; write an absolute path, or an address that begins with "
    "rest:https://, s3: or sftp:",
    "repository_place": "{value} can't be the repository: {reason}; write a path elsewhere, for example /srv/backup",
    "repository_password": "contains a password before '@'; write RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD in "
    "environment, from a vault",
    "backup_volumes": "there are no backups of named volumes, in which this hub keeps its homes (backend: volumes); "
    "write backup: {{enabled: false}}, and back them up yourself",
    "reset_too_long": "may wait {hours} hours, and the next one begins after 24; make it 23 by lowering some of {keys}",
    "timezone_alone": "has no effect without a time in at; write at: HH:MM, or leave it out",
    "rotate_token": "rotates a token that the host made, and {reason}; leave it out",
    "token_place": "{value} can't hold the token: {reason}; write a path elsewhere, for example /srv/tokens/tao",
    "token_file_given": "is for a token that the host makes, and {key} is given; leave it out",
    "token_file_twice": "{value} is also the token_file of {other}; give each a file of its own",
    "not_text": "is {got}, not text; write it in quotes, or YAML may change it; in a template, add '| string'",
    "key_not_text": "has a key that is {got}, not text; write it in quotes, or YAML may change it",
    "secret_space": "begins or ends with a space, which the login form removes; write it without",
    "size": '{value} is not a size; write a number with K, M, G or T, for example "8G"',
    "size_range": '{value} is out of range; write a size from {low} to {high}, for example "8G"',
    "ids": 'is not a pair of ids; write "uid:gid" in quotes, both from 0 to 65535, for example "{example}"',
    "device": "{value} is not the CDI name of a device; write VENDOR/CLASS=NAME, for example nvidia.com/gpu=0",
    "device_twice": "{value} is listed twice; keep one",
    "gpus_few": "{value} is more than the hub has; write at most {count}, or more names in gpu_devices",
    "volume_text": "is text; write {hint}",
    "environment_name": "is not the name of an environment variable; write letters, digits and '_', no digit first",
    "login_option": "has {option}, which replaces the declared password and token; leave it out, and use the "
    "keys password or token",
    "environment_reserved": "is set by the role itself; {instead}",
    "container_path": "{value} is not a folder in the container; write an absolute path other than '/', without '..' "
    "and not in /proc, /sys or /dev",
    "host_path": "{value} is not a path on the host; write an absolute path other than '/', without '..'",
    "base_dir": "{value} can't be used in cron's lines; write a path of letters, digits, '.', '_' and '-'",
    "source_forbidden": "{value} can't be used: {reason}; choose another folder",
    "relative_path": "{value} leaves the folder; write a path relative to it, without '..'",
    "target_twice": "{value} is also where {other} is mounted; give each mount a folder of its own",
    "persist_name": "{value} is not a name for a folder; write a-z, 0-9, '.', '_' and '-', beginning with a letter or "
    "digit, and not {taken}",
    "login_one": "has {count} of notice, notice_html and template; write exactly one of them",
    "login_template": "{value} can't be read on the control node ({error}); write the path of a text file",
    "directives_section": "{value} ends what these lines did not begin; write each section of Apache's whole",
    "directives_end": "a section or a line has no end; write </NAME> at the end of a section, and no '\\' last",
    "server_setting": "can't be set here: {instead}",
    "server_setting_secret": "looks like a secret, and diffs show these settings; leave it out",
    "class_of_traits": "{value} is not the name of a class; write it as its documentation does, for example ServerApp",
    # hubs
    "image_and_images": "both image and images are given; keep one",
    "image_tag": "has no tag or digest, so nobody could say which version users have; write a tag",
    "title_twice": "{value} is also the title of another image; give each a title of its own",
    "persist_in_home": "{value} lies in the home {home}, which is kept anyway; leave it out",
    "persist_over_home": "{value} holds the home {home}; write a folder beside it",
    "volumes_view": "with backend: volumes there is no folder of all users to look into; write none",
    "volumes_prune": "with backend: volumes this would archive the volumes of people who are not listed, too, whom "
    "authenticator.{key} lets in; write keep",
    "default_url": "{value} is not a path; write one that begins with '/', for example /lab",
    "network": "{value} is not a network of IPv4; write an address, or a network such as 192.0.2.0/24. For names of "
    "hosts see docs/howto/firewall.md",
    "database_image": "sqlite needs no server; leave the image out, or write type: postgresql",
    "settings_plugin": "{value} is not the name of JupyterLab's settings; write package:plugin, for example "
    "'@jupyterlab/apputils-extension:themes'",
    "mounts": "{problem}",
    # logging in to hubs
    "dummy_insecure": "type dummy lets anybody log in as anyone; write insecure: true beside it if you want that, or "
    "another type",
    "endpoint": "is not an address; write https://, a host and a path, without a user name, spaces and '#'",
    "endpoint_http": "would send the client's secret and names unencrypted; write https://, or insecure: true for "
    "a trial",
    "tenant": "is not the id of a tenant; write it as 11111111-2222-3333-4444-555555555555: it is in the issuer at "
    "https://login.microsoftonline.com/{domain}/v2.0/.well-known/openid-configuration",
    "tenant_any": "{value} lets in people of any tenant under any name; write the id of your tenant",
    "claim_not_unique": "{value} is not unique, so two people could share an account; write preferred_username or oid",
    "several_few": "has {count}; write at least two, or one without several and each",
    "several_name": "{value} is not a name for an authenticator; write 1 to 15 of a-z, 0-9 and '-', beginning with a "
    "letter and not ending in '-'",
    "several_prefix": "{value} is not a prefix; write 1 to 16 of a-z, 0-9 and '-', beginning with a letter and ending "
    "in '-', or \"\" for none",
    "several_twice": "{value} is also the {key} of {other}; give each authenticator one of its own",
    "several_names": "names at {other} begin with {value}, too, so that two people could share an account; give each "
    "authenticator a prefix of its own",
    "several_native": "{other} is of type native already, and a hub has one list of passwords; keep one of them",
    # what an administrator adds
    "extra_config_file": "{value} can't be read on the control node ({error}); write the path of a file of Python",
    "file_twice": "{value} is listed twice; keep one",
    "package": "{value} is not a package with its version; write name==version, for example numpy==2.3.4",
    "service_name": "{value} is not a name for a service; write 1 to 31 of a-z, 0-9 and '-', beginning with a letter, "
    "and none of {taken}",
    "service_twice": "{value} is also the name of another service; give each a name of its own",
    "service_url": "is not an address; write http:// or https:// and a host, without a user name",
    "service_group": "{value} is not one of the groups{hint}; write it in groups too, or access: everybody",
    "class_name": "{value} is not the full name of a class; write its module, too, for example "
    "oauthenticator.bitbucket.BitbucketOAuthenticator",
    "trait_name": "{value} is not the name of a trait; write it as the class has it, for example enable_pkce",
    "trait_secret": "looks like a secret; write {name} in secret_settings",
    "trait_twice": "is in settings, too; keep it here",
    "provider_groups_several": "{value} does not say which authenticator has the group; write NAME:GROUP, with one of "
    "{names} as the name",
    "provider_groups": "people log in with {type}, which has no groups; leave it out",
    "domains_path": "each user's server has a domain of its own, so the hub needs one, too; write a url without a path",
    "domains_address": "there are no domains below {host}; write a host name in url, or leave user_domains out",
    "domains_http": "without TLS others could set the cookies of these domains; write https:// in url, or leave "
    "user_domains out",
    "sharing_domains": "pages of a server can act for everyone who opens them, unless each user has a domain; write "
    "user_domains: true, or leave sharing out",
    "group_server_domains": "pages of a server can act for everyone who opens them, unless each server has a domain; "
    "write user_domains: true, or leave server out",
    "domains_host": "users of {other} have servers at all names below {host}; write another host name, or leave "
    "user_domains out there",
    # people
    "users_empty": "users and users_csv name nobody; write who may log in, or allow_no_users: true if nobody may",
    "user_name": "{problem}",
    "user_twice": "{value} is also in {other}; keep one",
    "user_collision": "{value}, and {first} of {other}, both become {name}, one account for two people; leave "
    "normalize_usernames out, or one of them",
    "user_group": "{value} is not one of the groups{hint}; write it in groups too",
    "user_provider": "{value} begins with no prefix of an authenticator, so that nobody could log in under it; write "
    "one of {prefixes} before the provider's name",
    "user_blocked": "{value} is also in {other}; keep one",
    "group_name": "{value} is not a name for a group; write at most 63 letters, digits, '.', '_' and '-', beginning "
    "with a letter or digit",
    "group_server": "the server would belong to a user {name}, which is also the name of {other}; rename one of them",
    "group_of_server": "{value} is whom the server of the group {group} belongs to, and nobody else; leave it out",
    "group_user": "{value} is not one of the users{hint}; write the name in users too",
    "password_not_native": "is for type native, and people log in with {type}; leave it out",
    "password_hash": "begins as the hash of a password does, but is none that the hub can check; write a whole bcrypt "
    "hash ($2a$, $2b$ or $2y$, 60 characters, cost 4 to 15), or a password that begins with other characters",
    "password_short": "is too short; write at least {shortest} characters",
    "password_long": "is longer than {longest} bytes, which the hub can't take; write a shorter one",
    "swap_alone": "sets swap without a memory limit; write memory too",
    "roster_file": "{value} can't be read on the control node ({error}); write the path of a CSV file in UTF-8",
    "roster_header": "the first line does not name the columns, separated by commas, with name among them; write for "
    "example name,groups,admin,memory",
    "roster_header_twice": "the line that names the columns is there again; remove it, and write each file in "
    "users_csv by itself",
    "roster_column": "{value} is not a column; {hint}",
    "roster_column_twice": "the column {value} is listed twice; keep one",
    "roster_fields": "has {got} fields, the first line has {wanted}; write as many, and a field with a comma in quotes",
    "roster_empty": "the file is empty; write a first line such as name,groups,admin,memory and a line for each user",
    "roster_syntax": "is not CSV ({error}); write quotes within a field twice",
    "roster_syntax_many": "{count} lines are not CSV, and the lines after them were not read; correct these first",
    # ports and the host
    "port_range_order": "the first port {low} is above the last {high}; write the smaller one first",
    "port_twice": "{value} is also the port of {other}; choose another one, or leave port out",
    "port_public": "{value} is a port on which Apache listens; choose another one, or leave port out",
    "port_taken": "{value} is in use on the host by {owner}; choose another one, or leave port out",
    "port_ephemeral": "{value} is among the ports {first} to {last}, which the kernel gives to any program that asks "
    "for one; choose another one, or leave port out",
    "port_none_free": "no port is free from {low} to {high}; widen jupyter_port_range",
    "account_foreign": "the host has an account '{engine}' already, which is not an engine of this collection; choose "
    "another name, or remove the account",
    "group_foreign": "the host has a group '{engine}' already, and an account of this name would need one of its own; "
    "choose another name, or remove the group",
    "engine_moved": "the instance lives on the engine '{old}', on '{new}' its data would belong to nobody there; write "
    "engine: {old}, or run with state: absent first, which archives the data",
    "backend_moved": "users' files are in {old} on the host, and with {new} everybody would get an empty home; write "
    "backend: {old}, or run with state: absent first, which archives directories and keeps volumes in the engine",
    "taken_in_part": "the takeover of {name}, or its way back, is not complete, and people would miss files; run the "
    "playbook takeover again with the options that it had: -e jupyter_takeover={name}",
    "downgrade": "version {found} of the collection set up {names}, and this is {own}, which may not know what is "
    "there; install {found}, or write jupyter_allow_downgrade: true",
    "directory_moved": "{name} lives in {old}, and a new one in {new} would be empty; set jupyter_base_dir back, or "
    "move the directory and change it in /var/lib/carrel/{name}/instance.json",
    "moved_away": "is missing: the instance was moved to {to}, and people's work is there; write moved_to: {to}, or "
    "state: absent once its address leads there",
    "moved_not": "the host does not know of a move; run the playbook move, which says what to write here afterwards",
    "moved_here": "{name} was moved here from {source} and is not declared; if the move has ended, copy what {source} "
    "says of it, without moved_to, or write state: absent; if not, run it again or give it up (docs/howto/move.md)",
    "left_out_differs": "is {new}, and on the host still {old}, while jupyter_instances_only leaves {name} out; choose "
    "{name}, too, or take the change back for now",
    "cpus_host": "{value} is more than the host's processors, and Docker refuses that; write at most {cpus}",
}


# What messages show instead of a secret value, and instead of what follows from it.
_HIDDEN = {"value": "the value", "hint": "", "text": "HH:MM"}


class Problem(NamedTuple):
    path: str
    id: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Problems:
    """Collects problems, in the order in which they are found."""

    def __init__(self) -> None:
        self.items: list[Problem] = []
        self._hiding = False

    def hiding(self) -> Problems:
        """Return an object that adds to the same list, but shows no values."""
        other = Problems()
        other.items, other._hiding = self.items, True
        return other

    def add(self, path: str, message_id: str, **fields: object) -> None:
        if self._hiding:
            fields = {key: _HIDDEN.get(key, item) for key, item in fields.items()}
        self.items.append(Problem(path, message_id, MESSAGES[message_id].format(**fields)))

    def sort(self) -> None:
        """Sort by instances, with problems of the whole host first."""

        def index(problem: Problem) -> int:
            found = re.match(r"jupyter_instances\w*\[([0-9]+)\]", problem.path)
            return int(found[1]) if found else -1

        self.items.sort(key=index)


def show(value: object) -> str:
    """Return a value for a message, short and on one line. Never call this with a secret."""
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a number of more than 18 digits"
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:76] + "...'"


def kind_of(value: object) -> str:
    """Return the type of a value in words of YAML."""
    if value is None:
        return "empty (null)"
    words: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "text"),
        (Mapping, "a mapping"),
        (list, "a list"),
        (datetime.date, "a date"),
    )
    return next((word for kind, word in words if isinstance(value, kind)), "of a type that YAML does not have")
