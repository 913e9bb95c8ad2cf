package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/daemon/api"
)

// Choices of buckets and of the cluster, and what is in force.
func TestPerformance(t *testing.T) {
	d := onDrives(t, 1)
	if refusal := d.ask(t, "GET", "/v1/cluster/performance", nil, nil); refusal == nil || refusal.Code != api.CodeNotFound {
		t.Errorf("without a cluster: %v", refusal)
	}
	d.do(t, "POST", "/v1/cluster", api.CreateCluster{Name: "c", ConfigFS: configFS}, nil)
	d.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "plain"}, nil)
	d.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "fast", Type: api.BucketPerformant, Performance: api.Performance{Sorting: "sorted"}}, nil)
	of := func(bucket string) api.BucketPerformance {
		var p api.BucketPerformance
		d.do(t, "GET", "/v1/buckets/"+bucket+"/performance", nil, &p)
		return p
	}
	check := func(bucket, want string) {
		t.Helper()
		p := of(bucket)
		got := strings.Join([]string{p.Type, p.ETagAlg, p.IntegrityMode, p.Sorting, p.Settings.ETagAlg, p.Settings.IntegrityMode, p.Settings.Sorting}, " ")
		if got != want || p.Bucket != bucket {
			t.Errorf("%s: %s, want %s", bucket, got, want)
		}
	}
	check("plain", "STANDARD md5 client_defined sorted default default default")
	check("fast", "PERFORMANCE uid client_defined sorted default default sorted")

	d.do(t, "PATCH", "/v1/buckets/plain/performance", api.Performance{IntegrityMode: "disabled", ETagAlg: "uid"}, nil)
	d.do(t, "PATCH", "/v1/buckets/plain/performance", api.Performance{IntegrityMode: "default"}, nil)
	check("plain", "STANDARD uid client_defined sorted uid default default")
	d.do(t, "PATCH", "/v1/cluster", api.UpdateCluster{Standard: api.Performance{IntegrityMode: "disabled"}, Performance: api.Performance{ETagAlg: "md5"}}, nil)
	check("plain", "STANDARD uid disabled sorted uid default default")
	check("fast", "PERFORMANCE md5 client_defined sorted default default sorted")
	d.do(t, "PATCH", "/v1/cluster", api.UpdateCluster{Performance: api.Performance{ETagAlg: "default", IntegrityMode: "disabled"}}, nil)
	var all api.ClusterPerformance
	d.do(t, "GET", "/v1/cluster/performance", nil, &all)
	if want := (api.ClusterPerformance{
		Standard:    api.Performance{ETagAlg: "md5", IntegrityMode: "disabled", Sorting: "sorted"},
		Performance: api.Performance{ETagAlg: "uid", IntegrityMode: "disabled", Sorting: "unsorted"},
	}); all != want {
		t.Errorf("%+v", all)
	}
	// A reset is of one setting, and of PERFORMANCE buckets only.
	d.do(t, "PATCH", "/v1/buckets/fast/performance", api.Performance{ETagAlg: "md5"}, nil)
	var reset api.PerformanceReset
	d.do(t, "POST", "/v1/cluster/performance/reset", api.ResetPerformance{Setting: api.SettingETagAlg}, &reset)
	if !reflect.DeepEqual(reset.Buckets, []string{"fast"}) {
		t.Errorf("%+v", reset)
	}
	check("fast", "PERFORMANCE uid disabled sorted default default sorted")
	check("plain", "STANDARD uid disabled sorted uid default default")
	var list []api.BucketDetails
	d.do(t, "GET", "/v1/buckets?details=true", nil, &list)
	if len(list) != 2 || list[0].Name != "fast" || list[0].Type != api.BucketPerformant || list[0].ETagAlg != "uid" || list[1].Sorting != "sorted" {
		t.Errorf("%+v", list)
	}
}

