package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// signedRequest returns a request with a good header signature.
func signedRequest(payload string, headers ...[2]string) *fakeRequest {
	r := &fakeRequest{"PUT", "/bucket/a%20key", "partNumber=1&uploadId=x%2By", "localhost:9000", headers}
	for name, value := range Sign(r, docKey, docSecret, "us-east-1", "s3", payload, docTime) {
		r.set(name, value)
	}
	return r
}

func TestPayloadForms(t *testing.T) {
	hash := strings.Repeat("0f", 32)
	for _, row := range []struct {
		value string
		form  Payload
		err   error
	}{
		{payloadUnsigned, Unsigned, nil},
		{payloadStreaming, Streaming, nil},
		{payloadStreamingTrailer, StreamingTrailer, nil},
		{payloadStreamingUnsignedTrailer, StreamingUnsignedTrailer, nil},
		{hash, SHA256, nil},
		{strings.ToUpper(hash), SHA256, nil},
		{payloadECDSA, 0, ErrUnsupported},
		{payloadECDSATrailer, 0, ErrUnsupported},
		{"", 0, ErrMissingPayloadHash},
		{hash[1:], 0, ErrBadPayloadHash},
		{hash + "00", 0, ErrBadPayloadHash},
		{strings.Replace(hash, "f", "g", 1), 0, ErrBadPayloadHash},
		{"unsigned-payload", 0, ErrBadPayloadHash},
		{"STREAMING-UNSIGNED-PAYLOAD", 0, ErrBadPayloadHash},
	} {
		res, err := docVerifier().Verify(signedRequest(row.value))
		if err != row.err || res.Payload != row.form {
			t.Errorf("%q: %v, %v", row.value, res.Payload, err)
		}
		if row.form == SHA256 && (res.Hash[0] != 0x0f || res.Hash[31] != 0x0f) {
			t.Errorf("%q: hash %x", row.value, res.Hash)
		}
	}
}

