package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// fakeS3 is an S3 server in memory that verifies every signature. mangle may
// change what GET answers.
type fakeS3 struct {
	mu       sync.Mutex
	objects  map[string][]byte
	uploads  map[string]map[int][]byte // open ones: parts by number
	sealed   int                       // PUTs that asked for encryption
	ranged   int                       // GETs of a range
	verifier sigv4.Verifier
	mangle   func([]byte) []byte
}

func newFakeS3(t *testing.T, tls bool) (*fakeS3, *target) {
	t.Helper()
	f := &fakeS3{objects: map[string][]byte{}, uploads: map[string]map[int][]byte{}}
	f.verifier = sigv4.Verifier{Region: "us-east-1", Service: "s3", Secret: func(key string) (string, bool) {
		return "secret", key == "access"
	}}
	srv := httptest.NewUnstartedServer(f)
	if tls {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	tg, err := newTarget(srv.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	if tls {
		tg.tls.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	}
	tg.accessKey, tg.secret, tg.region = "access", "secret", "us-east-1"
	return f, tg
}

// seen shows a request of net/http to sigv4.
type seen struct{ r *http.Request }

func (s seen) Method() string            { return s.r.Method }
func (s seen) RawPath() string           { return s.r.URL.EscapedPath() }
func (s seen) RawQuery() string          { return s.r.URL.RawQuery }
func (s seen) Host() string              { return s.r.Host }
func (s seen) Header(name string) string { return s.r.Header.Get(name) }
func (s seen) Headers(fn func(name, value string)) {
	for name, values := range s.r.Header {
		for _, v := range values {
			fn(strings.ToLower(name), v)
		}
	}
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := f.verifier.Verify(seen{r}); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	body, ok := f.objects[r.URL.Path]
	switch {
	case r.Method == "POST" || r.URL.Query().Has("uploadId"):
		f.multipart(w, r)
	case r.Method == "PUT":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.objects[r.URL.Path] = body
		if r.Header.Get(encryptHeader) == encryptValue {
			f.sealed++
		}
	case !ok:
		http.NotFound(w, r)
	case r.Method == "DELETE":
		delete(f.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Get("list-type") == "2":
		f.list(w, r)
	default:
		if f.mangle != nil {
			body = f.mangle(slices.Clone(body))
		}
		if lo, hi, ok := byteRange(r.Header.Get("Range")); ok && hi < len(body) {
			f.ranged++
			body = body[lo : hi+1]
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}
}

func byteRange(header string) (lo, hi int, ok bool) {
	n, err := fmt.Sscanf(header, "bytes=%d-%d", &lo, &hi)
	return lo, hi, err == nil && n == 2 && lo <= hi
}

// multipart keeps the parts of uploads; their identifiers need escaping, as those
// of some servers do.
func (f *fakeS3) multipart(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	body, err := io.ReadAll(r.Body)
	id := q.Get("uploadId")
	number, _ := strconv.Atoi(q.Get("partNumber"))
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case r.Method == "POST" && q.Has("uploads"):
		id = fmt.Sprintf("%s/+=%d", r.URL.Path, len(f.uploads))
		f.uploads[id] = map[int][]byte{}
		fmt.Fprintf(w, "<Result><UploadId>%s</UploadId></Result>", id)
	case f.uploads[id] == nil:
		http.Error(w, "NoSuchUpload", http.StatusNotFound)
	case r.Method == "PUT":
		f.uploads[id][number] = body
		w.Header().Set("ETag", fmt.Sprintf(`"part%d"`, number))
	default:
		var whole []byte
		for i := 1; f.uploads[id][i] != nil; i++ {
			if !strings.Contains(string(body), fmt.Sprintf("<PartNumber>%d</PartNumber><ETag>&quot;part%d&quot;</ETag>", i, i)) {
				http.Error(w, "InvalidPart", http.StatusBadRequest)
				return
			}
			whole = append(whole, f.uploads[id][i]...)
		}
		f.objects[r.URL.Path] = whole
		delete(f.uploads, id)
		fmt.Fprint(w, `<Result><ETag>"x"</ETag></Result>`)
	}
}

// list answers in chunks, as net/http does for what it does not know the length of.
func (f *fakeS3) list(w http.ResponseWriter, r *http.Request) {
	q, n := r.URL.Query(), 0
	prefixes := map[string]bool{}
	for _, key := range f.sorted(r.URL.Path + "/") {
		if key < q.Get("start-after") || !strings.HasPrefix(key, q.Get("prefix")) || n == 1000 {
			continue
		}
		dir, _, nested := strings.Cut(key, "/")
		switch {
		case q.Get("delimiter") != "" && nested && prefixes[dir]:
		case q.Get("delimiter") != "" && nested:
			prefixes[dir] = true
			n++
			fmt.Fprintf(w, "<CommonPrefixes><Prefix>%s/</Prefix></CommonPrefixes>", dir)
		default:
			n++
			fmt.Fprintf(w, "<Contents><Key>%s</Key></Contents>", key)
		}
	}
}

func (f *fakeS3) sorted(bucket string) (keys []string) {
	for path := range f.objects {
		if key, ok := strings.CutPrefix(path, bucket); ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// fakeShape is small enough for a test.
func fakeShape() shape {
	mix, err := parseMixture("GET=45,HEAD=30,PUT=15,DELETE=10")
	if err != nil {
		panic(err)
	}
	return shape{
		bucket: "b", pool: 1 << 20, part: 256 << 10, span: 10_000, mix: mix, backlog: 100,
		warmUp: 10 * time.Millisecond, measured: 100 * time.Millisecond,
	}
}

func TestMatrixOnAFakeServer(t *testing.T) {
	for _, tls := range []bool{false, true} {
		f, tg := newFakeS3(t, tls)
		s := fakeShape()
		var got []string
		m := &matrix{
			f:    newFixture(tg, newPattern(), s),
			rows: s.rowsOf(operations(), []int64{4 << 10, 1 << 20}, []int{2}, []float64{0}),
			tell: func(r result) { got = append(got, r.Name) },
		}
		if err := m.run(context.Background()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"PUT 4KiB", "GET 4KiB", "HEAD", "DELETE", "LIST 1000 keys", "MIXED 4KiB",
			"PUT 1MiB", "GET 1MiB", "MULTIPART 1MiB", "RANGE 10000B of 1MiB",
		}
		if !slices.Equal(got, want) {
			t.Fatalf("results %q, want %q", got, want)
		}
		if len(f.uploads) != 0 || f.ranged == 0 {
			t.Errorf("%d uploads left open, %d ranges read", len(f.uploads), f.ranged)
		}
	}
}

func TestEncryptionOnAFakeServer(t *testing.T) {
	f, tg := newFakeS3(t, false)
	s := fakeShape()
	s.warmUp, s.measured = 0, 50*time.Millisecond
	var list []ratio
	e := &encryption{
		f: newFixture(tg, newPattern(), s), sizes: []int64{4 << 10}, concurrency: []int{2},
		each: func(result) {}, tell: func(x ratio) { list = append(list, x) },
	}
	if err := e.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Name != "PUT 4KiB" || list[1].Name != "GET 4KiB" {
		t.Fatalf("%+v", list)
	}
	for _, x := range list {
		if x.Plain <= 0 || x.Encrypted <= 0 || x.Ratio != x.Encrypted/x.Plain {
			t.Errorf("%+v", x)
		}
	}
	if f.sealed == 0 || f.objects["/b/encrypted/4KiB/0000000"] == nil || f.objects["/b/plain/4KiB/0000000"] == nil {
		t.Errorf("%d encrypted of %d objects", f.sealed, len(f.objects))
	}
	var b strings.Builder
	ratios(&b, list)
	if !strings.Contains(b.String(), "| PUT 4KiB | 2 |") {
		t.Error(b.String())
	}
}

func TestListingOnAFakeServer(t *testing.T) {
	f, tg := newFakeS3(t, false)
	names := map[string]float64{}
	tell := func(r result) { names[r.Name] = r.PerSecond }
	if err := listing(context.Background(), tg, newPattern(), 2000, tell); err != nil {
		t.Fatal(err)
	}
	if len(f.objects) != 2+1000+2000 || len(names) != 8 {
		t.Fatalf("%d objects, results %v", len(f.objects), names)
	}
}

func TestShareOfAnOperation(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * 1e9)) }
	window := &phases{from: at(10), to: at(20)}
	open := &phases{from: at(10)}
	for _, c := range []struct {
		ph           *phases
		begun, ended float64
		want         float64
	}{
		{window, 11, 12, 1}, {window, 8, 12, 0.5}, {window, 19, 23, 0.25}, {window, 5, 25, 0.5},
		{window, 1, 10, 0}, {window, 20, 22, 0}, {open, 11, 99, 1},
	} {
		if got := c.ph.share(at(c.begun), at(c.ended)); got != c.want {
			t.Errorf("%g…%g of 10…20: %g, want %g", c.begun, c.ended, got, c.want)
		}
	}
}

// What a server gets wrong must fail the run, never become a figure.
func TestWrongAnswersFail(t *testing.T) {
	p := newPattern()
	get := &request{method: "GET", path: "/b/k", seed: 5, size: 300_000}
	for name, mangle := range map[string]func([]byte) []byte{
		"a wrong byte":    func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"one byte less":   func(b []byte) []byte { return b[:len(b)-1] },
		"one byte more":   func(b []byte) []byte { return append(b, 0) },
		"another object":  func(b []byte) []byte { return content(p, 6, int64(len(b))) },
		"nothing at all":  func([]byte) []byte { return nil },
		"shifted content": func(b []byte) []byte { return append(b[1:], b[0]) },
	} {
		f, tg := newFakeS3(t, false)
		c := &cell{name: "GET", concurrency: 3, limit: 10, bytes: get.size, next: func(int64) (*request, []byte) { return get, nil }}
		f.objects["/b/k"] = content(p, 5, get.size)
		if res, err := c.run(context.Background(), tg, p); err != nil || res.Operations != 10 {
			t.Fatalf("a right answer: %v, %+v", err, res)
		}
		f.mangle = mangle
		if _, err := c.run(context.Background(), tg, p); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestRefusalsFail(t *testing.T) {
	_, tg := newFakeS3(t, false)
	p := newPattern()
	for _, r := range []*request{
		{method: "GET", path: "/b/none", size: 10},
		{method: "HEAD", path: "/b/none", size: 10},
		{method: "GET", path: "/b/none", size: -1},
	} {
		c := &cell{name: "x", concurrency: 1, limit: 1, next: func(int64) (*request, []byte) { return r, nil }}
		if _, err := c.run(context.Background(), tg, p); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("%s of nothing: %v", r.method, err)
		}
	}
	tg.secret = "wrong"
	if err := createBucket(context.Background(), tg, p, "b"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestURLsCarryTheirSignature(t *testing.T) {
	f, tg := newFakeS3(t, false)
	o := &options{bucket: "b", sizeList: []int64{4 << 10}, method: "GET", count: 5}
	var out strings.Builder
	if err := urls(context.Background(), tg, newPattern(), o, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(out.String())
	if len(lines) != 5 || len(f.objects) != 6 {
		t.Fatalf("%d URLs, %d objects", len(lines), len(f.objects))
	}
	for _, path := range lines {
		res, err := http.Get("http://" + tg.host + path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil || res.StatusCode != 200 || n != 4096 {
			t.Fatalf("%s: %d, %d bytes, %v", path, res.StatusCode, n, err)
		}
	}
}
