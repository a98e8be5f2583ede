#!/bin/sh
# What the workflow needs, into a bare Debian. Both recipes run it, as root, with pyproject.toml beside it.
set -eu
cd "$(dirname "$0")"

# DVC asks git; torch.compile on a GPU needs a C compiler and Python's headers.
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
  ca-certificates gcc git libc6-dev python3-dev python3-venv
rm -rf /var/lib/apt/lists/*
# The checkout that is mounted may belong to another user than the container's; git would refuse it.
git config --system --add safe.directory '*'

python3 -m venv /opt/uv
/opt/uv/bin/pip install --no-cache-dir uv
ln -s /opt/uv/bin/uv /usr/local/bin/uv
UV_PROJECT_ENVIRONMENT=/opt/venv uv sync --no-cache --no-dev --python /usr/bin/python3
rm uv.lock
