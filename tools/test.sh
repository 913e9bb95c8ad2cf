#!/bin/sh
# The test command: unit and property tests of every package, the command-line
# tests, and the round trips of real S3 clients. Stays under ten minutes on two
# cores; the long runs are behind make soak, crash, fuzz and clients.
set -eu
cd "$(dirname "$0")/.."

echo "== packages"
sh tools/gotest.sh -timeout 9m

echo "== real clients"
sh tools/clients/run.sh
