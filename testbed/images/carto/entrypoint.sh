#!/bin/sh
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
PATH=/opt/conda/envs/jupyter_env/bin:$PATH
exec jupyter-lab --no-browser --allow-root --ip=0.0.0.0 \
  --ServerApp.root_dir="${JUPYTER_NOTEBOOKS:-/home/jovyan/work}" \
  ${JUPYTER_AUTOSHUTDOWN_TIMEOUT:+--ServerApp.shutdown_no_activity_timeout="$JUPYTER_AUTOSHUTDOWN_TIMEOUT"}
