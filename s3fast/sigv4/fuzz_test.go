package sigv4

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzAuthorization(f *testing.F) {
	for _, row := range docCases() {
		f.Add(authorization(docKey, docScope, row.signed, row.signature))
	}
	f.Add("AWS AKID:sig")
	f.Add(algorithm + " Credential=/////, SignedHeaders=;, Signature=,,")
	f.Fuzz(func(t *testing.T, value string) {
		c, err := parseAuthorization(value)
		if err != nil {
			return
		}
		if c.accessKey == "" || c.signature == "" || c.signedHeaders == "" ||
			!strings.Contains(value, "Credential="+c.accessKey+"/"+c.scope) {
			t.Fatalf("%q: %+v", value, c)
		}
		s := getScratch()
		defer putScratch(s)
		if s.splitSigned(c.signedHeaders) && len(s.signed) != strings.Count(c.signedHeaders, ";")+1 {
			t.Fatalf("%q: %q", c.signedHeaders, s.signed)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add(docPresigned().query)
	f.Add("a=1&b&&c==&%=%&%zz=+%2B&X-Amz-Algorithm=")
	f.Fuzz(func(t *testing.T, raw string) {
		if c, err := parsePresigned(raw); err == nil && (c.accessKey == "" || detectQuery(raw) != queryV4) {
			t.Fatalf("%q: %+v", raw, c)
		}
		s := getScratch()
		defer putScratch(s)
		once := bytes.Clone(s.appendQuery(nil, raw))
		if twice := s.appendQuery(nil, string(once)); !bytes.Equal(once, twice) {
			t.Fatalf("canonical form is not stable: %q, %q", once, twice)
		}
		path := string(appendPath(nil, "/"+raw))
		if again := string(appendPath(nil, path)); path != again {
			t.Fatalf("canonical path is not stable: %q, %q", path, again)
		}
	})
}

// FuzzVerify: no request panics, and none verifies that was not signed.
func FuzzVerify(f *testing.F) {
	for _, row := range docCases() {
		f.Add(row.request.method, row.request.path, row.request.query, authorization(docKey, docScope, row.signed, row.signature),
			row.request.Header("x-amz-content-sha256"), docStamp)
	}
	p := docPresigned()
	f.Add(p.method, p.path, p.query, "", "", "")
	v := docVerifier()
	v.Secret = func(string) (string, bool) { return "a secret that signed nothing", true }
	f.Fuzz(func(t *testing.T, method, path, query, auth, hash, date string) {
		r := &fakeRequest{method, path, query, docHost, nil}
		for _, h := range [][2]string{{"authorization", auth}, {"x-amz-content-sha256", hash}, {"x-amz-date", date}, {"range", "bytes=0-9"}} {
			if h[1] != "" {
				r.headers = append(r.headers, h)
			}
		}
		if res, err := v.Verify(r); err == nil {
			t.Fatalf("verified: %+v", res)
		}
	})
}
