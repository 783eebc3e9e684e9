#!/bin/bash
# Which tests were ignored, from what `cargo test` printed; fails when one was that tests/ignored.txt does not allow.
# Usage: tests/support/ignored.sh LOG
set -euo pipefail
pinned=$(dirname "$0")/../ignored.txt

# The lines `NAME | REASON`. Stars are the only patterns in them: what else they hold stands for itself.
mapfile -t allowed < <(sed -E '/^(#|$)/d; s/[][?()\\`!+@]/\\&/g' "$pinned")

is_pinned() {
    local line
    for line in "${allowed[@]}"; do
        # shellcheck disable=SC2053 # patterns
        if [[ $1 == ${line%% | *} && $2 == ${line#* | } ]]; then return; fi
    done
    return 1
}

# `test NAME ... ignored (REASON)`, as libtest-mimic prints it; `ignored, REASON`, as Rust's own does.
ignored=$(sed -nE 's/^test ([^ ]+) +\.\.\. ignored(, (.*)| \((.*)\))?$/\1 \3\4/p' "$1")
echo 'Ignored tests:'
if [ -z "$ignored" ]; then
    echo '  none'
    exit 0
fi
status=0
while read -r name reason; do
    if is_pinned "$name" "$reason"; then
        printf '  %s: %s\n' "$name" "$reason"
    else
        printf '  %s: %s\n    not in tests/ignored.txt: make it run here, or write it down there with this reason\n' \
            "$name" "${reason:-no reason}"
        status=1
    fi
done <<<"$ignored"
exit "$status"
