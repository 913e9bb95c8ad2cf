// Package drive turns one ioring.Device into a store of fragments.
//
// A drive begins with two copies of its superblock; the rest is allocated in
// units to extents. A fragment is written once, as a run of frames, each a
// 4 KiB header that names the blob and carries a checksum for every 16 KiB
// block of the up to 1 MiB of payload behind it. FORMAT.md in package engine
// documents every byte.
//
// Invariants:
//
//   - Which extents are in use is known from the metadata alone: at start the
//     engine claims what records name, and everything else is free. A crash
//     therefore leaves no orphan behind.
//   - No byte is handed out before the block that holds it matched its checksum
//     and its frame header named the right blob, frame and drive.
//   - WriteFragment returns only when the data is durable.
package drive
