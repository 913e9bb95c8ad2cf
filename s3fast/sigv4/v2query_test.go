package sigv4

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// virtualRequest is a request whose bucket is named by its host.
type virtualRequest struct {
	*fakeRequest
	bucket string
}

func (v virtualRequest) VirtualBucket() string { return v.bucket }

// TestV2Query takes the request of AWS's "Signing and Authenticating REST
// Requests", the query string example: its published signature, its key.
func TestV2Query(t *testing.T) {
	const key = "AKIAIOSFODNN7EXAMPLE"
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	const query = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
	at := time.Unix(1175139620, 0)
	request := func() virtualRequest {
		return virtualRequest{&fakeRequest{"GET", "/photos/puppy.jpg", query, "johnsmith.s3.amazonaws.com", nil}, "johnsmith"}
	}
	v := verifierAt(at, key, secret, "s3")
	res, err := v.Verify(request())
	if err != nil || res.AccessKey != key || !res.Presigned || res.Payload != Unsigned {
		t.Fatalf("%+v, %v", res, err)
	}
	for name, tc := range map[string]struct {
		change func(r *virtualRequest)
		want   error
	}{
		"other method":   {func(r *virtualRequest) { r.method = "PUT" }, ErrMismatch},
		"other key":      {func(r *virtualRequest) { r.path += "x" }, ErrMismatch},
		"other bucket":   {func(r *virtualRequest) { r.bucket = "b" }, ErrMismatch},
		"later expiry":   {func(r *virtualRequest) { r.query = strings.Replace(query, "620", "621", 1) }, ErrMismatch},
		"sub-resource":   {func(r *virtualRequest) { r.query += "&acl" }, ErrMismatch},
		"unsigned param": {func(r *virtualRequest) { r.query += "&x-id=GetObject" }, nil},
		"amz header":     {func(r *virtualRequest) { r.headers = append(r.headers, [2]string{"x-amz-acl", "private"}) }, ErrMismatch},
		"content type":   {func(r *virtualRequest) { r.headers = append(r.headers, [2]string{"content-type", "a/b"}) }, ErrMismatch},
		"unknown key":    {func(r *virtualRequest) { r.query = strings.Replace(query, "7EX", "8EX", 1) }, ErrUnknownKey},
		"key twice":      {func(r *virtualRequest) { r.query += "&AWSAccessKeyId=x" }, ErrMalformedQuery},
		"no expiry":      {func(r *virtualRequest) { r.query = strings.Replace(query, "Expires", "Expire", 1) }, ErrMalformedQuery},
		"expiry no time": {func(r *virtualRequest) { r.query = strings.Replace(query, "=1175", "=never", 1) }, ErrMalformedQuery},
		"not base64":     {func(r *virtualRequest) { r.query = strings.Replace(query, "NpgC", "!!!!", 1) }, ErrMismatch},
		"signed chunks": {func(r *virtualRequest) {
			r.headers = append(r.headers, [2]string{"x-amz-content-sha256", payloadStreaming})
		}, ErrUnsupported},
	} {
		r := request()
		tc.change(&r)
		if _, err := v.Verify(r); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if _, err := verifierAt(at.Add(time.Second), key, secret, "s3").Verify(request()); !errors.Is(err, ErrExpired) {
		t.Errorf("a second late: %v", err)
	}
}
