#!/bin/sh
# Install the packages of a lock with hashes into /opt/candor, a virtual environment without pip.
#
#   packages.sh LOCK
set -eu
python3 -m venv /opt/tools
/opt/tools/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/image.txt
python3 -m venv --without-pip /opt/candor
echo /opt/app > "$(echo /opt/candor/lib/python3*/site-packages)/candor-app.pth" # Candor itself is a layer of its own
# A lock is complete but for torch, which has no hash and comes after it. `pip check` (program.sh) says if anything is missing.
container/pip.sh --no-deps --require-hashes -r "$1"
