#!/bin/sh
# Adds one dependency group of pyproject.toml to /opt/venv, exactly as uv.lock pins it. Run by the Dockerfiles, with
# uv, the two files and this script mounted for the moment, so that none of them stays in an image.
set -eu
cd /project

export UV_PROJECT_ENVIRONMENT=/opt/venv
export UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never
# The cache is on another file system; and who runs the image may not write, so every start would compile anew.
export UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1

# A stage that needs nothing but pydantic has no group of its own.
group=$1
grep -q "^$group = " pyproject.toml || group=contract
# --inexact: leave what the layers below have installed.
/uv sync --quiet --frozen --inexact --only-group "$group"

# What only the libraries' own developers need. It must go in the layer that brought it, or it takes its space all the same.
cd /opt/venv/lib/python3.*/site-packages
find . -depth -type d \( -name tests -o -name test \) -path './*/*' -exec rm -r {} +
find . -type f \( -name '*.pyi' -o -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.a' \) -delete
