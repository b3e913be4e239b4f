#!/bin/sh
# Runs the tests of what FastRTC carries, voice and realtime voice, against the real FastRTC.
#
#   scripts/fastrtc.sh [PYTEST ARGUMENTS]
#
# In an environment of its own, .venvrtc: FastRTC brings 80 packages and holds back some that the
# other tests want new. It is filled when pyproject.toml or this file has changed.
set -eu
cd "$(dirname "$0")/.."

venv=.venvrtc
if [ ! -e "$venv/.stamp" ] ||
    [ -n "$(find pyproject.toml scripts/fastrtc.sh -newer "$venv/.stamp")" ]; then
    python=$(scripts/bootstrap.sh python)
    uv=$(scripts/bootstrap.sh uv)
    export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
    unset VIRTUAL_ENV
    rm -rf "$venv"
    "$uv" venv --quiet --python "$python" "$venv"
    "$uv" pip install --quiet --python "$venv/bin/python" --editable '.[fastrtc]' \
        hypothesis pytest pytest-asyncio pytest-timeout uvicorn websockets
    touch "$venv/.stamp"
fi
exec "$venv/bin/python" -m pytest --quiet -p no:cacheprovider \
    tests/fastrtc tests/test_voice/test_*_fastrtc*.py "$@"