// TestHeaderRejections changes a good request in one way each.
func TestHeaderRejections(t *testing.T) {
	auth := func(old, new string) func(*fakeRequest) {
		return func(r *fakeRequest) {
			before := r.Header("authorization")
			after := strings.Replace(before, old, new, 1)
			if after == before {
				panic("no change: " + old)
			}
			r.set("authorization", after)
		}
	}
	set := func(name, value string) func(*fakeRequest) {
		return func(r *fakeRequest) { r.set(name, value) }
	}
	for _, row := range []struct {
		name   string
		change func(*fakeRequest)
		err    error
	}{
		{"nothing", func(*fakeRequest) {}, nil},
		{"spaces everywhere", auth(", SignedHeaders", "  ,   SignedHeaders"), nil},
		{"no spaces", auth(", Signature=", ",Signature="), nil},
		{"spaces after the algorithm", auth(algorithm+" ", " "+algorithm+"   "), nil},
		{"unsigned header that is none of AWS's", set("accept", "*/*"), nil},
		{"unsigned content hash", auth("x-amz-content-sha256;", ""), ErrMismatch},
		{"other method", func(r *fakeRequest) { r.method = "GET" }, ErrMismatch},
		{"other path", func(r *fakeRequest) { r.path = "/bucket/a%20Key" }, ErrMismatch},
		{"same path, encoded otherwise", func(r *fakeRequest) { r.path = "/%62ucket/a key" }, nil},
		{"other query", func(r *fakeRequest) { r.query += "&acl" }, ErrMismatch},
		{"query reordered", func(r *fakeRequest) { r.query = "uploadId=x%2by&partNumber=1" }, nil},
		{"other host", func(r *fakeRequest) { r.host = "elsewhere" }, ErrMismatch},
		{"other header", set("x-amz-meta-a", "c"), ErrMismatch},
		{"header repeated", func(r *fakeRequest) { r.headers = append(r.headers, [2]string{"x-amz-meta-a", "b"}) }, ErrMismatch},
		{"header added", set("x-amz-acl", "public-read"), ErrUnsignedHeaders},
		{"token added", set("x-amz-security-token", "t"), ErrUnsignedHeaders},
		{"host not signed", auth("host;", ""), ErrUnsignedHeaders},
		{"no signature", set("authorization", ""), ErrMissing},
		{"blank", set("authorization", "  "), ErrMissing},
		{"both forms", func(r *fakeRequest) { r.query += "&X-Amz-Signature=00" }, ErrBothForms},
		{"both forms, V2", func(r *fakeRequest) { r.query += "&AWSAccessKeyId=a&Signature=b&Expires=1" }, ErrBothForms},
		{"V2", set("authorization", "AWS "+docKey+":c2lnbmF0dXJl"), ErrUnsupported},
		{"bearer", set("authorization", "Bearer x"), ErrUnsupported},
		{"ECDSA", auth(algorithm, "AWS4-ECDSA-P256-SHA256"), ErrUnsupported},
		{"algorithm alone", set("authorization", algorithm), ErrMalformedAuth},
		{"one part", set("authorization", algorithm+" Signature=00"), ErrMalformedAuth},
		{"unknown part", auth("Signature=", "Foo=1, Signature="), ErrMalformedAuth},
		{"part twice", auth("Signature=", "Signature=00, Signature="), ErrMalformedAuth},
		{"trailing comma", func(r *fakeRequest) { r.set("authorization", r.Header("authorization")+",") }, ErrMalformedAuth},
		{"empty credential", auth("Credential="+docKey+"/"+docScope, "Credential="), ErrMalformedAuth},
		{"empty key", auth(docKey, ""), ErrMalformedAuth},
		{"short scope", auth("/us-east-1", ""), ErrMalformedAuth},
		{"other terminator", auth("aws4_request", "aws4_Request"), ErrMalformedAuth},
		{"other service", auth("/s3/", "/ec2/"), ErrMalformedAuth},
		{"other region", auth("us-east-1", "us-west-2"), ErrBadRegion},
		{"other date", auth("20130524", "20130523"), ErrMalformedAuth},
		{"letters for a date", auth("20130524", "2013052x"), ErrMalformedAuth},
		{"signed header twice", auth("host;", "host;host;"), ErrMalformedAuth},
		{"signed header empty", auth("host;", "host;;"), ErrMalformedAuth},
		{"signed header upper-case", auth("host;", "Host;"), ErrMalformedAuth},
		{"signed headers unsorted", auth("host;x-amz-content-sha256;", "x-amz-content-sha256;host;"), nil},
		{"absent header signed", auth("host;", "a;host;"), ErrMismatch},
		{"short signature", auth("Signature=", "Signature=0"), ErrMismatch},
		{"upper-case signature", func(r *fakeRequest) {
			head, sig, _ := strings.Cut(r.Header("authorization"), "Signature=")
			r.set("authorization", head+"Signature="+strings.ToUpper(sig))
		}, ErrMismatch},
		{"unknown key", auth(docKey, "AKIDUNKNOWN"), ErrUnknownKey},
		{"no date", func(r *fakeRequest) { r.headers = dropHeader(r.headers, "x-amz-date") }, ErrMissingDate},
		{"bad date", set("x-amz-date", "20130524T250000Z"), ErrMissingDate},
		{"not a date", set("x-amz-date", "yesterday"), ErrMissingDate},
		{"other time", set("x-amz-date", "20130524T000001Z"), ErrMismatch},
		{"too late", set("x-amz-date", "20130524T001501Z"), ErrSkewed},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := signedRequest(payloadUnsigned, [2]string{"x-amz-meta-a", "b"}, [2]string{"content-type", "text/plain"})
			row.change(r)
			res, err := docVerifier().Verify(r)
			if err != row.err {
				t.Fatalf("%v, want %v", err, row.err)
			}
			if err != nil && res != (Result{}) {
				t.Fatalf("a result beside the error: %+v", res)
			}
		})
	}
}

func dropHeader(headers [][2]string, name string) (out [][2]string) {
	for _, h := range headers {
		if h[0] != name {
			out = append(out, h)
		}
	}
	return out
}

