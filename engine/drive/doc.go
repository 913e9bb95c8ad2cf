// Package drive turns one ioring.Device into a store of fragments.
//
// A drive begins with two copies of its superblock; the rest is allocated in
// units to extents. A fragment, which is a blob's share on one drive, is written
// once, as a run of frames, each a 4 KiB header that names the blob and the
// fragment and carries a checksum for every 16 KiB block of the up to 1 MiB of
// payload behind it. FORMAT.md in package engine documents every byte.
//
// Fragments are written and read as streams (Write, Open), or frame by frame, many
// at a time and over many drives, by way of FrameIO.
//
// Invariants:
//
//   - Which extents are in use is known from the metadata alone: at start the
//     engine claims what records name, and everything else is free. A crash
//     therefore leaves no orphan behind.
//   - No byte is handed out before the block that holds it matched its checksum
//     and its frame header named the right blob, fragment, frame and drive.
//   - Write returns only when the data is durable.
//   - Nobody waits for the device longer than Options.Deadline for one operation,
//     nor at all once the drive is abandoned. A buffer that the device may still
//     use is lent to nobody, and extents to which a write may still come to pass
//     are not reserved again, until the device has answered.
//   - What clients do wrong, the want of space, and time in which the process stood
//     still (stopped, frozen, without a processor) do not count against a drive.
//
// Locks are taken in the order flight, transfer, drive; none is held during I/O.
package drive