func TestPerformanceRefusals(t *testing.T) {
	d := onDrives(t, 1)
	d.do(t, "POST", "/v1/cluster", api.CreateCluster{Name: "c", ConfigFS: configFS, Standard: api.Performance{ETagAlg: "uid"}}, nil)
	d.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "alpha"}, nil)
	for _, c := range []struct {
		method, path string
		in           any
		code         string
	}{
		{"POST", "/v1/buckets", api.CreateBucket{Name: "beta", Type: "QUICK"}, api.CodeUsage},
		{"POST", "/v1/buckets", api.CreateBucket{Name: "beta", Performance: api.Performance{Sorting: "random"}}, api.CodeUsage},
		{"PATCH", "/v1/buckets/alpha/performance", api.Performance{ETagAlg: "MD5"}, api.CodeUsage},
		{"PATCH", "/v1/buckets/alpha/performance", map[string]string{"type": "PERFORMANCE"}, api.CodeUsage},
		{"PATCH", "/v1/buckets/gone/performance", api.Performance{ETagAlg: "md5"}, api.CodeNotFound},
		{"GET", "/v1/buckets/gone/performance", nil, api.CodeNotFound},
		{"POST", "/v1/cluster/performance/reset", api.ResetPerformance{Setting: "type"}, api.CodeUsage},
		{"PATCH", "/v1/cluster", api.UpdateCluster{Standard: api.Performance{IntegrityMode: "off"}}, api.CodeUsage},
		{"PATCH", "/v1/cluster", api.UpdateCluster{Performance: api.Performance{IntegrityMode: "off"}}, api.CodeUsage},
		{"POST", "/v1/cluster", api.CreateCluster{Name: "c", ConfigFS: configFS, Standard: api.Performance{ETagAlg: "md5"}}, api.CodeConflict},
	} {
		before := contentOf(t, exportOf(t, d, "").Document)
		if refusal := d.ask(t, c.method, c.path, c.in, nil); refusal == nil || refusal.Code != c.code {
			t.Errorf("%s %s %+v: %v", c.method, c.path, c.in, refusal)
		}
		if contentOf(t, exportOf(t, d, "").Document) != before {
			t.Errorf("%s %s: refused, and something changed", c.method, c.path)
		}
	}
	d.do(t, "POST", "/v1/cluster", api.CreateCluster{Name: "c", ConfigFS: configFS, Standard: api.Performance{ETagAlg: "uid"}}, nil)
}

// The choices are part of an export: into a cluster that is new, and into one that is
// there.
func TestExportPerformance(t *testing.T) {
	from := onDrives(t, 1)
	chosen := api.Performance{ETagAlg: "uid", IntegrityMode: "disabled"}
	from.do(t, "POST", "/v1/cluster", api.CreateCluster{Name: "c", ConfigFS: configFS, Standard: chosen, Performance: api.Performance{Sorting: "sorted"}}, nil)
	from.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "fast", Type: api.BucketPerformant, Performance: api.Performance{ETagAlg: "md5"}}, nil)
	out := exportOf(t, from, "")
	for _, there := range []bool{false, true} {
		to := onDrives(t, 1)
		if there {
			to.do(t, "POST", "/v1/cluster", api.CreateCluster{Name: "c", ConfigFS: configFS}, nil)
			to.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "fast", Type: api.BucketPerformant}, nil)
		}
		to.do(t, "POST", "/v1/import", api.Import{Document: out.Document, Replace: true}, nil)
		rec := to.clusters.current.Load()
		if rec.Standard != chosen || rec.Performance != (api.Performance{Sorting: "sorted"}) {
			t.Errorf("%+v", rec)
		}
		p, err := to.s3.BucketPerformance(t.Context(), "fast")
		if err != nil || p.Type != api.BucketPerformant || p.Own.ETagAlg != "md5" || p.InForce.Sorting != "sorted" {
			t.Errorf("%+v, %v", p, err)
		}
		if contentOf(t, exportOf(t, to, "").Document) != contentOf(t, out.Document) {
			t.Error("the export of what was imported differs")
		}
		var again api.Imported
		to.do(t, "POST", "/v1/import", api.Import{Document: out.Document}, &again)
		for _, c := range again.Changes {
			if c.Action != api.ImportUnchanged {
				t.Errorf("again: %+v", c)
			}
		}
	}
	// One that chooses what there is not is refused whole.
	for _, change := range [][2]string{{`"etag_alg":"uid"`, `"etag_alg":"crc"`}, {`\"etag_alg\":\"md5\"`, `\"etag_alg\":\"md6\"`}, {`"sorting":"sorted"`, `"order":"sorted"`}} {
		was := compacted(t, out.Document)
		text := strings.Replace(was, change[0], change[1], 1)
		if text == was {
			t.Fatalf("no %s in %s", change[0], was)
		}
		to := onDrives(t, 1)
		if refusal := to.ask(t, "POST", "/v1/import", api.Import{Document: []byte(text)}, nil); refusal == nil || refusal.Code != api.CodeUsage {
			t.Errorf("%s: %v", change[1], refusal)
		}
		if to.clusters.current.Load() != nil {
			t.Errorf("%s: refused, and there is a cluster", change[1])
		}
	}
}

func compacted(t *testing.T, doc []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
