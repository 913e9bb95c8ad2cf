package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/bench/htmlreport"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestSpreads(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}}, {[]float64{3}, spread{3, 3, 3}}, {[]float64{4, 1}, spread{2.5, 1, 4}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}}, {[]float64{8, 2, 4, 6}, spread{5, 2, 8}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
	}
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	for _, c := range []struct {
		values, base []float64
		want         *spread
	}{
		{[]float64{2, 40, 6}, []float64{1, 10, 2}, &spread{3, 2, 4}}, // not 6/2 by the medians alone
		{[]float64{2, 0, 6}, []float64{1, 10, 2}, &spread{2.5, 2, 3}},
		{[]float64{2, 5}, []float64{1}, &spread{2, 2, 2}},
		{[]float64{0, 0}, []float64{1, 1}, nil},
		{[]float64{1}, []float64{0}, nil},
		{nil, nil, nil},
	} {
		got := ratioOf(c.values, c.base)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%v to %v: %+v, want %+v", c.values, c.base, got, c.want)
		}
	}
}

func TestRowsHaveTheirLimits(t *testing.T) {
	l := &limits{}
	for id, v := range map[string]float64{
		limitDriveWrite + "_16": 1000, limitDriveRead + "_16": 2000, limitAppend: 400, limitSend: 4000, limitTrips + "_16": 80000,
		limitTrips + "_16" + limitCPU: 7, limitSend + limitCPU: 0.2, limitRandWrite + "_16": 20000, limitReceive + limitCPU: 0.3,
	} {
		l.add(id, id, "u", v)
	}
	res := &result{MiBPerSec: 500, PerSecond: 10000, P50us: 800, CPUPerOpUs: 28, CPUPerGiBSec: 0.8}
	for _, c := range []struct {
		row        row
		speed, cpu string
		share      float64
	}{
		{row{op: "PUT", size: 16 << 20, concurrency: 16}, limitDriveWrite + "_16", limitReceive + limitCPU, 0.5},
		{row{op: "MULTIPART", size: 16 << 20, concurrency: 4}, limitDriveWrite + "_16", limitReceive + limitCPU, 0.5},
		{row{op: "PUT", size: 4096, concurrency: 1}, limitAppend, "", 0.5},
		{row{op: "DELETE", size: 4096, concurrency: 1}, limitAppend, "", 0.5},
		{row{op: "PUT", size: 4096, concurrency: 16}, limitRandWrite + "_16", limitTrips + "_16" + limitCPU, 0.5},
		{row{op: "GET", size: 16 << 20, concurrency: 16, cold: true}, limitDriveRead + "_16", limitSend + limitCPU, 0.25},
		{row{op: "GET", size: 16 << 20, concurrency: 16}, limitSend, limitSend + limitCPU, 0.125},
		{row{op: "RANGE", size: 1 << 20, concurrency: 16}, limitSend, limitSend + limitCPU, 0.125},
		{row{op: "HEAD", size: 4096, concurrency: 64}, limitTrips + "_16", limitTrips + "_16" + limitCPU, 0.125},
		{row{op: "GET", size: 1 << 20, concurrency: 1, cold: true}, "", limitSend + limitCPU, 0},
	} {
		speed, cpu := l.bounds(c.row)
		if (speed == nil) != (c.speed == "") || speed != nil && speed.ID != c.speed || speed.share(res) != c.share {
			t.Errorf("%+v: speed %+v, %g", c.row, speed, speed.share(res))
		}
		if (cpu == nil) != (c.cpu == "") || cpu != nil && (cpu.ID != c.cpu || cpu.share(res) == 0) {
			t.Errorf("%+v: CPU %+v", c.row, cpu)
		}
	}
}

// fakeComparison is one of two endpoints with figures made up.
func fakeComparison() *comparison {
	a := &contender{endpoint: endpoint{Name: "a", Bin: "bin", Sync: ownSync, Version: "v1"}, peak: 100}
	b := &contender{endpoint: endpoint{Name: "b", URL: "http://h:1", SecretKey: "hidden", Sync: "none", Version: "v2"}, peak: 300}
	c := &comparison{
		list: []*contender{a, b}, rounds: 2, limits: &limits{},
		rows: []row{{op: "PUT", size: 4096, concurrency: 16}, {op: "GET", size: 1 << 20, concurrency: 1, rate: 50}},
	}
	c.limits.add(limitRandWrite+"_16", "drive: write 4 KiB anywhere ×16", "ops/s", 20000)
	c.limits.add(limitSend, "loopback: send 1 MiB writes", "MiB/s", 4000)
	for i, r := range c.rows {
		c.results = append(c.results, make([][]result, 2))
		for k := range c.list {
			for round := range c.rounds {
				f := float64((k + 1) * (round + 1))
				h := new(histogram)
				for n := range 4 {
					h.record(time.Duration(f * float64(n+1) * 1e5))
				}
				res := result{Scheme: "http", Name: r.name(), Concurrency: r.concurrency, Operations: 4, Seconds: 1, PerSecond: 1000 / f, CPUPerOpUs: 10 * f, hist: h}
				if i == 1 {
					res.MiBPerSec, res.Open = 1000/f, &openResult{Rate: 50, Intended: 50, Sent: 49, Late: 2, Dropped: 1}
				}
				res.latencies(h)
				c.results[i][k] = append(c.results[i][k], res)
			}
		}
	}
	return c
}

