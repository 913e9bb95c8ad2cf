// Command sluiced is the Sluice daemon: it opens the drives, the metadata store
// and the engine, and serves S3 over HTTPS and HTTP on one port and the admin
// API on a Unix socket.
//
// wire.go is the only composition root of the project: it alone knows how the
// parts fit together. Everything it opens is closed in reverse order at the end.
//
// drive_start.go tells how a start finds drives and metadata, supervisor.go how they
// are looked after while the daemon serves, drive_change.go what administrators do to
// them, collector.go and idle.go how much memory the heap takes under load and leaves
// without. Invariants:
//
//   - A drive is formatted only at a path that nothing names as the place of a drive
//     of the cluster, or when an administrator says so.
//   - A drive is recorded in the metadata before anything is written to it, and until
//     nothing on it is needed any more.
//   - Nobody waits for a path that does not answer.
package main
