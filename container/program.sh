#!/bin/sh
# Install Candor into /opt/app, compile what it imports into /opt/bytecode, and list all packages in /opt/sbom.
#
#   program.sh ROOM...    the packages of Candor whose imports are compiled
set -eu

check() { # that no package misses another; onnxruntime-gpu is onnxruntime under a name that pip does not know
  said=$(/opt/tools/bin/pip --python /opt/candor/bin/python check) && return
  if ls -d /opt/candor/lib/python3*/site-packages/onnxruntime_gpu-* > /dev/null 2>&1; then
    said=$(echo "$said" | grep -v ' requires onnxruntime, which is not installed\.$') || return 0
  fi
  echo "$said" >&2
  return 1
}

export SOURCE_DATE_EPOCH=315532800 # or the wheel has the time of its files in it, and its hash is in what pip records
/opt/tools/bin/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /tmp .
container/pip.sh --no-deps --target /opt/app /tmp/*.whl
check
PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONHASHSEED=0 /opt/candor/bin/python container/bytecode.py "$@"
mkdir /opt/sbom
/opt/tools/bin/cyclonedx-py environment --output-reproducible --of JSON -o /tmp/python.json /opt/candor/bin/python
/opt/tools/bin/python container/sbom.py /tmp/python.json /src/dpkg-status > /opt/sbom/sbom.cdx.json
