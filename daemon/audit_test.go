package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/config"
)

// sink is a webhook that can refuse.
type sink struct {
	srv    *httptest.Server
	refuse atomic.Bool
	mu     sync.Mutex
	lines  []string
	auth   string
}

// sunk is an event as the sink sees it.
type sunk struct {
	Sequence                uint64
	API                     struct{ Name, Bucket, Object, Status string }
	Error                   string
	Tags                    map[string]string
	ParentUser, RequestPath string
}

func newSink(t testing.TB) *sink {
	s := new(sink)
	s.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil || s.refuse.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.auth = r.Header.Get("Authorization")
		for line := range strings.Lines(string(text)) {
			s.lines = append(s.lines, line)
		}
	}))
	t.Cleanup(s.srv.Close)
	return s
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "")
}

// authorization is what the last POST carried.
func (s *sink) authorization() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth
}

func (s *sink) events(t testing.TB) []sunk {
	t.Helper()
	var out []sunk
	for line := range strings.Lines(s.text()) {
		var e sunk
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, e)
	}
	return out
}

// find waits for an event.
func (s *sink) find(t testing.TB, what string, match func(e sunk) bool) sunk {
	t.Helper()
	var found sunk
	await(t, 10*time.Second, func() error {
		for _, e := range s.events(t) {
			if match(e) {
				found = e
				return nil
			}
		}
		return fmt.Errorf("no event of %s in\n%s", what, s.text())
	})
	return found
}

