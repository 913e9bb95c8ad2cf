package s3fast

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

const (
	rigUser   = "alice"
	rigSecret = "Alice-Secret-1"
	rigReader = "rita" // policy readonly
	rigNobody = "nemo" // no policy
	rigRegion = "us-east-1"
)

// rig is a server over a real engine on real files, listening on 127.0.0.1.
type rig struct {
	t      testing.TB
	s      *Server
	engine *engine.Engine
	iam    *iam.Manager
	arena  *ioring.Arena
	addr   string
	region string
	served chan error
	before int // goroutines
}

// rigDocs gives iam the engine's cluster documents.
type rigDocs struct{ d *engine.Docs }

func (r rigDocs) Get(ctx context.Context, path string) ([]byte, int64, bool, error) {
	doc, err := r.d.Get(ctx, path)
	if engine.KindOf(err) == engine.NoDoc {
		return nil, 0, false, nil
	}
	return doc.Value, doc.Rev, err == nil, err
}

func (r rigDocs) List(ctx context.Context, prefix string, fn func(string, []byte, int64) error) error {
	docs, err := r.d.List(ctx, prefix)
	for i := 0; err == nil && i < len(docs); i++ {
		err = fn(docs[i].Path, docs[i].Value, docs[i].Rev)
	}
	return err
}

func (r rigDocs) Put(ctx context.Context, path string, value []byte, ifRev int64) (int64, error) {
	return r.d.Put(ctx, path, value, ifRev)
}

func (r rigDocs) Delete(ctx context.Context, path string, ifRev int64) error {
	return r.d.Delete(ctx, path, ifRev)
}

// newRig starts a server with users alice (readwrite), rita (readonly) and nemo.
func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	return newRigOn(t, 1, change)
}

// newRigOn is newRig over so many drives.
func newRigOn(t testing.TB, drives int, change func(*Config)) *rig {
	t.Helper()
	ctx := t.Context()
	dir := t.TempDir()
	r := &rig{t: t, served: make(chan error, 1), before: runtime.NumGoroutine()}
	var err error
	r.arena, err = ioring.NewArena(64 << 20)
	must(t, err)
	var opened []*drive.Drive
	for i := range drives {
		dev, err := ioring.Open(filepath.Join(dir, "drive"+strings.Repeat("x", i)), r.arena, ioring.Options{Mode: ioring.ModePread, CPU: -1})
		must(t, err)
		d, err := drive.Open(ctx, dev, drive.Options{Arena: r.arena, Limit: 1 << 30})
		must(t, err)
		opened = append(opened, d)
	}
	store, err := pebblemeta.Open(filepath.Join(dir, "meta"), pebblemeta.Options{})
	must(t, err)
	r.engine, err = engine.Open(ctx, engine.Config{Drives: opened, Store: store})
	must(t, err)
	r.iam, err = iam.Open(ctx, rigDocs{r.engine.Docs("")}, seal.NewKey(sha256.Sum256([]byte("rig"))), time.Now)
	must(t, err)
	for user, policy := range map[string]string{rigUser: "readwrite", rigReader: "readonly", rigNobody: ""} {
		_, err = r.iam.AddUser(ctx, user, iam.S3, rigSecret)
		must(t, err)
		if policy != "" {
			must(t, r.iam.Attach(ctx, policy, user))
		}
	}
	cluster := &Cluster{Name: "default", Domains: []string{"s3.example.com"}}
	cfg := Config{
		Engine: r.engine, IAM: r.iam, Region: rigRegion,
		Cluster:      func() *Cluster { return cluster },
		StallTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
		Service: func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("X-Service", "1")
			ctx.SetBodyString("service " + string(ctx.RequestURI()))
		},
	}
	if change != nil {
		change(&cfg)
	}
	r.region = cfg.Region
	r.s, err = New(cfg)
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r.addr = ln.Addr().String()
	go func() { r.served <- r.s.Serve(ln) }()
	t.Cleanup(r.close)
	return r
}

