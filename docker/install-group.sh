#!/bin/sh
# Install one dependency group of pyproject.toml into /opt/venv, exactly as uv.lock pins it. The Dockerfiles run this with
# uv, the two files and this script mounted, so that none of them becomes part of an image.
set -eu
cd /project

export UV_PROJECT_ENVIRONMENT=/opt/venv
export UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never
# The cache is on another file system. The image is read-only when it runs, so every start would compile the libraries.
export UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1

# A stage that needs nothing but pydantic has no separate group.
group=$1
grep -q "^$group = " pyproject.toml || group=contract
# --inexact: keep what the layers below have installed.
/uv sync --quiet --frozen --inexact --only-group "$group"

# Files for the libraries' own developers. Removed in the layer that installs them, since a later layer would free no space.
cd /opt/venv/lib/python3.*/site-packages
find . -depth -type d \( -name tests -o -name test \) -path './*/*' -exec rm -r {} +
find . -type f \( -name '*.pyi' -o -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.a' \) -delete
