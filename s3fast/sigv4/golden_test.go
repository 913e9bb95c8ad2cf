package sigv4

import (
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

// fakeRequest is a request held in memory.
type fakeRequest struct {
	method, path, query, host string
	headers                   [][2]string // lower-case names, wire order
}

func (f *fakeRequest) Method() string   { return f.method }
func (f *fakeRequest) RawPath() string  { return f.path }
func (f *fakeRequest) RawQuery() string { return f.query }
func (f *fakeRequest) Host() string     { return f.host }

func (f *fakeRequest) Header(name string) string {
	for _, h := range f.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

func (f *fakeRequest) Headers(fn func(name, value string)) {
	for _, h := range f.headers {
		fn(h[0], h[1])
	}
}

func (f *fakeRequest) set(name, value string) {
	for i := range f.headers {
		if f.headers[i][0] == name {
			f.headers[i][1] = value
			return
		}
	}
	f.headers = append(f.headers, [2]string{name, value})
}

// clone returns a deep copy.
func (f *fakeRequest) clone() *fakeRequest {
	c := *f
	c.headers = append([][2]string(nil), f.headers...)
	return &c
}

// The credentials and the time of AWS's published examples.
const (
	docKey    = "AKIAIOSFODNN7EXAMPLE"
	docSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	docStamp  = "20130524T000000Z"
	docScope  = "20130524/us-east-1/s3/aws4_request"
	docHost   = "examplebucket.s3.amazonaws.com"
)

var docTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

// verifierAt returns a verifier that knows one key.
func verifierAt(now time.Time, key, secret, service string) *Verifier {
	return &Verifier{
		Secret: func(k string) (string, bool) {
			if k == key {
				return secret, true
			}
			return "", false
		},
		Region:  "us-east-1",
		Service: service,
		Now:     func() time.Time { return now },
	}
}

func docVerifier() *Verifier { return verifierAt(docTime, docKey, docSecret, "s3") }

func authorization(key, scope, signed, signature string) string {
	return algorithm + " Credential=" + key + "/" + scope + ",SignedHeaders=" + signed + ",Signature=" + signature
}

// docCases are the examples of "Signature Calculations for the Authorization
// Header" (both pages) in the Amazon S3 API Reference.
func docCases() map[string]struct {
	request   *fakeRequest
	signed    string
	signature string
	payload   Payload
} {
	type row = struct {
		request   *fakeRequest
		signed    string
		signature string
		payload   Payload
	}
	get := func(query string, headers ...[2]string) *fakeRequest {
		return &fakeRequest{"GET", "/", query, docHost, append(headers,
			[2]string{"x-amz-content-sha256", emptyHash}, [2]string{"x-amz-date", docStamp})}
	}
	ranged := get("", [2]string{"range", "bytes=0-9"})
	ranged.path = "/test.txt"
	streaming := func(payload string, more ...[2]string) *fakeRequest {
		return &fakeRequest{"PUT", "/examplebucket/chunkObject.txt", "", "s3.amazonaws.com", append([][2]string{
			{"x-amz-date", docStamp}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
			{"x-amz-content-sha256", payload}, {"content-encoding", "aws-chunked"},
			{"x-amz-decoded-content-length", "66560"},
		}, more...)}
	}
	return map[string]row{
		"GET object with Range": {ranged, "host;range;x-amz-content-sha256;x-amz-date",
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", SHA256},
		"PUT object": {&fakeRequest{"PUT", "/test$file.text", "", docHost, [][2]string{
			{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-date", docStamp},
			{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
			{"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
		}}, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd", SHA256},
		"GET bucket lifecycle": {get("lifecycle"), "host;x-amz-content-sha256;x-amz-date",
			"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", SHA256},
		"GET bucket (list objects)": {get("max-keys=2&prefix=J"), "host;x-amz-content-sha256;x-amz-date",
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", SHA256},
		"chunked upload": {streaming(payloadStreaming, [2]string{"content-length", "66824"}),
			"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
			"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", Streaming},
		"chunked upload with trailer": {streaming(payloadStreamingTrailer, [2]string{"x-amz-trailer", "x-amz-checksum-crc32c"}),
			"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e", StreamingTrailer},
	}
}

func TestVerifyAWSExamples(t *testing.T) {
	for name, row := range docCases() {
		t.Run(name, func(t *testing.T) {
			row.request.set("authorization", authorization(docKey, docScope, row.signed, row.signature))
			res, err := docVerifier().Verify(row.request)
			if err != nil {
				t.Fatal(err)
			}
			if res.AccessKey != docKey || res.Scope != docScope || !res.Time.Equal(docTime) || res.Presigned {
				t.Errorf("result %+v", res)
			}
			if res.Payload != row.payload || hex.EncodeToString(res.Seed[:]) != row.signature {
				t.Errorf("payload %v, seed %x", res.Payload, res.Seed)
			}
			row.request.method = "POST"
			if _, err := docVerifier().Verify(row.request); !errors.Is(err, ErrMismatch) {
				t.Errorf("with another method: %v", err)
			}
		})
	}
}

// docPresigned is the example of "Authenticating Requests: Using Query
// Parameters".
func docPresigned() *fakeRequest {
	return &fakeRequest{"GET", "/test.txt", "X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
		"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
		docHost, nil}
}

func TestVerifyAWSPresigned(t *testing.T) {
	res, err := docVerifier().Verify(docPresigned())
	if err != nil {
		t.Fatal(err)
	}
	if !res.Presigned || res.Payload != Unsigned || res.AccessKey != docKey {
		t.Errorf("result %+v", res)
	}
	got := Presign(&fakeRequest{"GET", "/test.txt", "", docHost, nil}, docKey, docSecret, "us-east-1", "s3", 24*time.Hour, docTime)
	if want := docPresigned().query; got != want {
		t.Errorf("Presign:\n got %s\nwant %s", got, want)
	}
}

func TestChainAWSExamples(t *testing.T) {
	data := strings.Repeat("a", 65536)
	hash := func(s string) *[32]byte {
		m := getMAC()
		defer putMAC(m)
		h := m.digestString(s)
		return &h
	}
	for _, row := range []struct{ name, seed, first, second, last, trailer string }{
		{"chunked upload", "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
			"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
			"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
			"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", ""},
		{"with trailer", "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
			"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
			"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
			"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
			"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"},
	} {
		t.Run(row.name, func(t *testing.T) {
			res := Result{Time: docTime, Scope: docScope, Key: SigningKey(docSecret, "20130524", "us-east-1", "s3")}
			if _, err := hex.Decode(res.Seed[:], []byte(row.seed)); err != nil {
				t.Fatal(err)
			}
			var c Chain
			c.Start(&res)
			for i, chunk := range []struct{ data, sig string }{{data, row.first}, {data[:1024], row.second}, {"", row.last}} {
				if err := c.VerifyChunk(hash(chunk.data), []byte(chunk.sig)); err != nil {
					t.Fatalf("chunk %d: %v", i, err)
				}
			}
			if row.trailer != "" {
				if err := c.VerifyTrailer(hash("x-amz-checksum-crc32c:sOO8/Q==\n"), []byte(row.trailer)); err != nil {
					t.Fatalf("trailer: %v", err)
				}
			}
			if err := c.VerifyChunk(hash(""), []byte(row.last)); !errors.Is(err, ErrChunkSignature) {
				t.Errorf("repeated chunk: %v", err)
			}
		})
	}
}

// TestCanonicalSuite holds the cases of AWS's generic Signature Version 4 test
// suite that apply to S3, which neither normalises paths nor encodes twice. The
// suite signs no x-amz-content-sha256, so signatures are checked below Verify.
func TestCanonicalSuite(t *testing.T) {
	const stamp, scope = "20150830T123600Z", "20150830/us-east-1/service/aws4_request"
	key := SigningKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "service")
	form := "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e" // SHA-256 of Param1=value1
	for _, row := range []struct {
		name, method, path, query, signed, hash, signature string
		headers                                            [][2]string
	}{
		{"get-vanilla", "GET", "/", "", "host;x-amz-date", emptyHash,
			"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", nil},
		{"get-vanilla, empty path", "GET", "", "", "host;x-amz-date", emptyHash,
			"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", nil},
		{"get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "",
			"host;x-amz-date", emptyHash,
			"07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f", nil},
		{"get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", "host;x-amz-date", emptyHash,
			"b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500", nil},
		{"get-vanilla-query-order-value", "GET", "/", "Param1=value2&Param1=value1", "host;x-amz-date", emptyHash,
			"5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694", nil},
		{"get-vanilla-utf8-query", "GET", "/", "\u1234=bar", "host;x-amz-date", emptyHash,
			"2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04", nil},
		{"get-header-value-order", "GET", "/", "", "host;my-header1;x-amz-date", emptyHash,
			"08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
			[][2]string{{"my-header1", "value4"}, {"my-header1", "value1"}, {"my-header1", "value3"}, {"my-header1", "value2"}}},
		{"get-header-key-duplicate", "GET", "/", "", "host;my-header1;x-amz-date", emptyHash,
			"c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
			[][2]string{{"my-header1", "value2"}, {"my-header1", "value2"}, {"my-header1", "value1"}}},
		{"get-header-value-trim", "GET", "/", "", "host;my-header1;my-header2;x-amz-date", emptyHash,
			"acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
			[][2]string{{"my-header1", " value1"}, {"my-header2", ` "a   b   c"`}}},
		{"post-x-www-form-urlencoded", "POST", "/", "", "content-type;host;x-amz-date", form,
			"ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
			[][2]string{{"content-type", "application/x-www-form-urlencoded"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &fakeRequest{row.method, row.path, row.query, "example.amazonaws.com",
				append(row.headers, [2]string{"x-amz-date", stamp})}
			s := getScratch()
			defer putScratch(s)
			m := getMAC()
			defer putMAC(m)
			r.Headers(s.add)
			if !s.splitSigned(row.signed) {
				t.Fatal("signed headers refused")
			}
			s.canonicalRequest(r, row.hash)
			s.stamp = append(s.stamp[:0], stamp...)
			sum := s.signature(m, &key, scope)
			if got := hex.EncodeToString(sum[:]); got != row.signature {
				t.Errorf("signature %s, want %s; canonical request:\n%s", got, row.signature, s.canonical)
			}
		})
	}
}

// TestCanonicalForms checks the two encodings alone.
func TestCanonicalForms(t *testing.T) {
	for raw, want := range map[string]string{
		"":                           "/",
		"/a//b/../c/./":              "/a//b/../c/./",
		"/a%2fb":                     "/a/b",
		"/a b+c%20d%2Bé":             "/a%20b%2Bc%20d%2B%C3%A9",
		"/100%":                      "/100%25",
		"/%zz%4":                     "/%25zz%254",
		"/%7E~%41":                   "/~~A",
		"/!$&'()*,;=:@":              "/%21%24%26%27%28%29%2A%2C%3B%3D%3A%40",
		"/\x00\xff":                  "/%00%FF",
		"/" + url.PathEscape("日本/語"): "/%E6%97%A5%E6%9C%AC/%E8%AA%9E",
	} {
		if got := string(appendPath(nil, raw)); got != want {
			t.Errorf("path %q: %q, want %q", raw, got, want)
		}
	}
	s := getScratch()
	defer putScratch(s)
	for raw, want := range map[string]string{
		"":                          "",
		"uploads":                   "uploads=",
		"b&a=1":                     "a=1&b=",
		"a=10&a=9&a=":               "a=&a=10&a=9",
		"a=1=2":                     "a=1%3D2",
		"q=a+b%20c%2B":              "q=a%20b%20c%2B",
		"&&a=1&":                    "a=1",
		"a=1&X-Amz-Signature=x&B=2": "B=2&a=1",
		"a.b=1&a=2":                 "a=2&a.b=1",
		"k=a/b&k=a.b":               "k=a%2Fb&k=a.b",
		"p=%zz":                     "p=%25zz",
	} {
		if got := string(s.appendQuery(nil, raw)); got != want {
			t.Errorf("query %q: %q, want %q", raw, got, want)
		}
	}
	for raw, want := range map[string]string{
		"": "", "  a  ": "a", "a  b   c": "a b c", "\ta\t b ": "a\t b", "a ,  b": "a , b", "   ": "",
	} {
		if got := string(appendFolded(nil, raw)); got != want {
			t.Errorf("header value %q: %q, want %q", raw, got, want)
		}
	}
}
