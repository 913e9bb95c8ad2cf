package body

import (
	"bytes"
	"encoding/hex"
	"os/exec"
	"strconv"
	"testing"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// TestBotocore decodes bodies that botocore framed: STREAMING-UNSIGNED-PAYLOAD-
// TRAILER with a trailing checksum, what SDKs send by default over TLS.
func TestBotocore(t *testing.T) {
	if err := exec.Command("python3", "-c", "import botocore.httpchecksum").Run(); err != nil {
		t.Skipf("python3 with botocore is needed: %v", err)
	}
	for _, row := range []struct {
		size, chunk int
		algorithm   checksum.Algorithm
		name        string
	}{
		{0, 1 << 20, checksum.CRC32, "crc32"},
		{1, 1 << 20, checksum.CRC32, "crc32"},
		{100_000, 65536, checksum.SHA256, "sha256"},
		{70_000, 700, checksum.SHA1, "sha1"},
	} {
		out, err := exec.Command("python3", "testdata/botocore_body.py",
			strconv.Itoa(row.size), strconv.Itoa(row.chunk), row.name).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		wire, err := hex.DecodeString(string(bytes.TrimSpace(out)))
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, row.size)
		for i := range data {
			data[i] = byte(i % 251)
		}
		got, err := decode(Options{
			Source: bytes.NewReader(wire), Auth: sigv4.Result{Payload: sigv4.StreamingUnsignedTrailer},
			Size: int64(row.size), Wire: int64(len(wire)), Algorithm: row.algorithm, Trailer: row.algorithm.Header(),
		})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %s: %d bytes, %v", row.size, row.name, len(got), err)
		}
	}
}
