// Command bench measures an S3 server from outside: operations and bytes per
// second, latency percentiles, and what the server spent on them in CPU time,
// memory and context switches. Without flags it starts a daemon of its own from
// bin/, drives it over HTTP and HTTPS, and prints tables (README.md says how to
// read them and holds the figures taken so far):
//
//	go run ./bench [scenario] [flags]
//
// Scenarios: matrix (the default: sizes × operations × concurrency), encryption
// (PUT and GET with and without SSE-S3, in turn: what encryption costs), abuse
// (good clients, quiet and under thousands of idle, stalled and flooding connections
// in turn), drive (fio on the same file system, the limit), large (1 GiB objects,
// many at once), listing (one page of few and of many keys, and a restart after
// kill -9) and urls (presigned URLs for other generators; wrk.sh uses it).
//
// Reading order: main.go, daemon.go, target.go (requests and signatures),
// client.go (HTTP/1.1 over one connection), load.go (the closed loop),
// matrix.go, encryption.go, abuse.go, attack.go (the attackers, processes of their
// own), large.go, listing.go, fio.go, report.go.
//
// Invariants:
//
//   - The loop is closed: each worker sends its next request when it has the
//     answer to the one before. Latencies say nothing of what an open loop would
//     see, and a stall shows in them once per worker only.
//   - A request counts as far as it lay within the measured time, which begins
//     after the warm-up: one that took 4 s, 1 s of it measured, is a quarter of an
//     operation. Latencies are those of all requests that counted. Any failed or
//     wrong answer fails the run.
//   - Every byte of every GET is compared with what was PUT. Content is a window
//     of one random block (pattern.go), so neither side pays for generating it
//     and no two objects are equal.
//   - The server's CPU time is the kernel's count for its whole process, its
//     io_uring workers included. CPU time spent by others on the machine is
//     reported beside it: a figure taken on a busy machine says so.
package main