func fakeReport() *report {
	c := fakeComparison()
	return &report{
		Schema: schema, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Scenario: "compare", Command: []string{"compare", "a", "b"},
		Machine: machine{CPU: "a CPU", Cores: 2, Kernel: "6", Load: "0", TCP: "cubic", ServerCPUs: "0", ClientCPUs: "1"},
		Sync:    "of each endpoint its own", Notes: []string{"nothing was counted"}, Compare: c.report(), Limits: c.limits.figures(),
	}
}

func TestReportAsJSON(t *testing.T) {
	const golden = "testdata/compare.json"
	text, err := json.MarshalIndent(fakeReport(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(compactPairs(text), '\n')
	if *update {
		if err := os.WriteFile(golden, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("not as in %s:\n%s", golden, text)
	}
	if bytes.Contains(text, []byte("hidden")) {
		t.Error("the report has a secret key")
	}
	var back report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Compare.Rows[1].Sides[1].All.Distribution) != 6 {
		t.Errorf("read back: %v", err)
	}
}

func TestComparisonAsText(t *testing.T) {
	var b strings.Builder
	if err := fakeReport().tables(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"server on CPUs 0, load generator on 1", "| b | v2 | none | 300 |",
		"| PUT 4KiB | 16 | a | 15 µs | – | – | 750 | – | – |", "|  |  | b | 30 µs | – | 2.00 (2.00–2.00) | 375 | – | 0.50 (0.50–0.50) |",
		"b GET 1MiB at 50/s ×1: of 100 operations at 50.0/s, 4 were sent late and 2 dropped", "- loopback: send 1 MiB writes: GET 1MiB at 50/s ×1",
		"nothing was counted",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestEndpointsAreDescribed(t *testing.T) {
	for want, e := range map[string]endpoint{
		"v1": {Version: "v1", Drives: 1}, "v1, TLS": {Version: "v1", URL: "https://h"},
		"v1, 4 drives, TLS, --x y": {Version: "v1", Drives: 4, TLS: true, Args: "--x y"},
	} {
		if got := e.describe(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestComparisonAsPage(t *testing.T) {
	r := fakeReport()
	r.Results = r.Compare.Rows[0].Sides[0].Rounds
	r.Results[0].Distribution = distribution{{1, 5}, {3, 2}}
	var b bytes.Buffer
	if err := htmlreport.Write(&b, r.page()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PUT 4KiB ×16", "drive: write 4 KiB anywhere", "bench compare"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in the page", want)
		}
	}
}

func TestDistributionByOdds(t *testing.T) {
	h := new(histogram)
	for n := range 1000 {
		h.record(time.Duration(n+1) * time.Microsecond)
	}
	s := h.distribution().series("x")
	for i := range s.X {
		// Of 1..1000 µs, one in X is so long or longer.
		if exact := 1000 * (1 - 1/s.X[i]); math.Abs(s.Y[i]-exact) > 2+exact/30 {
			t.Errorf("one in %g takes %g µs, want about %g", s.X[i], s.Y[i], exact)
		}
		if i > 0 && (s.X[i] <= s.X[i-1] || s.Y[i] < s.Y[i-1]) {
			t.Errorf("point %d does not ascend", i)
		}
	}
	if n := len(s.Y); n < 10 || n > 60 || s.Y[n-1] != 1000 {
		t.Errorf("%d points, the last at %g", n, s.Y[n-1])
	}
}

func TestComparisonOnFakeServers(t *testing.T) {
	s := fakeShape()
	c := &comparison{rounds: 3, rows: s.rowsOf([]string{"PUT", "GET", "DELETE"}, []int64{4 << 10}, []int{2}, []float64{0})}
	s.warmUp, s.measured, s.pool = 0, 30*time.Millisecond, 1<<16
	for _, name := range []string{"a", "b"} {
		_, tg := newFakeS3(t, false)
		c.list = append(c.list, &contender{endpoint: endpoint{Name: name}, f: newFixture(tg, newPattern(), s)})
	}
	var order bytes.Buffer
	c.progress = &progress{w: &order, steps: 18, now: time.Now}
	if err := c.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	rep := c.report()
	if len(rep.Rows) != 3 {
		t.Fatalf("%+v", rep)
	}
	for _, r := range rep.Rows {
		if len(r.Sides) != 2 || len(r.Sides[1].Rounds) != 3 || r.Sides[0].RateRatio != nil || r.Sides[1].RateRatio == nil || r.Sides[1].All.hist.total == 0 {
			t.Errorf("%+v", r)
		}
	}
	var turns []string
	for line := range strings.Lines(order.String()) {
		if strings.Contains(line, "GET 4KiB") {
			turns = append(turns, strings.TrimSpace(line[strings.LastIndex(line, "×2: ")+len("×2: "):])[:1])
		}
	}
	if got := strings.Join(turns, ""); got != "abbaab" {
		t.Errorf("the endpoints came in order %s", got)
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{w: &b, steps: 3, live: true, now: func() time.Time { return now }}
	p.step("one, which is long")
	now = now.Add(4 * time.Second)
	p.step("two")
	p.clear()
	want := "\r1 of 3: one, which is long" + "\r2 of 3: two, 8 s left" + strings.Repeat(" ", 4)
	if got := b.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " \r") {
		t.Errorf("%q, want %q", got, want)
	}
	var none *progress
	none.step("x")
	none.clear()
}
