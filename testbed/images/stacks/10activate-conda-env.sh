# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
export CONDA_PREFIX=$CONDA_DIR CONDA_DEFAULT_ENV=base