func TestTimes(t *testing.T) {
	for offset, want := range map[time.Duration]error{
		0: nil, 15 * time.Minute: nil, -15 * time.Minute: nil,
		15*time.Minute + time.Second: ErrSkewed, -15*time.Minute - time.Second: ErrSkewed,
		24 * 365 * time.Hour: ErrSkewed,
	} {
		v := docVerifier()
		v.Now = func() time.Time { return docTime.Add(offset) }
		if _, err := v.Verify(signedRequest(payloadUnsigned)); err != want {
			t.Errorf("clock %v ahead: %v, want %v", offset, err, want)
		}
	}
	v := docVerifier()
	v.Skew = time.Minute
	v.Now = func() time.Time { return docTime.Add(61 * time.Second) }
	if _, err := v.Verify(signedRequest(payloadUnsigned)); err != ErrSkewed {
		t.Errorf("skew of its own: %v", err)
	}
	for offset, want := range map[time.Duration]error{
		0: nil, 24 * time.Hour: nil, 24*time.Hour + time.Second: ErrExpired,
		-15 * time.Minute: nil, -15*time.Minute - time.Second: ErrNotYetValid,
	} {
		v := docVerifier()
		v.Now = func() time.Time { return docTime.Add(offset) }
		if _, err := v.Verify(docPresigned()); err != want {
			t.Errorf("presigned, clock %v ahead: %v, want %v", offset, err, want)
		}
	}
}

// TestDateHeader signs with Date in place of x-amz-date.
func TestDateHeader(t *testing.T) {
	for date, want := range map[string]error{
		"Fri, 24 May 2013 00:00:00 GMT":   nil,
		"Friday, 24-May-13 00:00:00 GMT":  nil,
		"Thu, 23 May 2013 19:00:00 -0500": nil,
		"Fri, 24 May 2013 00:00:00 -0000": nil,
		"Fri May 24 00:00:00 2013":        nil,
		docStamp:                          nil,
		"Fri, 24 May 2013":                ErrMissingDate,
		"":                                ErrMissingDate,
	} {
		r := &fakeRequest{"GET", "/b", "", "h", [][2]string{{"date", date}, {"x-amz-content-sha256", emptyHash}}}
		s := getScratch()
		r.Headers(s.add)
		s.splitSigned("date;host;x-amz-content-sha256")
		s.canonicalRequest(r, emptyHash)
		sum := s.sign(docSecret, docScope, "us-east-1", "s3", docTime)
		putScratch(s)
		r.set("authorization", authorization(docKey, docScope, "date;host;x-amz-content-sha256", sum))
		if _, err := docVerifier().Verify(r); err != want {
			t.Errorf("%q: %v, want %v", date, err, want)
		}
	}
}

