// Package pebblemeta is the meta.Store on one Pebble, and the only importer of
// Pebble.
//
// Invariants:
//
//   - One goroutine, the committer, applies commands, so each sees the state
//     that all before it left. A command's writes are buffered and join the
//     batch only when it returned nil.
//   - A batch carries the applied index with the data and is committed with a
//     synced write-ahead log. A second goroutine, the syncer, waits for the
//     syncs in order and answers; meanwhile the committer builds the next batch.
//     No command is answered before every batch whose effects it could have seen
//     is durable, not even one that failed.
//   - What the committer keeps between commands (markers, the hashes of a batch's keys)
//     tells what the commands applied so far left. Nobody else writes to Pebble.
//   - A log's sync is an fdatasync, whichever thread it runs in.
//   - A failed sync is final: the store answers ErrUnknownOutcome to whatever
//     was under way and ErrClosed to everything after. Nothing is retried.
//   - With a key, no byte that Pebble writes reaches a file in the clear, and a
//     file that is plain from before is replaced before Pebble opens. The layer
//     that does it keeps every byte's place, syncs what Pebble syncs, and never
//     uses a key stream twice (crypt_header.go).
//   - With several copies (package mirrorfs, below the layer that encrypts) Pebble
//     sees one directory. What a read finds damaged in one copy is read from another
//     and mended; a copy that misses a write is out of service before the write is
//     acknowledged, and recorded as stale by Options.Eject.
//   - A start may find copies that differ in what was not durable everywhere. They are
//     made equal before Pebble opens, and each holds at every moment of it all that
//     was acknowledged.
//   - Values of minSeparated bytes and up live in Pebble's blob files, which
//     compactions of keys do not rewrite.
package pebblemeta
