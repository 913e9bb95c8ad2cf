// Command crash kills a daemon with SIGKILL under a mixed load, over and over,
// and proves after each restart that nothing acknowledged was lost and nothing
// else appeared:
//
//	go run ./tools/crash [-rounds 50] [-workers 16] [-seed N] [-drives 6 -parity 2]
//
// It starts sluiced on two directories, or as many as asked for, lets workers write, overwrite, copy,
// delete, upload in parts, read and list through signed requests, kills the
// process at a random moment (now and then again while it recovers), restarts
// it and compares what it serves with a model. Half of the objects are stored
// encrypted (SSE-S3); with -encrypted the whole cluster is.
//
// With -parity P, something happens to at most P of the drives between kills: a
// directory is removed, a data file truncated, bits of it flip, or a directory is
// away for a while. What is served must be the same without them, also under load and
// over further kills; then drives are replaced or brought back, and everything must
// become whole again, now and then over a kill while it heals.
//
// With -mapper PROGRAM, drives break under load instead, below their file systems: they
// fail, lie, answer now and then or never. No read may fail for that, and a write only as
// often as a client tries again.
//
// Invariants that a run checks:
//
//   - A key holds the last write that was acknowledged or observed by a reader,
//     or one write that was in flight at the kill, in whole.
//   - A read returns a value that no write acknowledged before the read began
//     had superseded. Reads never go back in time, not over a crash either.
//   - Of several PUTs with If-None-Match: * at most one succeeds; whoever is
//     refused with 412 was refused because of an object that stays.
//   - The listing names exactly the model's keys, with sizes and entity tags.
//   - An upload in progress survives with every acknowledged part; one whose
//     completion was in flight is either still there or has become the object.
//   - With -encrypted, no key, user or metadata can be read on the drives.
//   - With -parity, repair comes to its end, no drive is formatted in the place of one
//     that is away, and at last ctl cluster check --deep finds nothing.
//   - The daemon answers within seconds of a restart, its memory stays bounded,
//     SIGTERM ends it with exit code 0, and when everything is deleted the
//     drives are as empty as at first.
//
// Bodies are never stored: each is generated from a seed, and generated again to
// be compared with what is read. Each key is written by one worker only, so its
// history is a sequence, at most one write of which has no known outcome.
//
// The daemon inherits the environment, so that SLUICE_IO=pread, say, crashes the
// I/O path without io_uring.
//
// Reading order: main.go, run.go (the rounds), node.go (the process), client.go
// (signed requests), content.go (bodies), model.go (what may be read), load.go,
// read.go, list.go and multipart.go (what workers do), verify.go (what is checked
// after a crash), faults.go and mapper.go (what happens to drives).
package main
