// Package checksum computes the digests S3 speaks of, in streaming form: MD5 for
// ETags and Content-MD5, SHA-256 for signed payloads, and the additional
// checksums CRC32, CRC32C, CRC64NVME, SHA1 and SHA256 (Amazon S3 User Guide,
// "Checking object integrity"), with the composition rules of multipart
// uploads. It is pure, and imports of ours md5lanes only.
//
// Digests are raw bytes, CRCs big-endian, as S3 transfers them in base64. The
// speeds differ: MD5 is the slowest of those that every upload needs, so a Set can
// leave it for later and compute it beside that of other uploads (package md5lanes).
// To the other digests it gives its bytes in strides that stay in the CPU's L1
// cache, and it computes SHA-256 once when it is wanted twice.
package checksum
