package main

import (
	"context"
	"crypto/md5" // #nosec G501: what S3's ETags are made of
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"
)

// hashTime is how long each hash runs, and hashStride what it is given at a time:
// bytes that stay in a core's own cache, as they do in the daemon.
const (
	hashTime   = 60 * time.Millisecond
	hashStride = 64 << 10
)

// hashLimits measures the hashes of an object store on one core.
func hashLimits(_ context.Context, l *limits) error {
	data := make([]byte, hashStride)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(data) // never fails, by its contract
	for _, h := range []struct {
		id, name string
		hash     hash.Hash
	}{
		{"md5", "MD5, one stream", md5.New()}, // #nosec G401: see above
		{"sha256", "SHA-256", sha256.New()},
		{"crc64nvme", "CRC-64/NVME", crc64nvme.New()},
		{"xxh3", "XXH3", xxh3.New()},
	} {
		_, _ = h.hash.Write(data) // never fails, as hash.Hash says
		begun, n := time.Now(), 0
		for ; time.Since(begun) < hashTime; n++ {
			_, _ = h.hash.Write(data)
		}
		l.add("hash_"+h.id, h.name+" on one core", "GB/s", float64(n)*hashStride/time.Since(begun).Seconds()/1e9)
	}
	return nil
}
