package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// collector is a webhook that misbehaves on demand.
type collector struct {
	t   testing.TB
	srv *httptest.Server

	mode atomic.Value // "ok", "500", "stall", "cut", "late cut", "redirect", "few"

	mu     sync.Mutex
	bodies [][]byte
	lines  []received // of bodies, where they hold lines
	auth   []string
	posts  int
	free   chan struct{} // ends stalls
}

func newCollector(t testing.TB, secure bool) *collector {
	c := &collector{t: t, free: make(chan struct{})}
	c.mode.Store("ok")
	if secure {
		c.srv = httptest.NewTLSServer(c)
	} else {
		c.srv = httptest.NewServer(c)
	}
	c.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(func() { close(c.free); c.srv.Close() })
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	mode := c.mode.Load().(string)
	c.mu.Lock()
	c.posts++
	c.auth = append(c.auth, r.Header.Get("Authorization"))
	if mode == "few" {
		if mode = "ok"; bytes.Count(body, []byte("\n")) > 10 {
			mode = "413"
		}
	}
	if mode == "ok" || mode == "late cut" {
		c.bodies = append(c.bodies, body)
		for line := range bytes.Lines(body) {
			e := received{index: -1}
			if err := json.Unmarshal(line, &e); err != nil && body[0] == '{' {
				c.t.Errorf("%v: %s", err, line)
			}
			if digits, ok := strings.CutPrefix(e.API.Object, "o"); ok {
				e.index, err = strconv.Atoi(digits)
				if err != nil {
					e.index = -1
				}
			}
			c.lines = append(c.lines, e)
		}
	}
	c.mu.Unlock()
	switch mode {
	case "413":
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
	case "stall":
		select {
		case <-c.free:
		case <-r.Context().Done():
		}
	case "cut", "late cut": // the second has taken the events: they come again
		panic(http.ErrAbortHandler)
	case "redirect":
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
	}
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.posts
}

// received is one event as the collector sees it.
type received struct {
	Sequence uint64
	API      struct {
		Name, Object string
	}
	Tags map[string]string
	Time time.Time

	index int // of the objects that record records, else -1
}

// events returns what was taken.
func (c *collector) events() []received {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lines)
}

// want waits until the objects 0…n-1 have arrived, and checks that they did in
// order, each at least once.
func (c *collector) want(n int) []received {
	c.t.Helper()
	await(c.t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.ContainsFunc(c.lines, func(e received) bool { return e.index == n-1 })
	})
	next := 0
	got := c.events()
	for _, e := range got {
		switch {
		case e.index == next:
			next++
		case e.index > next:
			c.t.Fatalf("o%d came before o%d", e.index, next)
		}
	}
	if next != n {
		c.t.Fatalf("%d of %d events arrived", next, n)
	}
	return got
}

func await(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

// quick waits a little in place of a back-off.
func quick(_ time.Duration, done <-chan struct{}) {
	select {
	case <-time.After(2 * time.Millisecond):
	case <-done:
	}
}

// idle waits until everything was sent or discarded and nothing is under way.
func idle(t testing.TB, w *Webhook) {
	t.Helper()
	await(t, func() bool { return w.Stats().Queued == 0 && w.stats.oldest.Load() == 0 })
}

func openHook(t testing.TB, dir string, log io.Writer) *Webhook {
	t.Helper()
	if log == nil {
		log = io.Discard
	}
	w, err := Open(Options{Dir: dir, Key: testKey, Info: func() Info { return testInfo }, Wait: quick, sync: noSync,
		Logger: slog.New(slog.NewTextHandler(log, nil))})
	must(t, err)
	t.Cleanup(func() { shut(t, w) })
	return w
}

func shut(t testing.TB, w *Webhook) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(t, w.Close(ctx))
}

func testConfig(c *collector) Config {
	b := DefaultBatch()
	b.Linger, b.Count, b.Timeout = MinLinger, 7, 20*time.Second
	return Config{Enabled: true, Endpoint: c.srv.URL + "/services/collector/raw", Token: "Splunk 1234", Batch: b}
}

// record records the objects from…to-1.
func record(w *Webhook, from, to int) {
	for i := from; i < to; i++ {
		w.Record(&Event{Time: time.Now(), API: "PutObject", Bucket: "b", Key: fmt.Sprint("o", i), Status: 200})
	}
}

