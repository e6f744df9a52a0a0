#!/usr/bin/env bash
# Build .venv with the exact versions of constraints.txt, or bring an existing one up to date.
# Both packages are installed from their sources, the book's with what renders it.
# Usage: scripts/setup_venv.sh [EXTRA ...]      the library's extras, e.g. test dev
# The stamp is removed first and written last, so that an interrupted run is never taken for done.
set -euo pipefail
cd "$(dirname "$0")/.."

extras=$(IFS=,; echo "${*:-test,dev}")
stamp=.venv/.complete
log=.venv/install.log
gigabytes=3  # without the cache of pip

stop() { echo "eamlab: $1" >&2; exit 1; }

is_312() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_312 "$PYTHON" || stop "PYTHON=$PYTHON is not a Python 3.12 or later; name another one."
        echo "$PYTHON"
        return
    fi
    local pyenv_root=${PYENV_ROOT:-$HOME/.pyenv} candidate
    # A pyenv shim may exist for a version that is not active: only a run tells.
    for candidate in python3.12 "$pyenv_root"/versions/3.12*/bin/python python3; do
        if is_312 "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    stop "Python 3.12 or later is needed and was not found; install it (for instance \`pyenv install 3.12\`) or run \`make PYTHON=/path/to/python3.12 ...\`."
}

healthy() {  # complete, not moved, and its interpreter still there
    [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$PWD" ] && is_312 .venv/bin/python
}

explain() {  # the sentence for the usual causes of a failed install, read from pip's own words
    grep -v '^WARNING' "$log" | tail -n 25 >&2
    if grep -qiE 'no space left|disk quota exceeded' "$log"; then
        stop "the disk is full: about $gigabytes GB are needed for .venv; free some and run the command again."
    elif grep -qiE 'connection|name resolution|timed out|network is unreachable|proxyerror' "$log"; then
        stop "the packages could not be fetched: check the network and run the command again."
    fi
    stop "the installation failed (above, and in full in $log); mend the cause and run the command again."
}

room() {  # said before half an hour of downloads, not after
    [ -w . ] || stop "$PWD cannot be written to: copy it to a folder of your own and run the command there."
    local free
    free=$(df -Pk . 2>/dev/null | awk 'NR == 2 {print int($4 / 1048576)}')
    if [ -n "$free" ] && [ "$free" -lt "$gigabytes" ]; then
        stop "the disk has $free GB left, and .venv needs about $gigabytes; free some and run the command again."
    fi
}

make_venv() {
    local words
    rm -rf .venv || stop "the old .venv cannot be removed: remove it yourself and run the command again."
    words=$("$1" -m venv .venv 2>&1) && return
    echo "$words" >&2
    case $words in
        *[Nn]"o space left"*)
            stop "the disk is full: about $gigabytes GB are needed for .venv; free some and run the command again." ;;
    esac
    stop "$1 cannot make virtual environments; install its venv module (Debian: python3.12-venv) and run the command again."
}

if healthy; then
    echo "eamlab: bringing .venv up to date"
    rm -f "$stamp"
else
    python=$(find_python)
    room
    echo "eamlab: building .venv with $("$python" --version); this takes a few minutes"
    make_venv "$python"
fi

.venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet \
    --constraint constraints.txt --editable ".[$extras]" \
    --editable "src/eamlab_book[build]" >"$log" 2>&1 || explain

.venv/bin/python scripts/setup_jupyter.py
.venv/bin/python scripts/warm_caches.py

printf '%s\n%s\n' "$PWD" "$extras" >"$stamp"
echo "eamlab: .venv is ready"
