#!/usr/bin/env bash
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
# What Carto-Lab's start command does with its variables. It writes a configuration into the home of root, and passes the
# rest on the command line, which goes before every configuration. JUPYTER_NOTEBOOKS, JUPYTER_WEBPORT and CONDA_ENVS are
# read by its compose file on the host, never in here.
source "$CONDA_ACTIVATE_PATH" "$JUPYTER_ENV_PATH"

{
  echo "c.ServerApp.terminado_settings = {'shell_command': ['/bin/bash']}"
  echo "c.ContentsManager.allow_hidden = True"
  echo "c.ServerApp.extra_template_paths = ['/etc/jupyter/templates']"
  if [ -n "$JUPYTER_PASSWORD" ]; then
    python -c 'import os, jupyter_server.auth as a
print(f"c.PasswordIdentityProvider.hashed_password = {a.passwd(os.environ["JUPYTER_PASSWORD"])!r}")'
  fi
  if [ -n "$JUPYTER_WEBURL" ]; then
    echo "c.ServerApp.custom_display_url = '$JUPYTER_WEBURL'"
    echo "c.ServerApp.shutdown_no_activity_timeout = ${JUPYTER_AUTOSHUTDOWN_TIMEOUT:-1800}"
    echo "c.MappingKernelManager.cull_interval = 600"
    echo "c.MappingKernelManager.cull_idle_timeout = 1800"
  fi
  if [ "$GENERATE_TOKEN" = true ]; then
    echo "c.IdentityProvider.token = '$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')'"
  fi
} > "$JUPYTER_CONFIG"
unset JUPYTER_PASSWORD

case $COLLABORATIVE in
  "" | false | 0) collaboration=--YDocExtension.disable_rtc=True ;;
  *) jupyter labextension enable @jupyter/collaboration-extension ;;
esac
# each word of these variables is an argument
# shellcheck disable=SC2086
jupyter lab --ip=0.0.0.0 --allow-root --no-browser $collaboration $JUPYTER_EXTRA_ARGS --ServerApp.root_dir=/home/jovyan/work