func TestAdminAudit(t *testing.T) {
	s := newSink(t)
	d := newDaemon(t, nil)
	mux := d.adminMux()
	do := func(method, path, body string, status int, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, asRoot(method, path, body))
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Fatalf("%s %s %s: %d %s; want %d with %q", method, path, body, w.Code, w.Body, status, want)
		}
	}
	const hook = "/v1/audit-webhook"
	do("GET", hook, "", 200, `"enabled":false`)
	do("PUT", hook, `{"endpoint":"ftp://x","auth_token":"a"}`, 400, "http://")
	do("PUT", hook, `{"endpoint":"http://127.0.0.1:1/","auth_token":"a","verify":true}`, 503, "nothing was changed")
	do("GET", hook, "", 200, `"enabled":false`)
	do("PATCH", hook+"/batch", `{"batch_time":"soon"}`, 400, "duration")
	do("PATCH", hook+"/batch", `{"batch_time":"1h"}`, 400, "between 10ms and 1m0s")
	do("PATCH", hook+"/batch", `{"batch_time":"10ms","batch_count":5}`, 200, `"batch_count":5`)
	do("GET", "/v1/status", "", 200, `"ready"`)
	do("PUT", hook, `{"endpoint":"`+s.srv.URL+`/x?token=Planted-0","auth_token":"Splunk Planted-1","verify":true}`, 200, `"auth_token":"********"`)
	s.find(t, "the test", func(e sunk) bool { return e.API.Name == "audit:Test" })
	if auth := s.authorization(); auth != "Splunk Planted-1" {
		t.Errorf("Authorization: %q", auth)
	}
	enable := s.find(t, "enable", func(e sunk) bool { return e.API.Name == "admin:PUT /v1/audit-webhook" })
	if enable.Tags["uid"] != "0" || enable.ParentUser != "uid:0" || enable.API.Status != "OK" || !strings.Contains(enable.Tags["endpoint"], "REDACTED") {
		t.Errorf("%+v", enable)
	}
	do("POST", "/v1/cluster", `{"name":"default","config_fs":".config_fs"}`, 200, "")
	do("POST", "/v1/buckets", `{"name":"abc"}`, 200, "")
	do("POST", "/v1/users", `{"name":"u1","role":"s3","password":"Planted-Password-2"}`, 200, "")
	do("PUT", "/v1/users/u1/password", `{"password":"Planted-Password-3"}`, 204, "")
	do("PUT", "/v1/users/absent/password", `{"password":"Planted-Password-4"}`, 404, "")
	do("PUT", "/v1/tls", `{"certificate_pem":"x","private_key_pem":"Planted-5"}`, 400, "")
	do("DELETE", "/v1/buckets/abc", "", 204, "")
	do("GET", "/v1/nothing", "", 404, "")
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/v1/buckets", strings.NewReader(`{"name":"evil"}`))
	mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, unix.Ucred{Uid: 4242, Pid: 77})))
	if w.Code != 403 {
		t.Errorf("a stranger: %d", w.Code)
	}
	for what, match := range map[string]func(e sunk) bool{
		"bucket": func(e sunk) bool { return e.API.Name == "admin:POST /v1/buckets" && e.Tags["name"] == "abc" },
		"user": func(e sunk) bool {
			return e.API.Name == "admin:POST /v1/users" && e.Tags["name"] == "u1" && e.Tags["role"] == "s3"
		},
		"password": func(e sunk) bool {
			return e.API.Name == "admin:PUT /v1/users/{name}/password" && e.Error == "" && e.RequestPath == "/v1/users/u1/password"
		},
		"no such user": func(e sunk) bool {
			return e.API.Name == "admin:PUT /v1/users/{name}/password" && e.Error == "not_found"
		},
		"certificate":   func(e sunk) bool { return e.API.Name == "admin:PUT /v1/tls" && e.Error == "usage" },
		"bucket's end":  func(e sunk) bool { return e.API.Name == "admin:DELETE /v1/buckets/{name}" && e.API.Bucket == "abc" },
		"unknown route": func(e sunk) bool { return e.API.Name == "admin:GET /" && e.RequestPath == "/v1/nothing" },
		"stranger": func(e sunk) bool {
			return e.Error == "denied" && e.Tags["uid"] == "4242" && e.Tags["pid"] == "77" && e.API.Status == "Forbidden"
		},
	} {
		s.find(t, what, match)
	}
	if text := s.text(); strings.Contains(text, "Planted") {
		t.Errorf("a secret is told:\n%s", text)
	}
	do("GET", "/v1/status", "", 200, `"audit":{"up":true`)
	s.refuse.Store(true)
	do("DELETE", "/v1/users/u1", "", 204, "")
	await(t, 10*time.Second, func() error {
		if st := d.audit.hook.Stats(); st.Up || st.Queued == 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	do("GET", "/v1/status", "", 200, `"audit":{"up":false,"error":"the endpoint answered 503`)
	do("DELETE", hook+"?discard=maybe", "", 400, "discard")
	do("DELETE", hook, "", 200, `"enabled":false`)
	do("POST", "/v1/buckets", `{"name":"unseen"}`, 200, "")
	s.refuse.Store(false)
	do("PUT", hook, `{"endpoint":"`+s.srv.URL+`","auth_token":""}`, 200, `"enabled":true`)
	s.find(t, "disable", func(e sunk) bool { return e.API.Name == "admin:DELETE /v1/audit-webhook" && e.Error == "" })
	s.find(t, "what waited", func(e sunk) bool { return e.API.Name == "admin:DELETE /v1/users/{name}" })
	if strings.Contains(s.text(), "unseen") {
		t.Error("something is told while auditing was off")
	}
	s.refuse.Store(true)
	do("DELETE", "/v1/buckets/unseen", "", 204, "")
	do("DELETE", hook+"?discard=true", "", 200, `"queued_events":0`)
}

// The configuration outlives the daemon, its token is sealed, and one that
// cannot be read ends the start.
func TestAuditConfigurationStays(t *testing.T) {
	s := newSink(t)
	dir := t.TempDir()
	set := func(cfg *config.Config) {
		cfg.Drives, cfg.StateDir = []string{filepath.Join(dir, "drive")}, filepath.Join(dir, "state")
	}
	t.Run("first", func(t *testing.T) {
		d := newDaemon(t, set)
		w := httptest.NewRecorder()
		d.adminMux().ServeHTTP(w, asRoot("PUT", "/v1/audit-webhook", `{"endpoint":"`+s.srv.URL+`","auth_token":"Splunk Planted-Token"}`))
		if w.Code != 200 {
			t.Fatal(w.Body)
		}
		doc, err := d.engine.Docs("").Get(t.Context(), docAudit)
		if err != nil || strings.Contains(string(doc.Value), "Planted") {
			t.Errorf("%s, %v", doc.Value, err)
		}
	})
	t.Run("second", func(t *testing.T) {
		d := newDaemon(t, set)
		if c := d.audit.hook.Config(); !c.Enabled || c.Token != "Splunk Planted-Token" {
			t.Errorf("%+v", c)
		}
		if _, err := d.engine.Docs("").Put(t.Context(), docAudit, []byte(`{"version":9}`), -1); err != nil {
			t.Fatal(err)
		}
	})
	cfg := config.Default()
	cfg.Listen, cfg.AdminSocket = []string{"127.0.0.1:0"}, filepath.Join(dir, "s")
	cfg.Buffers, cfg.Reserve, cfg.DriveSize = 16<<20, 16<<20, 256<<20
	set(&cfg)
	if d, err := open(t.Context(), &cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), docAudit) {
		t.Errorf("a document of the future: %v", err)
		if err == nil {
			d.close()
		}
	}
}

