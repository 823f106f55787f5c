# What the scripts share: finding a Python, and the virtual environment that goes with it. Sourced, never run.
# Bash 3.2, the one of macOS, must be able to read all scripts here.
# shellcheck shell=bash

set -euo pipefail

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$@"
    exit 1
}

# Ends with 0 where Python can be used, 3 where it is too old or of another kind, 4 where only venv is missing.
PROBE='
import sys, sysconfig
if sys.version_info < (3, 11) or sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
'

# Every place where a Python of one of the given versions may be, newest first. What is named here need not work: pyenv's
# shims exist for versions that are not selected.
candidates() {
    local version path
    for version in "$@"; do
        type -ap "python$version" || true
        for path in \
            "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version".*/bin/python3 \
            "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-${HOME:-}/.local/share}/uv/python}/cpython-$version".*/bin/python3; do
            if [ -x "$path" ]; then printf '%s\n' "$path"; fi
        done
    done
}

# Sets PYTHON to the newest Python that works. CHAIN429_PYTHON asks for another: a path, a command or a version (3.12).
find_python() {
    local found candidate status bare=''
    case ${CHAIN429_PYTHON:-} in
        '') found=$(candidates 3.14 3.13 3.12 3.11 && type -ap python3 || true) ;;
        3.[0-9] | 3.[0-9][0-9]) found=$(candidates "$CHAIN429_PYTHON") ;;
        *) found=$CHAIN429_PYTHON ;;
    esac
    while IFS= read -r candidate; do
        [ -n "$candidate" ] || continue
        status=0
        "$candidate" -I -c "$PROBE" </dev/null >/dev/null 2>&1 || status=$?
        case $status in
            0)
                PYTHON=$candidate
                return
                ;;
            4) bare=${bare:-$candidate} ;;
        esac
    done <<EOF
$found
EOF
    if [ -n "$bare" ]; then
        die "$bare lacks the venv module; install it (Debian, Ubuntu: apt install python3-venv) and try again"
    elif [ -n "${CHAIN429_PYTHON:-}" ]; then
        die "CHAIN429_PYTHON=$CHAIN429_PYTHON is no CPython 3.11 or newer that works"
    else
        die "no Python 3.11 or newer was found; install one, or name it with CHAIN429_PYTHON=/path/to/python3"
    fi
}

# Sets BIN to the folder of programs of an environment that is complete, making it first where needed. Kinds: run, dev.
use_environment() {
    local environment
    find_python
    environment=$("$PYTHON" -I "$ROOT/scripts/environment.py" "$1") || exit
    BIN=$environment/bin
    # Else each of the many Pythons that a script for developers starts would compile anew all that it imports.
    if [ "$1" = dev ]; then unset PYTHONDONTWRITEBYTECODE; fi
}
