// Package faultio is an in-memory ioring.Device that fails on purpose.
//
// It is a drive with a volatile write cache: what was written is readable at
// once, but survives Crash for certain only after a sync. Rules, added at any
// time, make chosen operations fail, transfer too little, stall, hang, or
// corrupt data silently; Break has the whole device fail in one of the ways in
// which drives do. Memory is sparse, so a device may claim to be large.
//
// Invariants:
//
//   - A sync makes durable the writes that had completed when it was submitted,
//     and promises nothing about others: code that forgets to wait for a write
//     before it syncs loses data here, as it would on a drive.
//   - Of every write not made durable, a crash keeps any subset of its 512-byte
//     sectors, whether it had completed or not.
//   - Everything random follows from the seeds. A device used by one goroutine
//     that waits for what it submits behaves the same on every run.
package faultio
