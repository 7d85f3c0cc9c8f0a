#!/usr/bin/env bash
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Sources *.sh of a folder and runs what is executable there.
for hook in "$1"/*; do
  case $hook in
    *.sh) source "$hook" ;;
    *) if [ -x "$hook" ]; then "$hook"; fi ;;
  esac
done
