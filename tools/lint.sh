#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make lint`: every checker runs, also after one has failed; exit 1 when any did.
set -u
cd "$(dirname "$0")/.."
failed=()

check() {
  echo "lint: $*"
  .venv/bin/"$@" || failed+=("$1 ${2:-}")
}

check ruff check --quiet .
check ruff format --check --quiet .
check mypy --no-error-summary
check lint-imports --no-logo
check codespell
[ ${#failed[@]} = 0 ] && { echo "lint: clean"; exit 0; }
printf 'lint: failed: %s\n' "${failed[@]}"
exit 1
