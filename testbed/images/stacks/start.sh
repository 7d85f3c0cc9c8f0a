#!/usr/bin/env bash
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
# As root: gives the account its name and ids, then goes on as that account. Hooks before and after.
set -e
[ $# -gt 0 ] || set -- bash
source /usr/local/bin/run-hooks.sh /usr/local/bin/start-notebook.d
if [ "$(id -u)" != 0 ]; then
  source /usr/local/bin/run-hooks.sh /usr/local/bin/before-notebook.d
  exec "$@"
fi
if [ "$NB_USER" != jovyan ] && ! id "$NB_USER" >/dev/null 2>&1; then
  usermod --login "$NB_USER" --home "/home/$NB_USER" jovyan
  cp -a /home/jovyan "/home/$NB_USER"
fi
groupadd --force --non-unique --gid "$NB_GID" "$NB_USER"
usermod --non-unique --uid "$NB_UID" --gid "$NB_GID" "$NB_USER"
case $CHOWN_HOME in 1 | yes) chown $CHOWN_HOME_OPTS "$NB_UID:$NB_GID" "/home/$NB_USER" ;; esac
source /usr/local/bin/run-hooks.sh /usr/local/bin/before-notebook.d
export HOME=/home/$NB_USER
exec setpriv --reuid "$NB_UID" --regid "$NB_GID" --init-groups "$@"
