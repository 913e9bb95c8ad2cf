package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/audit"
	"github.com/sluicehq/sluice/s3fast/iam"
)

// newDaemon opens a daemon in this process.
func newDaemon(t testing.TB, change func(*config.Config)) *daemon {
	t.Helper()
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Drives = []string{filepath.Join(dir, "drive")}
	cfg.Listen = []string{"127.0.0.1:0", "127.0.0.1:0"}
	cfg.StateDir, cfg.AdminSocket = filepath.Join(dir, "state"), filepath.Join(dir, "s")
	cfg.Buffers, cfg.Reserve, cfg.DriveSize = 16<<20, 16<<20, 256<<20
	if change != nil {
		change(&cfg)
	}
	d, err := open(t.Context(), &cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// asRoot is a request of an allowed peer.
func asRoot(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	return r.WithContext(context.WithValue(r.Context(), peerKey{}, unix.Ucred{Uid: 0}))
}

// TestAdminRoutes asks every route, in an order that builds a cluster up and
// takes it down again.
func TestAdminRoutes(t *testing.T) {
	d := newDaemon(t, nil)
	mux := d.adminMux()
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}`
	quoted := fmt.Sprintf("%q", policy)
	other, err := openCertificates(t.TempDir(), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	chain, key := pairOf(t, other.path("auto"))
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1/status", "", 200, `"cluster":null`},
		{"PATCH", "/v1/cluster", `{"domains":[]}`, 404, `"code":"not_found"`},
		{"DELETE", "/v1/cluster", "", 404, "no S3 cluster"},
		{"POST", "/v1/buckets", `{"name":"abc"}`, 404, "no S3 cluster"},
		{"POST", "/v1/cluster", `{"name":"default","config_fs":"other"}`, 400, ".config_fs"},
		{"POST", "/v1/cluster", `{"name":"-bad","config_fs":".config_fs"}`, 400, "cluster name"},
		{"POST", "/v1/cluster", `{"name":"default","config_fs":".config_fs","domains":["not a domain"]}`, 400, "no domain name"},
		{"POST", "/v1/cluster", `{"name":"default","config_fs":".config_fs","x":1}`, 400, "unknown field"},
		{"POST", "/v1/cluster", `{"name":"default"} {}`, 400, "more than one"},
		{"POST", "/v1/cluster", `{`, 400, "malformed"},
		{"POST", "/v1/cluster", "", 400, "malformed"},
		{"POST", "/v1/cluster", `{"name":"` + strings.Repeat("a", maxAdminBody) + `"}`, 400, "malformed"},
		{"POST", "/v1/cluster", `{"name":"default","config_fs":".config_fs","domains":["S3.Example.com."]}`, 200, `"domains":["s3.example.com"]`},
		{"POST", "/v1/cluster", `{"name":"default","config_fs":".config_fs"}`, 200, `"name":"default"`},
		{"POST", "/v1/cluster", `{"name":"another","config_fs":".config_fs"}`, 409, "exists already"},
		{"PATCH", "/v1/cluster", `{"domains":["a..b"]}`, 400, "no domain name"},
		{"PATCH", "/v1/cluster", `{"domains":[]}`, 200, `"domains":[]`},
		{"PATCH", "/v1/cluster", `{}`, 200, `"domains":[]`},
		{"POST", "/v1/buckets", `{"name":"abc"}`, 200, `"owner":"root"`},
		{"POST", "/v1/buckets", `{"name":"Abc"}`, 400, "bucket name"},
		{"GET", "/v1/buckets", "", 200, `"name":"abc"`},
		{"POST", "/v1/users", `{"name":"u","role":"s3","password":"short"}`, 400, `"code":"usage"`},
		{"POST", "/v1/users", `{"name":"u","role":"king","password":"Password-1"}`, 400, `"code":"usage"`},
		{"POST", "/v1/policies/readwrite/attach", `{}`, 404, "no S3 user"},
		{"POST", "/v1/users", `{"name":"user1","role":"S3","password":"Password-1"}`, 200, `"role":"s3"`},
		{"POST", "/v1/users", `{"name":"user1","role":"S3","password":"Password-1"}`, 409, `"code":"exists"`},
		{"POST", "/v1/policies/readwrite/attach", `{}`, 200, `"user":"user1"`},
		{"POST", "/v1/users", `{"name":"user2","role":"s3"}`, 200, `"password":"`},
		{"POST", "/v1/policies/readwrite/attach", `{}`, 400, "name the user"},
		{"POST", "/v1/policies/absent/attach", `{"user":"user2"}`, 404, `"code":"not_found"`},
		{"POST", "/v1/policies/readwrite/attach", `{"user":"absent"}`, 404, `"code":"not_found"`},
		{"POST", "/v1/policies/-/detach", `{"user":"user1"}`, 200, `"policy":"readwrite"`},
		{"POST", "/v1/policies/-/detach", `{"user":"user1"}`, 404, `"code":"not_found"`},
		{"POST", "/v1/policies/-/detach", `{"user":"absent"}`, 404, `"code":"not_found"`},
		{"PUT", "/v1/users/user1/password", `{"password":"Password-2"}`, 204, ""},
		{"PUT", "/v1/users/user1/password", `{"password":"weak"}`, 400, `"code":"usage"`},
		{"PUT", "/v1/users/absent/password", `{"password":"Password-2"}`, 404, `"code":"not_found"`},
		{"PUT", "/v1/users/user2/role", `{"role":"regular"}`, 200, `"role":"regular"`},
		{"PUT", "/v1/users/user2/role", `{"role":"x"}`, 400, `"code":"usage"`},
		{"GET", "/v1/users", "", 200, `"name":"user1"`},
		{"DELETE", "/v1/users/user2", "", 204, ""},
		{"DELETE", "/v1/users/user2", "", 404, `"code":"not_found"`},
		{"GET", "/v1/policies", "", 200, `"name":"readonly"`},
		{"GET", "/v1/policies/readonly", "", 200, `"predefined":true`},
		{"GET", "/v1/policies/absent", "", 404, `"code":"not_found"`},
		{"POST", "/v1/policies", `{"name":"mine","document":"{"}`, 400, `"code":"usage"`},
		{"POST", "/v1/policies", `{"name":"mine","document":` + quoted + `}`, 200, `"name":"mine"`},
		{"POST", "/v1/policies", `{"name":"mine","document":` + quoted + `}`, 409, `"code":"exists"`},
		{"POST", "/v1/policies", `{"name":"mine","document":` + quoted + `,"replace":true}`, 200, `"name":"mine"`},
		{"POST", "/v1/policies/mine/attach", `{"user":"user1"}`, 200, `"policy":"mine"`},
		{"DELETE", "/v1/policies/mine", "", 409, `"code":"conflict"`},
		{"DELETE", "/v1/policies/readonly", "", 409, `"code":"conflict"`},
		{"DELETE", "/v1/users/user1", "", 204, ""},
		{"DELETE", "/v1/policies/mine", "", 204, ""},
		{"GET", "/v1/tls", "", 200, `"source":"auto-generated"`},
		{"PUT", "/v1/tls", `{"certificate_pem":"x","private_key_pem":"y"}`, 400, `"code":"usage"`},
		{"PUT", "/v1/tls", fmt.Sprintf(`{"certificate_pem":%q,"private_key_pem":%q}`, chain, key), 200, `"source":"custom"`},
		{"DELETE", "/v1/tls", "", 200, `"source":"auto-generated"`},
		{"DELETE", "/v1/buckets/absent", "", 404, `"code":"not_found"`},
		{"DELETE", "/v1/buckets/abc", "", 204, ""},
		{"DELETE", "/v1/cluster", "", 204, ""},
		{"GET", "/v1/absent", "", 404, "different versions"},
		{"POST", "/v1/status", "", 405, ""},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, asRoot(c.method, c.path, c.body))
		ok := w.Code == c.status
		if c.status == 405 { // a route of this path has another method
			ok = w.Code == 405 || w.Code == 404
		}
		if !ok || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %.80s: %d %.300s; want %d with %q", c.method, c.path, c.body, w.Code, w.Body, c.status, c.want)
		}
	}
}

