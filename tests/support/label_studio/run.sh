#!/bin/bash
# Runs a real Label Studio on the loopback in the foreground: 0.7 and 0.8 on a project with local storages, 1.23 as a
# server with SQLite.
# Usage: run.sh VENV init PROJECT_DIRECTORY LABEL_CONFIG
#        run.sh VENV serve DATA_DIRECTORY PORT
#        run.sh VENV start PROJECT_DIRECTORY PORT ["label-studio start" arguments...]
# Where PORT is busy Label Studio takes the next one without a word: pass a free one.
set -euo pipefail
venv=$1 verb=$2 project=$3 argument=$4
shift 4
export HOME=$venv/home collect_analytics=0 PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore AWS_EC2_METADATA_DISABLED=true
mkdir -p "$HOME"
case $verb in
init) exec "$venv/bin/label-studio" init "$project" -l "$argument" "$@" ;;
start) exec "$venv/bin/label-studio" start "$project" --host localhost --port "$argument" -b "$@" ;;
serve)
    # It is asked by a token, and reads from a loopback server: both are off in a stock one.
    export LABEL_STUDIO_BASE_DATA_DIR=$project DJANGO_DB=sqlite LABEL_STUDIO_HOST=http://127.0.0.1:$argument
    export LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true SSRF_PROTECTION_ENABLED=false
    export COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false FEATURE_FLAGS_OFFLINE=true SENTRY_DSN= FRONTEND_SENTRY_DSN=
    exec "$venv/bin/label-studio" start --no-browser --internal-host 127.0.0.1 --port "$argument" --data-dir "$project" \
        --username admin@example.com --password Passw0rd-1x --user-token 0123456789abcdef0123456789abcdef01234567 "$@"
    ;;
*) exit 2 ;;
esac
