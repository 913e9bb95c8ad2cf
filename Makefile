# make run and make test are all that a newcomer needs; both install what they
# need (Go and make must be there; the tests install the rest).

# giouring reaches into package syscall, which Go's linker refuses by default
# since 1.23 (README, "Development").
export GOFLAGS := -buildvcs=false -ldflags=-checklinkname=0
export CGO_ENABLED ?= 0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -checklinkname=0 -X main.version=$(VERSION)

.PHONY: build run test check bench fmt clean soak fuzz clients conformance crash vuln tlsscan abuse vm torture microbench microbench-compare

build: ## bin/sluiced and bin/ctl
	go build -trimpath -ldflags "$(LDFLAGS)" -o bin/sluiced ./daemon
	go build -trimpath -ldflags "$(LDFLAGS)" -o bin/ctl ./ctl

run: build ## a daemon with a cluster, a bucket and a user, on ./var
	@sh tools/run.sh

test: ## everything but the long runs, under ten minutes on two cores
	@sh tools/test.sh

check: ## the linters, the laws and the tests under the race detector
	@sh tools/check.sh

bench: build ## the benchmark harness against a daemon of its own
	go run ./bench

microbench: ## Go micro-benchmarks, COUNT (10) times, into OUT (bin/microbench.txt)
	@COUNT=$(COUNT) OUT=$(OUT) sh tools/bench/microbench.sh

microbench-compare: ## the same of revision OLD and of this tree in turn, by benchstat
	@COUNT=$(COUNT) OUT=$(OUT) sh tools/bench/microbench.sh $(or $(OLD),HEAD)

fmt:
	gofmt -w $$(git ls-files '*.go')

soak: ## thousands of seeded power losses
	go test ./engine -run TestPowerLoss -count=1 -timeout 3h -seeds $(or $(SEEDS),5000) -seed $(or $(SEED),1)

torture: ## any two of six drives die under load, in 200 seeded schedules
	go test ./engine -run TestTwoDrivesFail -count=1 -timeout 2h -seeds $(or $(SEEDS),200) -seed $(or $(SEED),1)

crash: build ## kill -9 under a mixed load, 50 times over
	go run ./tools/crash -rounds $(or $(ROUNDS),50)

fuzz: ## each fuzz target for FUZZTIME (default 60s)
	@FUZZTIME=$(or $(FUZZTIME),60s) sh tools/fuzz.sh

clients: build ## boto3, aws, rclone, s3cmd, restic against a daemon, long form
	@LONG=1 sh tools/clients/run.sh

conformance: ## ceph/s3-tests, whose checkout S3TESTS names, against a daemon
	@sh tools/conformance.sh

tlsscan: build ## sslscan against a daemon; fails on anything weak
	@sh tools/tlsscan.sh

abuse: build ## good clients under 20,000 idle and 200 stalled connections and a flood
	go run ./bench abuse -max-ratio 2

vm: ## polled NVMe, SMART, and drives that break below a daemon, in a virtual machine
	@sh tools/vm/run.sh -rounds $(or $(ROUNDS),10)

vuln: ## known vulnerabilities in dependencies (needs the vulnerability database)
	go tool -modfile=tools/tools.mod govulncheck ./...

clean:
	rm -rf bin