// close shuts everything down and checks that nothing leaked.
func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.s.Shutdown(ctx); err != nil {
		r.t.Errorf("Shutdown: %v", err)
	}
	if err := <-r.served; err != ErrServerClosed {
		r.t.Errorf("Serve: %v", err)
	}
	for i := 0; r.s.inFlight.Load() != 0; i++ {
		if time.Sleep(time.Millisecond); i > 10_000 {
			r.t.Fatalf("%d requests still counted in flight", r.s.inFlight.Load())
		}
	}
	if err := r.engine.Close(ctx); err != nil {
		r.t.Errorf("engine.Close: %v", err)
	}
	// fasthttp keeps one goroutine for its clock, other libraries some of theirs.
	for i := 0; runtime.NumGoroutine() > r.before+5; i++ {
		if time.Sleep(5 * time.Millisecond); i > 4000 {
			r.t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), r.before)
			break
		}
	}
	if n := r.arena.InUse(); n != 0 {
		r.t.Errorf("%d bytes of buffers still in use", n)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call is one request to be signed and sent as raw HTTP.
type call struct {
	method, target string
	host           string      // default: the address
	header         [][2]string // sent, and signed, in this order
	body           string
	user           string // default alice; "-": not signed
	secret         string // default every user's
	payload        string // x-amz-content-sha256; default the body's hash
	unsignedExtra  string // raw header lines added after signing
	noLength       bool   // leave Content-Length out
	proto          string // default HTTP/1.1
	now            time.Time
}

func (c *call) Method() string { return c.method }

func (c *call) RawPath() string {
	t, _ := parseTarget(c.target)
	return t.path
}

func (c *call) RawQuery() string {
	t, _ := parseTarget(c.target)
	return t.query
}

func (c *call) Host() string { return c.host }

func (c *call) Header(name string) string {
	for _, h := range c.header {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	if name == "host" {
		return c.host
	}
	return ""
}

func (c *call) Headers(fn func(name, value string)) {
	fn("host", c.host)
	for _, h := range c.header {
		fn(strings.ToLower(h[0]), h[1])
	}
}

// head renders the signed request up to the body.
func (r *rig) head(c call) string {
	if c.host == "" {
		c.host = r.addr
	}
	if c.user == "" {
		c.user = rigUser
	}
	if c.secret == "" {
		c.secret = rigSecret
	}
	if c.proto == "" {
		c.proto = "HTTP/1.1"
	}
	if c.now.IsZero() {
		c.now = time.Now()
	}
	if c.payload == "" {
		sum := sha256.Sum256([]byte(c.body))
		c.payload = hex.EncodeToString(sum[:])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\nHost: %s\r\n", c.method, c.target, c.proto, c.host)
	for _, h := range c.header {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if c.user != "-" {
		for k, v := range sigv4.Sign(&c, c.user, c.secret, r.region, "s3", c.payload, c.now) {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	if !c.noLength && (c.body != "" || c.method == "PUT" || c.method == "POST") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(c.body))
	}
	return b.String() + c.unsignedExtra + "\r\n"
}

// answer is a response read whole.
type answer struct {
	status int
	header http.Header
	body   string
	close  bool
}

// code is the S3 error code, or "".
func (a answer) code() string {
	_, rest, ok := strings.Cut(a.body, "<Code>")
	if !ok {
		return ""
	}
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.code()) }

// dial opens a connection that dies with the test.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	must(r.t, err)
	must(r.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	r.t.Cleanup(func() { c.Close() })
	return c
}

// raw sends bytes and reads one response.
func (r *rig) raw(method, text string) answer {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	_, err := io.WriteString(c, text)
	must(r.t, err)
	return r.read(bufio.NewReader(c), method)
}

func (r *rig) read(br *bufio.Reader, method string) answer {
	r.t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		r.t.Fatalf("reading the response: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	must(r.t, err)
	resp.Body.Close()
	if id := resp.Header.Get("x-amz-request-id"); resp.StatusCode != 100 && len(id) != 16 && resp.Header.Get("X-Service") == "" {
		r.t.Errorf("x-amz-request-id %q in a %d response", id, resp.StatusCode)
	}
	return answer{resp.StatusCode, resp.Header, string(b), resp.Close}
}

// do signs, sends and reads.
func (r *rig) do(c call) answer {
	r.t.Helper()
	return r.raw(c.method, r.head(c)+c.body)
}

// want fails unless the answer is "status code".
func (r *rig) want(c call, want string) answer {
	r.t.Helper()
	a := r.do(c)
	if got := strings.TrimSpace(a.String()); got != want {
		r.t.Fatalf("%s %s = %s, want %s\n%s", c.method, c.target, got, want, a.body)
	}
	return a
}

// bucket creates a bucket.
func (r *rig) bucket(name string) {
	r.t.Helper()
	r.want(call{method: "PUT", target: "/" + name}, "200")
}

// put stores an object of text.
func (r *rig) put(target, body string) {
	r.t.Helper()
	r.want(call{method: "PUT", target: target, body: body}, "200")
}

// elements returns the texts of all elements of a name.
func elements(doc, name string) (out []string) {
	for {
		_, rest, ok := strings.Cut(doc, "<"+name+">")
		if !ok {
			return out
		}
		text, after, _ := strings.Cut(rest, "</"+name+">")
		out, doc = append(out, text), after
	}
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %q, want %q", what, got, want)
	}
}
