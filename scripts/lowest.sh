#!/bin/sh
# Runs the tests of what stands on other packages against the oldest releases our extras promise
# to work with.
#
#   scripts/lowest.sh [ai|agents|wire] [PYTEST ARGUMENTS]    all three when none is named
#
# Each group has an environment of its own under .venvlow, filled when pyproject.toml or this file
# has changed: resolved together, one package's floor would hide another's. What only runs the
# tests (pytest and its helpers) is taken at its newest, for its floors are nobody's promise.
set -eu
case ${1:-} in -h | --help) exec sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;; esac
cd "$(dirname "$0")/.."

RUNNERS='hypothesis pytest pytest-asyncio pytest-timeout'

extras_of() {
    case $1 in
        ai) echo anthropic,openai,gemini,vllm,realtime-gemini,simulators ;;
        agents) echo pydantic-ai,simulators ;;
        wire) echo httpx,websocket,sse,signatures,teams,phonenumbers,simulators ;;
    esac
}

# What to run: the tests of a group, one path a line.
tests_of() {
    printf '%s\n' tests/lowest
    case $1 in
        ai)
            find tests/test_providers -name 'test_anthropic*.py' -o -name 'test_openai*.py' \
                -o -name 'test_gemini*.py' -o -name 'test_vllm*.py' -o -name 'test_ai_*.py'
            find tests/test_voice -name 'test_gemini_live*.py'
            ;;
        agents) find tests/test_providers -name 'test_pydantic_ai*.py' ;;
        wire)
            printf '%s\n' tests/test_sources_websocket.py tests/test_sources_sse.py
            find tests/test_providers -name 'test_*.py' ! -name 'test_anthropic*' \
                ! -name 'test_openai*' ! -name 'test_gemini*' ! -name 'test_vllm*' \
                ! -name 'test_pydantic_ai*'
            ;;
    esac
}

fill() { # GROUP VENV
    python=$(scripts/bootstrap.sh python)
    uv=$(scripts/bootstrap.sh uv)
    export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
    unset VIRTUAL_ENV
    rm -rf "$2"
    "$uv" venv --quiet --python "$python" "$2"
    "$uv" pip install --quiet --python "$2/bin/python" --resolution lowest-direct \
        --editable ".[$(extras_of "$1")]"
    # What the floors gave must not move when the runners come.
    "$uv" pip freeze --python "$2/bin/python" --exclude-editable >"$2/floors.txt"
    # shellcheck disable=SC2086  # one word per package is wanted
    "$uv" pip install --quiet --python "$2/bin/python" --constraint "$2/floors.txt" $RUNNERS
    touch "$2/.stamp"
}

run() { # GROUP [PYTEST ARGUMENTS]
    group=$1
    shift
    venv=.venvlow/$group
    if [ ! -e "$venv/.stamp" ] ||
        [ -n "$(find pyproject.toml scripts/lowest.sh -newer "$venv/.stamp")" ]; then
        fill "$group" "$venv"
    fi
    printf '%s\n' "--- oldest releases: $group ($(extras_of "$group"))" >&2
    # shellcheck disable=SC2046  # one word per path is wanted
    ROOMKIT_LOWEST="$(extras_of "$group")" "$venv/bin/python" -m pytest --quiet \
        -p no:cacheprovider $(tests_of "$group" | sort) "$@"
}

case ${1:-} in
    ai | agents | wire) run "$@" ;;
    *) for group in ai agents wire; do run "$group" "$@"; done ;;
esac
