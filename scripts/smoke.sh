#!/bin/sh
# Installs RoomKit without extras into an environment of its own, checks that pydantic and its own
# needs are all that came along, and runs the quick start and reads the notes for assistants there,
# away from the checkout.
set -eu
case ${1:-} in -h | --help) exec sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;; esac
cd "$(dirname "$0")/.."

root=$(pwd)
uv=$(scripts/bootstrap.sh uv)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
unset VIRTUAL_ENV

python=$work/venv/bin/python
"$uv" venv --quiet --python "$root/.venv/bin/python" "$work/venv"
"$uv" pip install --quiet --python "$python" pydantic
"$uv" pip freeze --python "$python" >"$work/before"
"$uv" pip install --quiet --python "$python" .
"$uv" pip freeze --python "$python" | grep -v '^roomkit' >"$work/after"
if ! diff "$work/before" "$work/after" >&2; then
    printf '%s\n' 'The base installation brought more than pydantic and its own needs.' >&2
    exit 1
fi

cp examples/quickstart.py "$work/"
cd "$work"
"$python" -I -m roomkit doctor --extra httpx
"$python" -I quickstart.py
# The notes for assistants come out of the installed package, here where no checkout is around.
"$python" -I -c '
from roomkit import get_agents_md, get_ai_context, get_llms_txt
from roomkit.ai_docs import get_llms_full_txt
for tell in (get_llms_txt, get_agents_md, get_ai_context, get_llms_full_txt):
    print(f"{tell.__name__}: {len(tell().encode())} bytes")'
