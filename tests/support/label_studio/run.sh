#!/bin/bash
# Runs a real Label Studio 0.7 or 0.8 on the loopback, default local storages, in the foreground.
# Usage: run.sh VENV init PROJECT_DIRECTORY LABEL_CONFIG
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
*) exit 2 ;;
esac
