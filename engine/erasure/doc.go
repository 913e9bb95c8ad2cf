// Package erasure protects the rows of a striped blob with Reed-Solomon coding. It
// is pure: it decides on geometries and computes units, and performs no I/O.
//
// Invariants:
//
//   - What Encode makes of a row, Reconstruct gives back from any Data of its units.
//   - A row's units may be short or empty from the end: they count as extended with
//     zeros to the length of the row's first.
//   - The code of (Data, Parity) is part of the disk format and never changes.
package erasure
