package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"time"
)

// resign is how long a signed head is used: servers accept a signature for 15
// minutes.
const resign = 5 * time.Minute

// signer makes the heads of plain requests, those without a query and without
// headers of their own, without allocating: what a PUT of 4 KiB costs the
// generator is the server's loss. It gives what target.head gives, byte for byte
// but for the order of the headers. One goroutine may use it.
type signer struct {
	t       *target
	made    time.Time // of day, stamp and mac
	stamp   []byte    // 20060102T150405Z
	mac     hash.Hash // keyed with the signing key of the day
	sha     hash.Hash
	scope   string
	text    []byte // canonical request, then string to sign
	digest  []byte
	encoded [2 * sha256.Size]byte
}

const unsigned = "UNSIGNED-PAYLOAD"

func newSigner(t *target) *signer { return &signer{t: t, sha: sha256.New()} }

// renew takes over the time of now; seconds may pass before it must be called
// again, since servers allow for clocks that differ.
func (s *signer) renew(now time.Time) {
	now = now.UTC()
	day := now.Format("20060102")
	s.made, s.stamp = now, now.AppendFormat(s.stamp[:0], "20060102T150405Z")
	s.scope = day + "/" + s.t.region + "/s3/aws4_request"
	key := []byte("AWS4" + s.t.secret)
	for _, part := range []string{day, s.t.region, "s3", "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	s.mac = hmac.New(sha256.New, key)
}

// appendHead appends the head of a request for path to b, with a content-length
// where size is not negative.
func (s *signer) appendHead(b []byte, method string, path []byte, size int64, now time.Time) []byte {
	if s.mac == nil || now.Sub(s.made) > time.Second {
		s.renew(now)
	}
	s.sign(method, path)
	b = append(append(append(b, method...), ' '), path...)
	b = append(append(b, " HTTP/1.1\r\nhost: "...), s.t.host...)
	b = append(append(b, "\r\nx-amz-date: "...), s.stamp...)
	b = append(b, "\r\nx-amz-content-sha256: "+unsigned+"\r\nauthorization: AWS4-HMAC-SHA256 Credential="...)
	b = append(append(append(b, s.t.accessKey...), '/'), s.scope...)
	b = append(b, ", SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="...)
	b = append(b, s.encoded[:]...)
	if size >= 0 {
		b = strconv.AppendInt(append(b, "\r\ncontent-length: "...), size, 10)
	}
	return append(b, "\r\n\r\n"...)
}

// sign leaves the signature in s.encoded (AWS, "Signature Version 4 signing
// process").
func (s *signer) sign(method string, path []byte) {
	c := append(append(append(s.text[:0], method...), '\n'), path...)
	c = append(append(c, "\n\nhost:"...), s.t.host...)
	c = append(append(c, "\nx-amz-content-sha256:"+unsigned+"\nx-amz-date:"...), s.stamp...)
	c = append(c, "\n\nhost;x-amz-content-sha256;x-amz-date\n"+unsigned...)
	s.hash(s.sha, c)
	c = append(append(append(c[:0], "AWS4-HMAC-SHA256\n"...), s.stamp...), '\n')
	c = append(append(append(c, s.scope...), '\n'), s.encoded[:]...)
	s.hash(s.mac, c)
	s.text = c
}

func (s *signer) hash(h hash.Hash, text []byte) {
	h.Reset()
	h.Write(text)
	s.digest = h.Sum(s.digest[:0])
	hex.Encode(s.encoded[:], s.digest)
}
