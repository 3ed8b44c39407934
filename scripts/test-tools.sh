#!/bin/sh
# Installs what the tests need besides Rust: other people's clients, and tools to make networks with.
# What is there already is left alone. Debian and Ubuntu; needs root to install (sudo is used if there is one).
set -eu
cd "$(dirname "$0")/.."

missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need aria2c aria2
need transmission-daemon transmission-daemon
need transmission-remote transmission-cli
need redis-server redis-server
need redis-cli redis-tools
need ip iproute2
need curl curl
need openssl openssl
need unshare util-linux
need python3 python3
need opentracker opentracker
need cc gcc
lt=${LT_PY:-target/lt/bin/python}
if ! "$lt" -c 'import libtorrent' 2>/dev/null; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
fi

if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    echo "installing:$missing"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
        $as_root apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
    }
fi

if ! "$lt" -c 'import libtorrent' 2>/dev/null; then
    if [ -n "${LT_PY:-}" ]; then
        echo "LT_PY=$LT_PY has no libtorrent; unset it, or install libtorrent==2.1.1 there" >&2
        exit 1
    fi
    echo "installing: libtorrent 2.1.1 into target/lt"
    mkdir -p target
    python3 -m venv target/lt
    target/lt/bin/pip install -q --disable-pip-version-check libtorrent==2.1.1
fi
