// Package mirrorfs is a Pebble file system that keeps one directory in several
// copies, on different drives: what is written goes to all, what is read comes from
// one that answers. It may import Pebble's vfs, and nothing of Sluice.
//
// Invariants:
//
//   - An operation that makes something durable (Sync, SyncData, one on names)
//     succeeds only when it succeeded in every copy in service. A copy in which it
//     failed, or took longer than Options.Patience, is put out of service first, and
//     Options.Eject has returned before the operation does. No other acknowledgement
//     passes meanwhile.
//   - The last copy is never put out of service; its errors are the caller's. An
//     operation that fails in every copy alike is an error of the caller, and puts
//     none out of service.
//   - What is done to one file reaches each copy in the order it was done.
//   - A copy gets its own bytes: a hung one sees no memory that somebody reuses. What
//     waits for one copy is bounded, by the callers' waiting.
//   - With two copies and more no caller waits for a drive: goroutines do, and those
//     of a hung copy end when it answers.
//   - With one copy nothing is copied or handed over, and no goroutine is started.
//   - No byte leaves a copy unless its own goroutines or the caller read it; a copy
//     that joins has every byte that a crash must leave before it counts.
//
// A crash leaves copies that differ in what was not synced: Equalize (equal.go) makes
// them the same, step by step, so that each holds at every moment all that was synced.
package mirrorfs
