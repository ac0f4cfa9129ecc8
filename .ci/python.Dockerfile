# What stands in for python:3.11-slim-trixie where no registry of images can be reached: Debian 13 as it stands in for
# python:3.13-slim, and in /usr/local, where official images have their Python, the one that runs the tests.
# The context is its prefix (.ci/images).
FROM python:3.13-slim AS debian
RUN dpkg-query -W -f '${Package}\n' | grep -E '^(lib)?python3' | xargs dpkg --purge --force-depends \
 && rm -rf /usr/local/bin/* /usr/lib/python3* \
 && apt-get update && apt-get install -y --no-install-recommends libreadline8t64 libncursesw6 libuuid1 libbz2-1.0 \
      libffi8 liblzma5 libsqlite3-0 libssl3t64 zlib1g \
 && rm -rf /var/lib/apt/lists/* /var/cache/*

FROM scratch
COPY --from=debian / /
COPY bin/python3.11 bin/pip /usr/local/bin/
COPY lib/libpython3.11.so.1.0 lib/libpython3.so /usr/local/lib/
COPY lib/python3.11 /usr/local/lib/python3.11
RUN ldconfig && ln -s python3.11 /usr/local/bin/python3 && ln -s python3 /usr/local/bin/python \
 && python3 -c 'import ctypes, readline, sqlite3, ssl, zlib'
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["python3"]
