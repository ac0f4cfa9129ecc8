#!/bin/sh
# Make of a base image what Candor's images stand on: a user, its folders, no pip, no file that grants privileges.
#
#   root.sh FOLDER...    folders that the user owns
set -eu
echo 'candor:x:10001:10001:Candor:/nonexistent:/usr/sbin/nologin' >> /etc/passwd
echo 'candor:x:10001:' >> /etc/group
mkdir -p "$@"
chown 10001:10001 "$@"

# pip and what comes with it: of the official image (/usr/local), or of Debian's packages.
rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* /usr/local/bin/idle* \
  /usr/local/bin/pydoc* /usr/local/bin/2to3*
dpkg-query -W -f '${Package}\n' | grep -E '^python3(\.[0-9]+)?-(pip|setuptools|wheel|venv|pip-whl|setuptools-whl)$' \
  | xargs -r dpkg --purge --force-depends > /dev/null
rm -rf /usr/share/python-wheels /usr/lib/python3*/ensurepip

# What a server never reads. Bytecode is in /opt/bytecode.
rm -rf /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info /usr/lib/python3*/test /usr/lib/python3*/idlelib \
  /usr/lib/python3*/pydoc_data /usr/local/lib/python3*/idlelib /usr/local/lib/python3*/pydoc_data \
  /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/* /root/.cache /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-
find /usr -xdev -depth -name __pycache__ -exec rm -rf {} +
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
