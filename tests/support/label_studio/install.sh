#!/bin/bash
# Installs a real Label Studio into .test-tools/label-studio-VERSION/ of this project, by pip, pinned; none
# of its files is changed. Idempotent. Needs Python 3.7 (for 0.7), 3.8 (0.8) or 3.11 (1.23): on the PATH, or pyenv's.
# Usage: tests/support/label_studio/install.sh VERSION     0.8.2  0.8.2.post0  0.7.5.post1  1.23.2
set -euo pipefail
version=$1
cd "$(dirname "$0")/../../.."
mkdir -p .test-tools
tools=$PWD/.test-tools
venv=$tools/label-studio-$version
stamp=$venv/installed
if [ -e "$stamp" ]; then exit 0; fi

# Two test programs may start at once.
exec 9>"$tools/label-studio.lock"
if command -v flock >/dev/null; then flock 9; fi
if [ -e "$stamp" ]; then exit 0; fi

case $version in
0.7.*) minor=3.7 more='boto3==1.33.13 botocore==1.33.13 pandas==1.1.5' ;;
0.8.*) minor=3.8 more='boto3==1.37.38 botocore==1.37.38 pandas==1.3.5 numpy==1.21.6' ;;
1.23.2) minor=3.11 more= ;;
*) echo "no Label Studio $version is known here" >&2; exit 2 ;;
esac

# The newest pyenv has of this minor version, or what the PATH has; one that really starts.
python=
for candidate in $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/$minor.*/bin/python 2>/dev/null | sort -Vr) \
    $(if command -v pyenv >/dev/null; then ls -d "$(pyenv root)"/versions/$minor.*/bin/python 2>/dev/null | sort -Vr; fi) \
    "$(command -v python$minor || true)"; do
    if "$candidate" -c 'import sys, venv; sys.exit("%d.%d" % sys.version_info[:2] != "'$minor'")' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Label Studio $version needs Python $minor, which is not installed (pyenv install $minor)" >&2
    exit 1
fi

rm -rf "$venv"
"$python" -m venv "$venv" >&2
# What was on the index when these versions were young; newer ones do not fit together any more. boto3 is new enough to
# honour AWS_ENDPOINT_URL.
pinned='label-studio-converter==0.0.22 flask-api==2.0 flask-wtf==0.14.3 WTForms==2.3.3 gevent==21.12.0 greenlet==1.1.3
rq==1.10.1 redis==4.3.6 lxml==4.9.4 orjson==3.6.9 protobuf==3.20.3'
# shellcheck disable=SC2086 # lists of words
printf '%s\n' $pinned $more >"$venv/constraints.txt"
pip() { "$venv/bin/pip" --quiet --disable-pip-version-check --retries 2 --timeout 20 "$@" >&2; }
# The new ones name all that they need themselves.
if [ "$minor" = 3.11 ]; then
    pip install "label-studio==$version" || { echo "pip could not install Label Studio $version" >&2; exit 1; }
    date >"$stamp"
    exit 0
fi
{ pip install --upgrade 'pip<24' 'setuptools<60' wheel && pip install -c "$venv/constraints.txt" "label-studio==$version"; } ||
    { echo "pip could not install Label Studio $version" >&2; exit 1; }
date >"$stamp"
