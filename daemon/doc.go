// Command sluiced is the Sluice daemon: it opens the drives, the metadata store
// and the engine, and serves S3 over HTTPS and HTTP on one port and the admin
// API on a Unix socket.
//
// wire.go is the only composition root of the project: it alone knows how the
// parts fit together. Everything it opens is closed in reverse order at the end.
package main
