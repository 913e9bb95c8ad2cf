#!/bin/sh
# What a change must pass besides the tests: format, vet, staticcheck, a tidy
# go.mod, and the tests under the race detector.
set -eu
cd "$(dirname "$0")/.."

echo "== gofmt"
unformatted=$(git ls-files '*.go' | xargs gofmt -l)
[ -z "$unformatted" ] || { echo "not gofmt-clean:"; echo "$unformatted"; exit 1; }

echo "== go vet"
go vet ./...

echo "== staticcheck"
go tool -modfile=tools/tools.mod staticcheck ./...

echo "== go mod tidy"
go mod tidy -diff

echo "== race detector"
sh tools/install.sh gcc
CGO_ENABLED=1 sh tools/gotest.sh -race -short -timeout 30m
