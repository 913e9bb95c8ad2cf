// Command bench measures S3 servers from outside: operations and bytes per
// second, latency percentiles, and what the server spent on them in CPU time,
// memory, system calls and context switches. Without flags it starts a daemon of
// its own from bin/, drives it over HTTP and HTTPS, prints tables and writes
// bench-report.json and bench-report.html (README.md says how to read them and
// holds the figures taken so far):
//
//	go run ./bench [scenario] [flags]
//
// Scenarios: matrix (the default: sizes × operations × concurrency), compare (the
// same rows on several endpoints in turn, with ratios), limits (the drive, the
// wire and the hashes, which matrix and compare measure too), encryption (PUT and
// GET with and without SSE-S3, in turn: what encryption costs), abuse (good
// clients, quiet and under thousands of idle, stalled and flooding connections in
// turn), drive (fio on the same file system, a check on limits), large (1 GiB
// objects, many at once), rebuild (clients without and during the rebuild of a
// replaced drive, in turn), listing (one page of few and of many keys, and a
// restart after kill -9) and urls (presigned URLs for other generators; wrk.sh
// uses it).
//
// Reading order: options.go, main.go, daemon.go, target.go and signer.go
// (requests and signatures), client.go (HTTP/1.1 over one connection), load.go
// (the closed loop), openloop.go, result.go, hist.go, workload.go and writing.go
// (the operations), matrix.go, endpoint.go, compare.go, compare_report.go, stats.go,
// limits.go and limits_*.go, proc.go, family.go, affinity.go and syscalls.go (what
// the server used), report.go (the JSON's schema), page.go (the HTML), then the
// scenarios: encryption.go, abuse.go, attack.go (the attackers, processes of their
// own), large.go, rebuild.go, listing.go, fio.go.
//
// Invariants:
//
//   - Without -rate the loop is closed: each worker sends its next request when it
//     has the answer to the one before. Latencies say nothing of what an open loop
//     would see, and a stall shows in them once per worker only. With -rate the
//     times of operations are fixed beforehand and latencies count from them, so a
//     stall is in the latency of all who would have come meanwhile. What finds the
//     backlog full is dropped, counted, and in no latency.
//   - A request counts as far as it lay within the measured time, which begins
//     after the warm-up: one that took 4 s, 1 s of it measured, is a quarter of an
//     operation. Latencies are those of all requests that counted; of an open loop,
//     of those meant for the measured time. Any failed or wrong answer fails the
//     run.
//   - Every byte of every GET is compared with what was PUT, and some of what a row
//     wrote is read back after it. Content is a window of one random block
//     (pattern.go), so neither side pays for generating it and no two objects are
//     equal.
//   - The server's CPU time is the scheduler's count, in nanoseconds, for its whole
//     process with its io_uring workers, and for its children. CPU time spent by
//     others on the machine is reported beside it: a figure taken on a busy machine
//     says so. System calls are counted in a run of their own.
//   - Endpoints of a comparison take turns in every round of every row; a ratio is
//     taken within a round, and the spread is that of the rounds.
//   - A small request costs the generator no allocation.
package main