func TestWebhookDelivers(t *testing.T) {
	c := newCollector(t, false)
	w := openHook(t, memDir(t), nil)
	record(w, 0, 5)
	if w.Enabled() || w.Stats().Recorded != 0 {
		t.Error("events are taken before the webhook is configured")
	}
	must(t, w.Configure(testConfig(c)))
	record(w, 0, 100)
	got := c.want(100)
	if len(got) != 100 {
		t.Errorf("%d events in place of 100", len(got))
	}
	for i, e := range got {
		if e.Sequence != uint64(i)+1 {
			t.Errorf("event %d has the sequence number %d", i, e.Sequence)
		}
	}
	if c.auth[0] != "Splunk 1234" {
		t.Errorf("Authorization: %q", c.auth[0])
	}
	idle(t, w)
	st := w.Stats()
	if st.Delivered != 100 || st.Queued != 0 || st.Recorded != 100 || !st.Up || st.Retries != 0 || st.Dropped != 0 || st.Oldest != 0 || st.LastOK.IsZero() {
		t.Errorf("%+v", st)
	}
	metrics := string(w.AppendMetrics(nil))
	for _, want := range []string{"sluice_audit_enabled 1\n", "sluice_audit_up 1\n", "sluice_audit_delivered_events_total 100\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in\n%s", want, metrics)
		}
	}
}

func TestWebhookModes(t *testing.T) {
	for _, mode := range []string{ModeArray, ModeOff} {
		c := newCollector(t, false)
		w := openHook(t, memDir(t), nil)
		cfg := testConfig(c)
		cfg.Batch.Mode = mode
		must(t, w.Configure(cfg))
		record(w, 0, 20)
		await(t, func() bool { return w.Stats().Delivered == 20 })
		n := 0
		for _, body := range c.bodies {
			var list []received
			if mode == ModeOff {
				list = make([]received, 1)
				must(t, json.Unmarshal(body, &list[0]))
			} else {
				must(t, json.Unmarshal(body, &list))
			}
			if len(list) > cfg.Batch.Count {
				t.Errorf("%d events in one POST", len(list))
			}
			for _, e := range list {
				if e.API.Object != fmt.Sprint("o", n) {
					t.Errorf("%s: event %d is %s", mode, n, e.API.Object)
				}
				n++
			}
		}
		if n != 20 {
			t.Errorf("%s: %d events", mode, n)
		}
	}
}

// TestWebhookFailures: whatever the endpoint does, no event is lost or overtaken.
func TestWebhookFailures(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := newCollector(t, false)
	w := openHook(t, memDir(t), &log)
	cfg := testConfig(c)
	cfg.Batch.Timeout = MinTimeout
	must(t, w.Configure(cfg))
	n := 0
	for _, mode := range []string{"500", "cut", "late cut", "redirect", "stall"} {
		c.mode.Store(mode)
		before := w.Stats().Retries
		record(w, n, n+20)
		n += 20
		var st Stats
		await(t, func() bool { st = w.Stats(); return st.Retries > before && !st.Up && st.LastError != "" })
		if st.Queued == 0 || st.Oldest == 0 {
			t.Errorf("%s: %+v", mode, st)
		}
		c.mode.Store("ok")
		c.want(n)
		await(t, func() bool { return w.Stats().Up })
	}
	shut(t, w)
	if text := log.String(); !strings.Contains(text, "does not take events") || !strings.Contains(text, "takes events again") ||
		strings.Contains(text, "Splunk 1234") || strings.Count(text, "does not take events") > 2*5 {
		t.Errorf("the log says:\n%s", text)
	}
}

// TestWebhookRestarts: events that were spooled arrive after the process was
// killed, and those in memory after it was stopped.
func TestWebhookRestarts(t *testing.T) {
	c := newCollector(t, false)
	dir := memDir(t)
	c.mode.Store("500")
	n := 0
	for round := range 6 {
		w := openHook(t, dir, nil)
		must(t, w.Configure(testConfig(c)))
		record(w, n, n+30)
		n += 30
		if round%2 == 0 {
			shut(t, w) // flushes
			continue
		}
		must(t, w.Flush(t.Context()))
		crash(w)
	}
	c.mode.Store("ok")
	w := openHook(t, dir, nil)
	must(t, w.Configure(testConfig(c)))
	c.want(n)
}