func TestPresignedRejections(t *testing.T) {
	base := &fakeRequest{"PUT", "/b/k", "x-id=PutObject", "h:1", [][2]string{{"x-amz-acl", "private"}}}
	sub := func(old, new string) func(*fakeRequest) {
		return func(r *fakeRequest) {
			if !strings.Contains(r.query, old) {
				panic("no change: " + old)
			}
			r.query = strings.Replace(r.query, old, new, 1)
		}
	}
	for _, row := range []struct {
		name   string
		change func(*fakeRequest)
		err    error
	}{
		{"nothing", func(*fakeRequest) {}, nil},
		{"header added", func(r *fakeRequest) { r.set("x-amz-meta-a", "b") }, ErrUnsignedHeaders},
		{"content hash added", func(r *fakeRequest) { r.set("x-amz-content-sha256", emptyHash) }, nil},
		{"bad content hash added", func(r *fakeRequest) { r.set("x-amz-content-sha256", "x") }, ErrBadPayloadHash},
		{"two content hashes", func(r *fakeRequest) {
			r.set("x-amz-content-sha256", emptyHash)
			r.query += "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"
		}, ErrBadPayloadHash},
		{"signed header left out", func(r *fakeRequest) { r.headers = nil }, ErrMismatch},
		{"query added", func(r *fakeRequest) { r.query += "&acl" }, ErrMismatch},
		{"no date", sub("X-Amz-Date=20130524T000000Z&", ""), ErrMalformedQuery},
		{"date not a time", sub("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130524"), ErrMalformedQuery},
		{"no expiry", sub("X-Amz-Expires=60&", ""), ErrMalformedQuery},
		{"no algorithm", sub("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""), ErrMalformedQuery},
		{"no signed headers", sub("X-Amz-SignedHeaders=host%3Bx-amz-acl&", ""), ErrMalformedQuery},
		{"empty signature", func(r *fakeRequest) { r.query, _, _ = strings.Cut(r.query, "&X-Amz-Signature") }, ErrMalformedQuery},
		{"signature changed", func(r *fakeRequest) { r.query += "0" }, ErrMismatch},
		{"date twice", sub("X-Amz-Expires", "X-Amz-Date=20130524T000000Z&X-Amz-Expires"), ErrMalformedQuery},
		{"name escaped", sub("X-Amz-Expires", "X-Amz%2DExpires"), nil},
		{"expiry 0", sub("Expires=60", "Expires=0"), ErrMalformedQuery},
		{"expiry negative", sub("Expires=60", "Expires=-60"), ErrMalformedQuery},
		{"expiry too long", sub("Expires=60", "Expires=604801"), ErrMalformedQuery},
		{"expiry huge", sub("Expires=60", "Expires=99999999999999999999"), ErrMalformedQuery},
		{"expiry longest", sub("Expires=60", "Expires=604800"), ErrMismatch},
		{"expiry not plain", sub("Expires=60", "Expires=6e1"), ErrMalformedQuery},
		{"other algorithm", sub("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), ErrUnsupported},
		{"other service", sub("%2Fs3%2F", "%2Fsts%2F"), ErrMalformedQuery},
		{"other region", sub("us-east-1", "mars-1"), ErrBadRegion},
		{"other day", sub("%2F20130524%2F", "%2F20130525%2F"), ErrMalformedQuery},
		{"unknown key", sub(docKey, "nobody"), ErrUnknownKey},
		{"host unsigned", sub("host%3B", ""), ErrUnsignedHeaders},
		{"V2", func(r *fakeRequest) { r.query = "AWSAccessKeyId=a&Signature=b&Expires=1" }, ErrExpired},
		{"V2 without key", func(r *fakeRequest) { r.query = "Signature=b" }, ErrMalformedQuery},
		{"V2 without signature", func(r *fakeRequest) { r.query = "AWSAccessKeyId=a" }, ErrMalformedQuery},
		{"none", func(r *fakeRequest) { r.query = "Expires=1&x-id=GetObject" }, ErrMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := base.clone()
			r.query = Presign(r, docKey, docSecret, "us-east-1", "s3", time.Minute, docTime)
			row.change(r)
			if _, err := docVerifier().Verify(r); err != row.err {
				t.Fatalf("%v, want %v", err, row.err)
			}
		})
	}
}

func TestRegions(t *testing.T) {
	for _, row := range []struct {
		ours, theirs string
		err          error
	}{
		{"", "anything", nil}, {"eu-1", "eu-1", nil}, {"eu-1", "us-east-1", nil},
		{"eu-1", "eu-2", ErrBadRegion}, {"us-east-1", "eu-1", ErrBadRegion},
	} {
		r := &fakeRequest{"GET", "/", "", "h", nil}
		for name, value := range Sign(r, docKey, docSecret, row.theirs, "s3", emptyHash, docTime) {
			r.set(name, value)
		}
		v := docVerifier()
		v.Region = row.ours
		if _, err := v.Verify(r); err != row.err {
			t.Errorf("%q at %q: %v", row.theirs, row.ours, err)
		}
	}
}

// TestOddAccessKeys: a user's name may hold any character but a comma.
func TestOddAccessKeys(t *testing.T) {
	for _, key := range []string{"a/b/c", "user@example.com", "S3_user", "x=y", "ünïcode"} {
		v := verifierAt(docTime, key, "s", "s3")
		r := &fakeRequest{"GET", "/", "", "h", nil}
		for name, value := range Sign(r, key, "s", "us-east-1", "s3", emptyHash, docTime) {
			r.set(name, value)
		}
		if res, err := v.Verify(r); err != nil || res.AccessKey != key {
			t.Errorf("header, %q: %q, %v", key, res.AccessKey, err)
		}
		p := &fakeRequest{"GET", "/", "", "h", nil}
		p.query = Presign(p, key, "s", "us-east-1", "s3", time.Minute, docTime)
		if res, err := v.Verify(p); err != nil || res.AccessKey != key {
			t.Errorf("presigned, %q: %q, %v", key, res.AccessKey, err)
		}
	}
}

func TestSessionToken(t *testing.T) {
	res, err := docVerifier().Verify(signedRequest(emptyHash, [2]string{"x-amz-security-token", "tok"}))
	if err != nil || res.SessionToken != "tok" {
		t.Errorf("header: %q, %v", res.SessionToken, err)
	}
	p := &fakeRequest{"GET", "/", "X-Amz-Security-Token=t%2Bk", "h", nil}
	p.query = Presign(p, docKey, docSecret, "us-east-1", "s3", time.Minute, docTime)
	if res, err = docVerifier().Verify(p); err != nil || res.SessionToken != "t+k" {
		t.Errorf("presigned: %q, %v", res.SessionToken, err)
	}
}

// TestChangedSecret: the old secret stops working at once, cached key or not.
func TestChangedSecret(t *testing.T) {
	secret := docSecret
	v := docVerifier()
	v.Secret = func(string) (string, bool) { return secret, true }
	r := signedRequest(emptyHash)
	for range 2 {
		if _, err := v.Verify(r); err != nil {
			t.Fatal(err)
		}
	}
	secret = "another"
	if _, err := v.Verify(r); err != ErrMismatch {
		t.Errorf("old signature: %v", err)
	}
	secret = docSecret
	if _, err := v.Verify(r); err != nil {
		t.Errorf("changed back: %v", err)
	}
}

// TestKeyCacheBounded fills the cache past its bound, from several goroutines.
func TestKeyCacheBounded(t *testing.T) {
	v := docVerifier()
	v.Region = ""
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := range keyCacheMax {
				r := &fakeRequest{"GET", "/", "", "h", nil}
				region := fmt.Sprintf("r%d-%d", w, i)
				for name, value := range Sign(r, docKey, docSecret, region, "s3", emptyHash, docTime) {
					r.set(name, value)
				}
				if _, err := v.Verify(r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(v.keys.entries); n != keyCacheMax {
		t.Errorf("%d entries, want %d", n, keyCacheMax)
	}
	r := signedRequest(emptyHash)
	r.path = "/other"
	fresh := docVerifier()
	if _, err := fresh.Verify(r); err != ErrMismatch || len(fresh.keys.entries) != 0 {
		t.Errorf("a wrong signature left %d entries (%v)", len(fresh.keys.entries), err)
	}
}

func TestHMAC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "key")
		msg := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "msg")
		h := hmac.New(sha256.New, key)
		h.Write(msg)
		m := getMAC()
		defer putMAC(m)
		if got := m.hmac(key, msg); !hmac.Equal(got[:], h.Sum(nil)) {
			t.Fatalf("%x, want %x", got, h.Sum(nil))
		}
	})
}

