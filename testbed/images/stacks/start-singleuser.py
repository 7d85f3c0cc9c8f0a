#!/usr/bin/env python
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shlex
import sys

arguments = [*shlex.split(os.environ.get("NOTEBOOK_ARGS", "")), *sys.argv[1:]]
os.execvp("jupyterhub-singleuser", ["jupyterhub-singleuser", "--ip=0.0.0.0", *arguments])
