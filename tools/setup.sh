#!/usr/bin/env bash
# Make .venv with the locked dependencies and aweigh itself, editable. Called by `make setup`; may be interrupted and run again.
# Needs Python 3.11 or newer (PYTHON=… chooses one) and a package index as pip is configured; nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

recent() { "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; }

choose_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if recent "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  local found
  found=$("${PYTHON:-python3}" --version 2>&1 | head -n 1) || found="no ${PYTHON:-python3}"
  fail "aweigh needs Python 3.11 or newer, found: $found" "install it, then run: make setup PYTHON=/path/to/python3.11"
}

if ! .venv/bin/python -m pip --version >/dev/null 2>&1 || ! recent .venv/bin/python; then
  python=$(choose_python)
  echo "making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv || fail "$python cannot make a virtual environment" "on Debian and Ubuntu: apt-get install python3-venv"
fi

pip=(.venv/bin/python -m pip --disable-pip-version-check)
echo "installing the locked dependencies (a minute or two the first time)"
"${pip[@]}" install -qq --no-deps --require-hashes --requirement requirements/development.txt ||
  fail "the locked dependencies could not be installed" "the lines above say which and why; check that pip reaches its package index"
"${pip[@]}" install -qq --no-deps --no-build-isolation --no-index --editable .
touch .venv/.ready