// crash ends the goroutines of a webhook without writing anything more.
func crash(w *Webhook) {
	w.closed.Store(true)
	w.on.Store(false)
	w.abort()
	w.mu.Lock()
	w.queue = queue{}
	w.mu.Unlock()
	close(w.stop)
	close(w.quit)
	w.done.Wait()
	w.spool.out = nil
}

// TestWebhookFull: at the bound of the spool the newest events are dropped and
// counted, and an event in their place says how many.
func TestWebhookFull(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := newCollector(t, false)
	c.mode.Store("500")
	dir := memDir(t)
	w := openHook(t, dir, &log)
	cfg := testConfig(c)
	cfg.Batch.Spool = MinSpool
	must(t, w.Configure(cfg))
	n := 0
	for w.Stats().Dropped == 0 {
		record(w, n, n+50)
		n += 50
		must(t, w.Flush(t.Context()))
	}
	record(w, n, n+50)
	n += 50
	must(t, w.Flush(t.Context()))
	dropped := int(w.Stats().Dropped)
	crash(w) // how many were lost is not forgotten
	w = openHook(t, dir, &log)
	must(t, w.Configure(cfg))
	c.mode.Store("ok")
	kept := c.want(n - dropped)
	await(t, func() bool {
		kept = c.events()
		return kept[len(kept)-1].API.Name == "audit:EventsLost"
	})
	if got := kept[len(kept)-1].Tags["lost"]; got != fmt.Sprint(dropped) {
		t.Errorf("%s events are told lost, %d were", got, dropped)
	}
	record(w, n-dropped, n)
	c.want(n)
	if !strings.Contains(log.String(), "events are being dropped") {
		t.Errorf("no alarm in the log:\n%s", log.String())
	}
}

// TestQueueFull: while the disk stalls, Record drops what the queue cannot hold and
// does not wait; how many is told in their place.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	c := newCollector(t, false)
	w := openHook(t, memDir(t), nil)
	hold, stalled := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.spool.sync = func(*os.File) error {
		once.Do(func() { close(stalled); <-hold })
		return nil
	}
	cfg := testConfig(c)
	cfg.Batch.Count, cfg.Batch.Bytes, cfg.Batch.Timeout = MaxCount, MaxBytes, MaxTimeout
	must(t, w.Configure(cfg))
	record(w, 0, 1)
	<-stalled
	n, slowest := 1, time.Duration(0)
	for w.Stats().Dropped < 1000 {
		began := time.Now()
		record(w, n, n+100)
		slowest = max(slowest, time.Since(began))
		n += 100
	}
	if slowest > time.Second {
		t.Errorf("100 events took %s while the disk stalls", slowest)
	}
	dropped := int(w.Stats().Dropped)
	close(hold)
	got := c.want(n - dropped)
	await(t, func() bool { got = c.events(); return got[len(got)-1].API.Name == "audit:EventsLost" })
	if lost := got[len(got)-1].Tags["lost"]; lost != fmt.Sprint(dropped) {
		t.Errorf("%s events are told lost, %d were", lost, dropped)
	}
}

func TestWebhookReconfigures(t *testing.T) {
	t.Parallel()
	first, second := newCollector(t, false), newCollector(t, false)
	first.mode.Store("stall")
	w := openHook(t, memDir(t), nil)
	cfg := testConfig(first)
	cfg.Batch.Timeout = MinTimeout
	must(t, w.Configure(cfg))
	record(w, 0, 30)
	await(t, func() bool { return first.count() > 0 })
	cfg = testConfig(second)
	must(t, w.Configure(cfg))
	second.want(30) // spooled for the first, delivered to the second

	// Disabled, nothing is taken, sent or lost.
	second.mode.Store("500")
	record(w, 30, 40)
	must(t, w.Flush(t.Context()))
	sending := func() bool { return w.stats.oldest.Load() != 0 } // again and again
	await(t, sending)
	cfg.Enabled = false
	must(t, w.Configure(cfg))
	await(t, func() bool { return !sending() }) // a POST in flight ends
	second.mode.Store("ok")
	posts := second.count()
	w.Record(&Event{Time: time.Now(), API: "PutObject", Key: "o1000"})
	time.Sleep(20 * time.Millisecond)
	if st := w.Stats(); st.Queued != 10 || second.count() != posts {
		t.Errorf("%d events wait, %d were sent", st.Queued, second.count()-posts)
	}
	cfg.Enabled = true
	must(t, w.Configure(cfg))
	second.want(40)

	// Discarded events are gone, and no hole is told.
	idle(t, w)
	second.mode.Store("500")
	w.Record(&Event{Time: time.Now(), API: "PutObject", Key: "o500"})
	await(t, sending)
	must(t, w.Discard(t.Context()))
	idle(t, w)
	second.mode.Store("ok")
	record(w, 40, 50)
	for _, e := range second.want(50) {
		if e.API.Name != "PutObject" || e.API.Object == "o500" {
			t.Errorf("got %+v", e)
		}
	}
	if st := w.Stats(); st.Discarded != 1 || st.Damaged != 0 {
		t.Errorf("%+v", st)
	}
	if err := w.Configure(Config{Enabled: true, Batch: DefaultBatch()}); err == nil {
		t.Error("a configuration without endpoint is taken")
	}
}

