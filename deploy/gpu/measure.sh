#!/usr/bin/env bash
# Measures the device path on a machine with an NVIDIA GPU, in at most 8 minutes: tests, speed of each stage, the whole chain,
# a profile of one step. Writes measure.json and measure.md.
#   deploy/gpu/measure.sh [--out FOLDER] [--cpu] [--parts tests,stages,chain,profile]
# --cpu measures the CPU instead, so that the script can be tried without a GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec timeout 480 "${PYTHON:-.venv/bin/python}" deploy/gpu/measure.py "$@"
