// Package checksum computes the digests S3 speaks of, in streaming form: MD5 for
// ETags and Content-MD5, SHA-256 for signed payloads, and the additional
// checksums CRC32, CRC32C, CRC64NVME, SHA1 and SHA256 (Amazon S3 User Guide,
// "Checking object integrity"), with the composition rules of multipart
// uploads. It is a pure leaf.
package checksum
