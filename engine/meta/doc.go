// Package meta is the metadata of Sluice: the record types and their codec, the
// key schema, and every mutation as a command over a small transaction.
//
// A Command is a typed, deterministic function over Tx: no clock, no
// randomness, no map order. The proposer stamps times and ids into its fields.
// Preconditions are checked inside the command, so they are atomic with its
// writes. A Store applies commands one after another, makes them durable in
// groups, and only then answers.
//
// Invariants:
//
//   - Nothing but a Command changes the store.
//   - A command checks everything before it writes anything; a command that
//     returns an error leaves no trace.
//   - The command that replaces or removes an object also queues the old blob
//     for deletion, in the same batch.
//   - Every blob outside the metadata has exactly one back-reference record,
//     which lists its extents, from the commit that names it until the commit
//     that purges it. Whatever has none is free space. Nothing else tells where a
//     blob lies, so that to move a fragment is to write one record.
//   - A blob is on the repair queue exactly while a fragment that holds something
//     has no place, or is known not to verify.
//   - The package is a leaf: it imports engine/layout only.
package meta
