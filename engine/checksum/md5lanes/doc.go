// Package md5lanes computes the MD5 (RFC 1321) of many streams at a time. It is a
// leaf.
//
// One MD5 is a chain of dependent steps that leaves most of a core idle, so the
// Digests of concurrent uploads are advanced side by side, each in a lane of
// vector registers. An upload gives its bytes with Start, does something else,
// and calls Wait before it reuses the memory: the more is between the two, the
// more streams meet.
//
// # Who works
//
// There is no goroutine of the package's own, and Start hashes nothing. A waiter
// whose bytes nobody hashes leads: it takes its Digest and up to fifteen others
// that have bytes queued into the lanes and advances all of them by quanta of at
// most 16 KiB, until its own need is met (pool.lead). Then it puts the rest back
// and wakes the next waiter. What holds:
//
//   - Nobody hashes for others past the quantum in which its own need is met.
//   - Digests that are waited for go before those that are not, and after
//     1 MiB in a lane a Digest makes room for another that is waited for.
//   - At most GOMAXPROCS lead at a time, and a second only when the lanes of the
//     first are full: more lanes cost little, more leaders cost a core each.
//   - While a Digest is waited for, somebody leads or is being woken to lead.
//   - A waiter with much to do lets other goroutines run once before it leads,
//     and between quanta while lanes are empty and other streams have lately been
//     seen: with one processor nobody else could queue bytes otherwise.
//   - A piece is read by one goroutine at a time, and by none once Wait, Sum or
//     Stop has said so; nothing outside it is read; what is less than a block is
//     copied. Nothing is allocated after New.
//
// # Kernels
//
// The block functions are printed by the command in gen. One stream in the lowest
// lane of AVX-512 registers takes four cycles a step, which is the chain
// (function, add, rotate, add); eight take no longer, and sixteen 316 cycles a
// block instead of 256, as shuffles and chain share two ports. With AVX2 it is
// eight or sixteen, and the general registers for one stream; without it, or on
// other machines, one stream at a time, in which case a leader works for itself.
//
// CPU time per byte on one core of a Sapphire Rapids Xeon, as part of that of
// crypto/md5, through the interface with pieces of 1 MiB (BenchmarkStreams);
// the last row is github.com/minio/md5-simd v1.1.2 in the same minutes:
//
//	streams     1     2     4     8    16    64
//	AVX-512  0.88  0.46  0.22  0.11  0.07  0.08
//	AVX2     1.00  0.67  0.33  0.17  0.12  0.14
//	md5-simd 1.25  1.23  0.36  0.22  0.18  0.16
//
// What did not win: transposing the next block between the steps of a block by
// way of the stack (no faster, and half as fast with buffers at the same offset
// of a page); waiters that yield repeatedly, or sleep for microseconds, until more
// streams are queued (within the noise of a server under uploads of 1 MiB).
package md5lanes
