package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "100B": 100, "4KiB": 4096, "4k": 4096, "64kib": 65536, "1MiB": 1 << 20, "16M": 16 << 20, "5GiB": 5 << 30,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "0", "-1", "KiB", "4KB", "1.5MiB", "6GiB", "99999999999999999999"} {
		if got, err := parseSize(bad); err == nil {
			t.Errorf("%q passes as %d", bad, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, sizeMost).Draw(t, "size")
		if got, err := parseSize(sizeName(n)); err != nil || got != n {
			t.Fatalf("%d is called %s, which is %d, %v", n, sizeName(n), got, err)
		}
	})
}

func TestCPULists(t *testing.T) {
	for text, want := range map[string]cpuList{"": nil, "0": {0}, "3,1": {1, 3}, "0-2,2,5": {0, 1, 2, 5}, "1023": {1023}} {
		if got, err := parseCPUs(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"x", "-1", "1-", "2-1", "1024", "0,,1"} {
		if got, err := parseCPUs(bad); err == nil {
			t.Errorf("%q passes as %v", bad, got)
		}
	}
	if (cpuList{0, 1}).overlaps(cpuList{2}) != -1 || (cpuList{0, 1}).overlaps(cpuList{1, 2}) != 1 {
		t.Error("overlaps")
	}
}

func TestMixtures(t *testing.T) {
	m, err := parseMixture("GET=45,head=30,PUT=15,DELETE=10")
	if err != nil {
		t.Fatal(err)
	}
	var counts [4]int
	for n := range m.sum {
		counts[m.at(n)]++
	}
	if counts != [4]int{45, 30, 15, 10} {
		t.Errorf("%v", counts)
	}
	for _, bad := range []string{"", "GET", "GET=-1", "GET=1,GET=2", "LIST=3", "PUT=1,DELETE=2", "GET=0", "GET=5000"} {
		if _, err := parseMixture(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestRows(t *testing.T) {
	s := shape{part: 8 << 20, span: 128 << 10}
	var names []string
	for _, r := range s.rowsOf(operations(), []int64{4 << 10, 16 << 20}, []int{1}, []float64{0, 50}) {
		names = append(names, r.name())
	}
	want := strings.Split("PUT 4KiB,GET 4KiB,HEAD,DELETE,LIST 1000 keys,MIXED 4KiB,PUT 16MiB,GET 16MiB,MULTIPART 16MiB,RANGE 16MiB", ",")
	for i, name := range want {
		if got := names[2*i : 2*i+2]; got[0] != name || got[1] != name+" at 50/s" {
			t.Errorf("%q, want %s", got, name)
		}
	}
	if len(names) != 2*len(want) {
		t.Errorf("%d rows: %q", len(names), names)
	}
	cold := len(coreRows(true)) - len(coreRows(false))
	if cold != 1 {
		t.Errorf("%d cold rows", cold)
	}
}

func TestCompareOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.toml")
	text := "[[endpoint]]\nname = \"m\"\nurl = \"http://h:1\"\nsync = \"fdatasync\"\npid = 7\n[[endpoint]]\nname = \"n\"\nurl = \"https://h\"\naccess_key = \"k\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"compare", "sluice", "-rounds", "2", "new=dir,--drive-cache 0 --x", "-endpoints", file, "m", "v=http://h:2,key=a,secret=b,c,pid=9,sync=none, at all"}
	o, err := parseOptions(args)
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.endpoints()
	if err != nil {
		t.Fatal(err)
	}
	want := []endpoint{
		{Name: "sluice", Bin: "bin", Drives: 1, Sync: ownSync},
		{Name: "new", Bin: "dir", Args: "--drive-cache 0 --x", Drives: 1, Sync: ownSync},
		{Name: "m", URL: "http://h:1", Sync: "fdatasync", PID: 7, Region: "us-east-1", Version: "not stated", AccessKey: o.accessKey, SecretKey: o.secret},
		{Name: "v", URL: "http://h:2", AccessKey: "a", SecretKey: "b,c", PID: 9, Sync: "none, at all", Region: "us-east-1", Version: "not stated"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if o.rounds != 2 || o.preset != "core" || o.out != "bench-report.json" || o.schemes != "http" || o.shape.pool != 512<<20 {
		t.Errorf("%+v", o)
	}
	if o, err = parseOptions([]string{"compare", "-endpoints", file, "-ops", "GET"}); err != nil || o.preset != "" {
		t.Fatalf("%+v, %v", o, err)
	}
	if got, err := o.endpoints(); err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if o, err = parseOptions([]string{"compare", "sluice", "-endpoints", file}); err != nil {
		t.Fatal(err)
	}
	if got, err := o.endpoints(); err != nil || len(got) != 3 || got[0].Name != "sluice" || got[2].Name != "n" {
		t.Errorf("%+v, %v", got, err)
	}
	if o, err = parseOptions([]string{"compare", "sluice", "sluice"}); err != nil {
		t.Fatal(err)
	}
	if got, err := o.endpoints(); err != nil || got[1].Name != "sluice#2" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"compare", "compare other", "compare =bin", "compare x=", "compare x=http://h,colour=blue", "compare x=http://h,pid=no",
		"compare x=http://h,pid-file=/nowhere", "compare sluice -endpoints /nowhere", "compare x=http://",
		"compare sluice -server-cpus 0,1 -client-cpus 1", "matrix -ops MULTIPART -sizes 4KiB", "-part 1MiB", "-rate -1", "-rate x",
		"-preset other", "-syscalls maybe", "-backlog 0", "-mixture GET=0", "-range 0", "-pool x", "-server-cpus x",
	} {
		if _, err := parseOptions(strings.Fields(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	if _, err := parseOptions(strings.Fields("compare sluice -server-cpus 0 -client-cpus 0 -overlap")); err != nil {
		t.Error(err)
	}
}

func TestEndpointFilesAreChecked(t *testing.T) {
	for _, bad := range []string{"[[endpoint]]\nnmae = \"x\"\n", "[[endpoint", "[[endpoint]]\npid = \"x\"\n", "[[endpoint]]\ndrives = \"x\"\n"} {
		if _, err := parseEndpoints(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