// TestAuditSurvivesKills kills the daemon again and again while the endpoint
// comes and goes: every request that was answered before the last moment of a
// life is told, in order. What a kill may take is what was not on disk yet: the
// events of the last batch-time and of the write that was under way.
func TestAuditSurvivesKills(t *testing.T) {
	t.Parallel()
	const linger = 100 * time.Millisecond
	const window = linger + 500*time.Millisecond // a sync on a busy machine takes its time
	rounds := 4
	if long() {
		rounds = 20
	}
	s := newSink(t)
	n := newNode(t).serve()
	ctx := context.Background()
	if _, err := n.admin.EnableAudit(ctx, api.EnableAudit{Endpoint: s.srv.URL, AuthToken: "Splunk t", Verify: true}); err != nil {
		t.Fatal(err)
	}
	text := linger.String()
	if _, err := n.admin.ConfigureAuditBatch(ctx, api.AuditBatch{Linger: &text}); err != nil {
		t.Fatal(err)
	}
	type put struct {
		key string
		at  time.Time
	}
	var answered []put
	var kills []time.Time
	slowest := make([]time.Duration, rounds) // what the disk is good for
	serial := 0
	for round := range rounds {
		s.refuse.Store(round%2 == 0)
		for end := time.Now().Add(800 * time.Millisecond); time.Now().Before(end); serial++ {
			key, begun := fmt.Sprintf("k%06d", serial), time.Now()
			if status, _, err := n.tryS3("PUT", "/"+nodeBucket+"/"+key, "", []byte("x")); err != nil || status != 200 {
				t.Fatalf("PUT: %d, %v", status, err)
			}
			answered = append(answered, put{key, time.Now()})
			slowest[round] = max(slowest[round], time.Since(begun))
		}
		kills = append(kills, time.Now())
		n.kill()
		n.start()
		n.up("/-/ready")
	}
	s.refuse.Store(false)
	told := map[string]bool{}
	await(t, 30*time.Second, func() error {
		st, err := n.admin.AuditWebhook(ctx)
		if err == nil && (st.Queued > 0 || !st.Up) {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	last, sequence, repeated := "", uint64(0), 0
	for _, e := range s.events(t) {
		if e.Sequence > sequence {
			if sequence > 0 && e.Sequence != sequence+1 {
				t.Errorf("after event %d comes %d", sequence, e.Sequence)
			}
			sequence = e.Sequence
		} else if e.Sequence != 0 {
			repeated++
			continue
		}
		if e.API.Name == "PutObject" {
			if e.API.Object <= last {
				t.Fatalf("%s comes after %s", e.API.Object, last)
			}
			last = e.API.Object
			told[last] = true
		}
		if e.API.Name == "audit:EventsLost" {
			t.Errorf("events were lost: %+v", e)
		}
	}
	lost := 0
	for _, p := range answered {
		if told[p.key] {
			continue
		}
		lost++
		excused := false
		for i, k := range kills {
			excused = excused || p.at.After(k.Add(-window-2*slowest[i])) && !p.at.After(k)
		}
		if !excused {
			t.Errorf("%s, answered %s, is not told", p.key, p.at)
		}
	}
	t.Logf("%d requests answered, %d kills took %d events that were not on disk yet, %d came twice", len(answered), len(kills), lost, repeated)
	if len(answered) < rounds*5 || lost == len(answered) {
		t.Errorf("only %d requests", len(answered))
	}
	// An orderly stop loses nothing.
	s.refuse.Store(true)
	if status, _ := n.s3("PUT", "/"+nodeBucket+"/last", "", []byte("x")); status != 200 {
		t.Fatal(status)
	}
	n.stop()
	s.refuse.Store(false)
	n.start()
	s.find(t, "the last request", func(e sunk) bool { return e.API.Object == "last" })
	if left, _ := os.ReadDir(filepath.Join(n.dir, "state", "audit")); len(left) == 0 {
		t.Error("there is no spool")
	}
	if strings.Contains(n.log.String(), "Splunk t") {
		t.Error("the log tells the token")
	}
}
