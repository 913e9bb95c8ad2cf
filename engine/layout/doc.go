// Package layout holds the vocabulary that the drive, metadata and engine
// packages share: identities, extents, fragments and blobs. It is a leaf: it
// imports nothing of Sluice and performs no I/O.
//
// Terms:
//
//   - A blob is an immutable run of payload bytes with an identity of its own:
//     the body of one object or of one multipart part.
//   - A fragment is the share of a blob that one drive holds.
//   - An extent is a contiguous, aligned byte range of a drive.
package layout
