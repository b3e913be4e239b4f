#!/bin/sh
# Runs the tests of what FastRTC carries, voice and realtime voice, against the real FastRTC.
#
#   scripts/fastrtc.sh [PYTEST ARGUMENTS]
#
# In an environment of its own, .venvrtc: FastRTC brings 80 packages and holds back some that the
# other tests want new. It is filled when pyproject.toml or this file has changed.
set -eu
case ${1:-} in -h | --help) exec sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;; esac
cd "$(dirname "$0")/.."

venv=.venvrtc
scripts/bootstrap.sh own "$venv" scripts/fastrtc.sh --editable '.[fastrtc]' \
    hypothesis pytest pytest-asyncio pytest-timeout uvicorn websockets
exec "$venv/bin/python" -m pytest --quiet -p no:cacheprovider \
    tests/fastrtc tests/test_voice/test_*_fastrtc*.py "$@"
