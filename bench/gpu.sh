#!/usr/bin/env bash
# What only a machine with a GPU can show, within nine minutes; the page goes to docs/results-gpu.md.
# bench/gpu.py says what can be changed.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" bench/gpu.py --out docs/results-gpu.md "$@"