// TestWebhookShrinks: an endpoint that can only take a few events at once gets
// them, and ever more of them once it can.
func TestWebhookShrinks(t *testing.T) {
	c := newCollector(t, false)
	w := openHook(t, memDir(t), nil)
	cfg := testConfig(c)
	cfg.Batch.Count = 64
	c.mode.Store("few")
	must(t, w.Configure(cfg))
	record(w, 0, 300)
	c.want(300)
	most := 0
	for _, body := range c.bodies {
		most = max(most, bytes.Count(body, []byte("\n")))
	}
	if most > 10 {
		t.Errorf("%d events at once", most)
	}
	c.mode.Store("ok")
	record(w, 300, 900)
	c.want(900)
	for _, body := range c.bodies {
		most = max(most, bytes.Count(body, []byte("\n")))
	}
	if most < 20 {
		t.Errorf("only %d events at once", most)
	}
}

func TestWebhookTLS(t *testing.T) {
	c := newCollector(t, true)
	w := openHook(t, memDir(t), nil)
	cfg := testConfig(c)
	if err := w.Test(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	cfg.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.srv.Certificate().Raw}))
	must(t, w.Test(t.Context(), cfg))
	must(t, w.Configure(cfg))
	record(w, 0, 10)
	c.want(10)
	if got := c.events(); got[0].API.Name != "audit:Test" || got[0].Sequence != 0 {
		t.Errorf("the test event is %+v", got[0])
	}
}

func TestWebhookTest(t *testing.T) {
	t.Parallel()
	c := newCollector(t, false)
	w := openHook(t, memDir(t), nil)
	cfg := testConfig(c)
	for mode, want := range map[string]string{"500": "500", "cut": "EOF", "stall": "no answer", "redirect": "307"} {
		c.mode.Store(mode)
		cfg := cfg
		if mode == "stall" {
			cfg.Batch.Timeout = MinTimeout
		}
		if err := w.Test(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	cfg.Endpoint = "http://127.0.0.1:1/x?token=marker"
	if err := w.Test(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "marker") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	c := newCollector(t, false)
	c.mode.Store("stall")
	w := openHook(t, memDir(t), nil)
	cfg := testConfig(c)
	cfg.Batch.Timeout = MaxTimeout
	must(t, w.Configure(cfg))
	record(w, 0, 10)
	await(t, func() bool { return c.count() > 0 })
	began := time.Now()
	shut(t, w)
	if d := time.Since(began); d > closeGrace+2*time.Second {
		t.Errorf("it took %s", d)
	}
	record(w, 10, 20)
	if w.Stats().Recorded != 10 {
		t.Error("a closed webhook takes events")
	}
}

func TestBackoff(t *testing.T) {
	for fails := 1; fails < 100; fails++ {
		d := backoff(fails)
		most := backoffMax
		if fails < 8 {
			most = min(backoffMin<<(fails-1), backoffMax)
		}
		if d < most/2 || d > most {
			t.Errorf("after %d failures: %s", fails, d)
		}
	}
}

// BenchmarkRecord is what auditing costs a request, besides filling the event in.
func BenchmarkRecord(b *testing.B) {
	c := newCollector(b, false)
	w := openHook(b, b.TempDir(), nil)
	cfg := testConfig(c)
	cfg.Batch = DefaultBatch()
	must(b, w.Configure(cfg))
	e := typicalGet()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		mine := e
		for pb.Next() {
			w.Record(&mine)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(w.Stats().Dropped)/float64(b.N), "dropped/op")
}
