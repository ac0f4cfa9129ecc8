#!/bin/sh
# pip, which is not in the environment that it fills; without bytecode, whose time stamps differ from build to build.
exec /opt/tools/bin/pip --python /opt/candor/bin/python install --quiet --no-cache-dir --disable-pip-version-check \
  --no-compile --root-user-action ignore "$@"
