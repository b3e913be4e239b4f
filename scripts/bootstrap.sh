#!/bin/sh
# Sets up what the Makefile needs on a machine that has only git, make and some Python >= 3.12.
#
#   scripts/bootstrap.sh python [3.13]           print an interpreter: >= 3.12, or exactly 3.13
#   scripts/bootstrap.sh uv                      print a uv that runs, installing one if need be
#   scripts/bootstrap.sh sync VENV EXTRAS [3.13] fill the environment VENV (EXTRAS: "dev docs")
#   scripts/bootstrap.sh own VENV SCRIPT WHAT... fill VENV with what WHAT tells `uv pip install`,
#                                                if pyproject.toml or SCRIPT has changed since
#
# Every tool is tried by running it: a version manager may put a python3.12 or a uv on PATH that
# only prints an error.
set -eu

UV_PIN=0.13.9
UV_OLDEST=0.9

say() { printf '%s\n' "$*" >&2; }

# The home folder, also when HOME is unset or points elsewhere.
homes() {
    [ -z "${HOME:-}" ] || printf '%s\n' "$HOME"
    getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6
}

# Folders in which pyenv may keep its interpreters, one a line.
pyenv_roots() {
    [ -z "${PYENV_ROOT:-}" ] || printf '%s\n' "$PYENV_ROOT"
    homes | while read -r home; do printf '%s\n' "$home/.pyenv"; done
    for name in pyenv python3 python; do
        found=$(command -v "$name" 2>/dev/null) || continue
        case $found in
            */shims/* | */bin/pyenv) printf '%s\n' "${found%/*/*}" ;;
        esac
    done
}

# What might be a Python 3.$1, best guess first, one a line.
candidates() {
    printf '%s\n' "python3.$1" "/usr/local/bin/python3.$1" "/opt/homebrew/bin/python3.$1"
    pyenv_roots | while read -r root; do
        printf '%s\n' "$root/versions/3.$1"*/bin/python
    done
    homes | while read -r home; do
        printf '%s\n' "$home/.local/share/uv/python/cpython-3.$1."*/bin/python3
    done
    printf '%s\n' python3 python
}

# Prints the real path of $1 when it is a Python 3.$2 that runs.
probe() {
    "$1" -I -c '
import sys
if sys.version_info[:2] != (3, int(sys.argv[1])):
    raise SystemExit(1)
print(sys.executable)' "$2" 2>/dev/null
}

find_python() { # [3.MINOR]
    wanted=${1:-}
    minors='12 13 14 15 16'
    [ -z "$wanted" ] || minors=${wanted#3.}
    for minor in $minors; do
        for candidate in $(candidates "$minor"); do
            if probe "$candidate" "$minor"; then return 0; fi
        done
    done
    say "No Python ${wanted:-3.12 or newer} that runs was found (tried PATH, pyenv and uv folders)."
    say "Install one, for example with 'apt-get install python3.12 python3.12-venv',"
    say "'brew install python@3.12' or 'pyenv install 3.12', and run make again."
    return 1
}

uv_is_usable() { # UV
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#uv }
    major=${version%%.*}
    rest=${version#*.}
    minor=${rest%%.*}
    case $major$minor in '' | *[!0-9]*) return 1 ;; esac
    [ "$major" -gt "${UV_OLDEST%.*}" ] ||
        { [ "$major" -eq "${UV_OLDEST%.*}" ] && [ "$minor" -ge "${UV_OLDEST#*.}" ]; }
}

find_uv() {
    for candidate in .tools/bin/uv uv; do
        if uv_is_usable "$candidate"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    python=$(find_python)
    say "Installing uv $UV_PIN into .tools"
    rm -rf .tools
    if ! "$python" -m venv .tools >&2; then
        rm -rf .tools
        say "$python cannot make environments: install its venv package (python3.12-venv)."
        return 1
    fi
    .tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_PIN" >&2
    printf '%s\n' .tools/bin/uv
}

sync_venv() { # VENV EXTRAS [3.MINOR]
    venv=$1
    extras=''
    for extra in $2; do extras="$extras --extra $extra"; done
    UV_PYTHON=$(find_python "${3:-}")
    uv=$(find_uv)
    say "Setting up $venv ($2) with $UV_PYTHON"
    export UV_PYTHON
    export UV_PROJECT_ENVIRONMENT="$venv" UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
    unset VIRTUAL_ENV
    # shellcheck disable=SC2086  # one word per extra is wanted
    "$uv" sync --quiet $extras
}

own_venv() { # VENV SCRIPT WHAT...
    venv=$1 script=$2
    shift 2
    if [ -e "$venv/.stamp" ] &&
        [ -z "$(find pyproject.toml "$script" -newer "$venv/.stamp")" ]; then
        return 0
    fi
    python=$(find_python)
    uv=$(find_uv)
    export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
    unset VIRTUAL_ENV
    rm -rf "$venv"
    "$uv" venv --quiet --python "$python" "$venv"
    "$uv" pip install --quiet --python "$venv/bin/python" "$@"
    touch "$venv/.stamp"
}

cd "$(dirname "$0")/.."
usage() { sed -n '2,11s/^# \{0,1\}//p' "scripts/bootstrap.sh"; }
command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    python) find_python "$@" ;;
    uv) find_uv ;;
    sync) sync_venv "$@" ;;
    own) own_venv "$@" ;;
    -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