func TestAdminTLSOff(t *testing.T) {
	d := newDaemon(t, func(c *config.Config) { c.TLS = config.TLSOff })
	mux := d.adminMux()
	for method, status := range map[string]int{"GET": 404, "PUT": 409, "DELETE": 409} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, asRoot(method, "/v1/tls", "{}"))
		if w.Code != status || !strings.Contains(w.Body.String(), "TLS is off") {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
	d.reloadCertificates()
}

// Only root and the daemon's own user may administer.
func TestAdminPeer(t *testing.T) {
	d := newDaemon(t, nil)
	mux := d.adminMux()
	for name, c := range map[string]struct {
		peer   any
		status int
	}{
		"unknown": {nil, 403}, "root": {unix.Ucred{Uid: 0}, 200},
		"own user": {unix.Ucred{Uid: uint32(os.Geteuid())}, 200}, "another": {unix.Ucred{Uid: 65533}, 403},
	} {
		r := httptest.NewRequest("GET", "/v1/status", nil)
		if c.peer != nil {
			r = r.WithContext(context.WithValue(r.Context(), peerKey{}, c.peer))
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if st, err := os.Stat(d.cfg.AdminSocket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", st.Mode(), err)
	}
	if _, err := api.NewClient(d.cfg.AdminSocket).Status(t.Context()); err != nil {
		t.Errorf("over the socket: %v", err)
	}
	tcp, _ := net.Pipe()
	if ctx := withPeer(context.Background(), tcp); ctx.Value(peerKey{}) != nil {
		t.Error("a peer without credentials has some")
	}
}

func TestToRefusal(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
	}{
		{refuse(api.CodeDenied, "no"), api.CodeDenied},
		{fmt.Errorf("x: %w", iam.ErrNoUser), api.CodeNotFound},
		{iam.ErrPolicyInUse, api.CodeConflict},
		{iam.ErrBadPassword, api.CodeUsage},
		{iam.ErrUserExists, api.CodeExists},
		{errors.New("disk on fire"), api.CodeInternal},
	} {
		if got := toRefusal(c.err); got.Code != c.code || got.Message == "" {
			t.Errorf("%v: %+v, want %s", c.err, got, c.code)
		}
	}
	for code, status := range map[string]int{
		api.CodeUsage: 400, api.CodeDenied: 403, api.CodeNotFound: 404, api.CodeExists: 409, api.CodeConflict: 409,
		api.CodeUnavailable: 503, api.CodeNoSpace: 507, api.CodeInternal: 500, "other": 500,
	} {
		if got := statusOf(code); got != status {
			t.Errorf("%s: %d, want %d", code, got, status)
		}
	}
}

func TestListenAdmin(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "s")
	ln, err := listenAdmin(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenAdmin(path, ""); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("%v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as after a crash
	ln.Close()
	if ln, err = listenAdmin(path, ""); err != nil {
		t.Fatalf("a socket left behind: %v", err)
	}
	ln.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket stays behind")
	}
	os.WriteFile(path, []byte("precious"), 0o600)
	if _, err := listenAdmin(path, ""); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("%v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Error("a file was overwritten")
	}
	if _, err := listenAdmin(filepath.Join(dir, strings.Repeat("x", 200)), ""); err == nil {
		t.Error("a path too long for a socket")
	}
}

func TestServicePages(t *testing.T) {
	d := newDaemon(t, nil)
	page := func(method, path string) (int, string) {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod(method)
		ctx.Request.SetRequestURI(path)
		d.servicePage(&ctx)
		return ctx.Response.StatusCode(), string(ctx.Response.Body())
	}
	create := func() {
		if _, err := d.clusters.create(t.Context(), api.CreateCluster{Name: "c", ConfigFS: configFS}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		before       func()
		method, path string
		status       int
		want         string
	}{
		{nil, "GET", "/-/live", 200, "live"},
		{nil, "HEAD", "/-/live", 200, ""},
		{nil, "POST", "/-/live", 405, ""},
		{nil, "GET", "/-/absent", 404, ""},
		{nil, "GET", "/-/ready", 503, "no S3 cluster"},
		{create, "GET", "/-/ready", 200, "ready"},
		{nil, "GET", "/-/metrics", 200, "sluice_drive_up{"},
		{nil, "GET", "/-/metrics", 200, "go_goroutines "},
		{nil, "GET", "/-/metrics", 200, "\nsluice_reads_reconstructed_total 0\nsluice_reads_hedged_total 0\nsluice_reads_repairs_queued_total 0\n"},
		{nil, "GET", "/-/metrics", 200, "sluice_certificate_expires_seconds 3153"},
		{func() { d.ready.set(false) }, "GET", "/-/ready", 503, "starting or stopping"},
	} {
		if c.before != nil {
			c.before()
		}
		if status, text := page(c.method, c.path); status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %d %.200s; want %d with %q", c.method, c.path, status, text, c.status, c.want)
		}
	}
}

// fullStore is a meta.Store that counts commands.
type fullStore struct {
	meta.Store
	commands int
}

func (s *fullStore) Mutate(context.Context, meta.Slot, meta.Command) error {
	s.commands++
	return nil
}

func TestFloorStore(t *testing.T) {
	under := new(fullStore)
	left, failure := int64(100), error(nil)
	s := &floorStore{Store: under, free: func() (int64, error) { return left, failure }, floor: 100}
	for _, c := range []struct {
		left    int64
		failure error
		refused bool
	}{{100, nil, false}, {99, nil, true}, {0, nil, true}, {0, io.ErrUnexpectedEOF, false}, {1 << 40, nil, false}} {
		left, failure = c.left, c.failure
		time.Sleep(floorAge + time.Millisecond)
		before := under.commands
		err := s.Mutate(t.Context(), 0, nil)
		if refused := errors.Is(err, drive.ErrNoSpace); refused != c.refused || (under.commands == before) != c.refused {
			t.Errorf("%d bytes left, %v: %v", c.left, c.failure, err)
		}
	}
}

// What the audit tells of an admin request is what was done: no field has two
// values, and who is let in where is among what is told.
func TestAdminRequestsAreUnambiguous(t *testing.T) {
	for body, want := range map[string]bool{
		`{"user":"alice"}`: true, `{}`: true, `null`: true,
		`{"user":"alice","user":"bob"}`: false, `{"user":"alice","User":"bob"}`: false, `{"USER":"bob"}`: false,
		`{"u\u017fer":"bob"}`: false, `{"user":"alice"} {"user":"bob"}`: false,
	} {
		var in api.AttachPolicy
		if err := decode(httptest.NewRequest("POST", "/", strings.NewReader(body)), &in); (err == nil) != want {
			t.Errorf("%s: %v", body, err)
		}
	}
	long := `{"add":["` + strings.Repeat("a", 2000) + `"]}`
	for body, want := range map[string]string{
		`{"add":["alice"],"remove":["bob"]}`:                 `add=["alice"] remove=["bob"]`,
		`{"access_key":"alice","session_name":"s"}`:          "accessKey=alice session_name=s",
		`{"name":"x","password":"P","secret":"s","key":"k"}`: "name=x",
		strings.Repeat(" ", 100<<10) + `{"user":"alice"}`:    "user=alice",
		long: `add=["` + strings.Repeat("a", maxAdminTag-2) + "…",
	} {
		var got []string
		seen := &auditBody{ReadCloser: io.NopCloser(strings.NewReader(body))}
		if _, err := io.ReadAll(seen); err != nil {
			t.Fatal(err)
		}
		for _, tag := range adminTags(seen.seen) {
			got = append(got, tag.Name+"="+tag.Value)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%.80s: %q, want %q", body, text, want)
		}
	}
	if audit.Secret("accessKey") || audit.Secret("session_name") {
		t.Error("the audit masks who asks for a session")
	}
}