// TestSignVerify: whatever is signed verifies, and not with another secret.
func TestSignVerify(t *testing.T) {
	text := rapid.StringMatching(`[ -~é日]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		r := &fakeRequest{"GET", "/" + text.Draw(t, "path"), text.Draw(t, "query"), "h", nil}
		for i := range rapid.IntRange(0, 4).Draw(t, "headers") {
			r.headers = append(r.headers, [2]string{fmt.Sprintf("x-amz-meta-%d", i%3), text.Draw(t, "value")})
		}
		if detectQuery(r.query) != queryNone {
			return
		}
		p := r.clone()
		for name, value := range Sign(r, docKey, docSecret, "us-east-1", "s3", payloadUnsigned, docTime) {
			r.set(name, value)
		}
		if _, err := docVerifier().Verify(r); err != nil {
			t.Fatalf("header: %v", err)
		}
		p.query = Presign(p, docKey, docSecret, "us-east-1", "s3", time.Minute, docTime)
		if _, err := docVerifier().Verify(p); err != nil {
			t.Fatalf("presigned: %v", err)
		}
		if _, err := verifierAt(docTime, docKey, "x", "s3").Verify(r); !errors.Is(err, ErrMismatch) {
			t.Fatalf("other secret: %v", err)
		}
	})
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop objects")
	}
	v := docVerifier()
	for name, row := range map[string]struct {
		r   *fakeRequest
		max float64
	}{
		"header":    {signedRequest(emptyHash, [2]string{"content-type", "a/b"}, [2]string{"x-amz-meta-a", "b  c"}), 0},
		"presigned": {docPresigned(), 1}, // the credential, decoded
	} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := v.Verify(row.r); err != nil {
				t.Fatal(err)
			}
		}); n > row.max {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v := docVerifier()
	for name, r := range map[string]*fakeRequest{
		"header":    signedRequest(emptyHash, [2]string{"content-type", "a/b"}, [2]string{"x-amz-meta-a", "b  c"}),
		"presigned": docPresigned(),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
