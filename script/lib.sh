# Shared by the other scripts; sourced, never run.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # used by the scripts that source this file
project=$root/sidPublisherJob
# shellcheck disable=SC2034
venv=$root/.venv

# Where bytecode may not be kept, each of the many processes of a test or a demo compiles every module.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}
