package main

import (
	"strings"
	"testing"
)

func TestParseFio(t *testing.T) {
	text := `{"jobs": [{"jobname": "job",
		"read": {"iops": 0, "bw_bytes": 0, "clat_ns": {}},
		"write": {"iops": 250.5, "bw_bytes": 1048576, "clat_ns": {"percentile": {"50.000000": 4000, "99.000000": 9500}}}}]}`
	got, err := parseFio([]byte(text), fioJob{"w", "randwrite", "4k", 1, 1, true})
	want := driveResult{Name: "w", Block: "4k", Depth: 1, Jobs: 1, PerSecond: 250.5, MiBPerSec: 1, P50us: 4, P99us: 9.5}
	if err != nil || got != want {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "{}", `{"jobs": []}`, `{"jobs": [{}, {}]}`} {
		if _, err := parseFio([]byte(bad), fioJob{}); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestTables(t *testing.T) {
	r := report{
		Sync: "fsync", RestartSec: 1.5, IdleRSSBefore: 40, IdleRSSAfter: 60,
		Results: []result{{Scheme: "http", Name: "PUT 4KiB", Concurrency: 16, PerSecond: 2535, MiBPerSec: 9.9, P50us: 950, P99us: 31_200, CPUPerOpUs: 268}},
		Drive:   []driveResult{{Name: "random read", Block: "4k", Depth: 16, Jobs: 1, PerSecond: 5e4, MiBPerSec: 195, P50us: 2e6}},
	}
	var b strings.Builder
	if err := r.tables(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"sync: fsync", "| http | PUT 4KiB | 16 | 2535 | 9.90 | 950 µs | 31.2 ms | 268 µs | – |",
		"| random read | 4k | 16 × 1 | 50000 | 195 | 2.00 s | – |", "40 MiB before the load, 60 MiB after", "kill -9: 1.50 s",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"listing", "-n", "5000", "-schemes", "http"})
	if err != nil || o.scenario != "listing" || o.count != 5000 {
		t.Fatalf("%+v, %v", o, err)
	}
	if o, err = parseOptions([]string{"-concurrency", "1,7"}); err != nil || o.scenario != "matrix" {
		t.Fatalf("%+v, %v", o, err)
	}
	for _, bad := range []string{
		"nothing", "matrix extra", "-sizes 0", "-sizes 3XB", "-sizes 6GiB", "-ops POST", "-schemes ftp", "-concurrency 0", "-concurrency x",
		"-time 10ms", "listing -n 1000", "listing -n 1500", "large -n 5000", "-warm-up -1s",
	} {
		if _, err := parseOptions(strings.Fields(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://h": "h:80", "https://h": "h:443", "http://h:9000": "h:9000", "https://[::1]:1": "[::1]:1",
	} {
		got, err := newTarget(endpoint, "")
		if err != nil || got.addr != want || (got.tls != nil) != strings.HasPrefix(endpoint, "https") {
			t.Errorf("%s: %+v, %v", endpoint, got, err)
		}
	}
	for _, bad := range []string{"", "h:9000", "ftp://h", "http://", "http://h/path"} {
		if _, err := newTarget(bad, ""); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
