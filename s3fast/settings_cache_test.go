package s3fast

import (
	"net"
	"net/netip"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine/meta"
)

// What a load read before a change is never kept after it.
func TestSettingsCacheTurn(t *testing.T) {
	var c settingsCache
	old, fresh := &settings{}, &settings{public: true}
	_, turn := c.get(1)
	c.forget(1) // a change, while the documents are read
	c.put(1, old, turn)
	if set, _ := c.get(1); set != nil {
		t.Fatal("stale settings were kept")
	}
	_, turn = c.get(1)
	c.put(1, fresh, turn)
	c.put(1, old, turn) // another load of the same turn: the first stays
	if set, _ := c.get(1); set != fresh {
		t.Fatal("fresh settings were not kept")
	}
	c.forget(1)
	c.forget(1)
	if set, _ := c.get(1); set != nil || c.shard(1).weight != 0 {
		t.Fatalf("%+v, weight %d", set, c.shard(1).weight)
	}
}

// The cache is bounded by entries and by bytes, and its account is right.
func TestSettingsCacheBounds(t *testing.T) {
	var c settingsCache
	heavy := &settings{policyDoc: make([]byte, 20<<10)}
	for i := range meta.BucketID(200_000) {
		set := plainSettings
		if i%20 == 0 {
			set = heavy
		}
		_, turn := c.get(i)
		c.put(i, set, turn)
		if got, _ := c.get(i); got != set {
			t.Fatalf("%d was not kept", i)
		}
	}
	total := 0
	for i := range c.shards {
		shard := &c.shards[i]
		weight := 0
		for _, set := range shard.byID {
			weight += set.size()
		}
		if weight != shard.weight || weight > shardWeight || len(shard.byID) > shardEntries {
			t.Errorf("shard %d: %d entries of %d bytes, account %d", i, len(shard.byID), weight, shard.weight)
		}
		total += len(shard.byID)
	}
	if total < 5000 {
		t.Errorf("only %d entries kept", total)
	}
}

// Settings in memory cost nothing to get.
func TestSettingsOfAllocates(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.setPolicy(allow("*", "GetObject", "/*", ""))
	b, err := r.engine.Bucket(t.Context(), "bkt")
	must(t, err)
	if n := testing.AllocsPerRun(100, func() {
		if set, err := r.s.settingsOf(t.Context(), &b); err != nil || set.policy == nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// source believes X-Forwarded-For as far as trusted proxies wrote it.
func TestSource(t *testing.T) {
	s := &Server{cfg: Config{TrustedProxies: prefixes("10.0.0.0/8", "fd00::/8")}}
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1", nil, "192.0.2.1"},
		{"192.0.2.1", []string{"198.51.100.1"}, "192.0.2.1"}, // not from a proxy
		{"10.0.0.1", nil, "10.0.0.1"},
		{"10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1", []string{"203.0.113.9,198.51.100.1 ,10.0.0.7"}, "198.51.100.1"},
		{"10.0.0.1", []string{"203.0.113.9", "198.51.100.1", "10.0.0.7"}, "198.51.100.1"},
		{"10.0.0.1", []string{"10.0.0.9, 10.0.0.8"}, "10.0.0.9"},
		{"10.0.0.1", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"10.0.0.1", []string{"198.51.100.1, unknown, 10.0.0.7"}, "10.0.0.7"},
		{"10.0.0.1", []string{""}, "10.0.0.1"},
		{"10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"fd00::1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"fd00::1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"fd00::1", []string{"fe80::1%eth0"}, "fe80::1"},
		{"::ffff:10.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
	} {
		ctx := new(fasthttp.RequestCtx)
		ctx.Init(&fasthttp.Request{}, tcpAddr(c.peer), nil)
		r := &request{s: s, ctx: ctx}
		for _, v := range c.forwarded {
			r.headers.list = append(r.headers.list, pair{"x-forwarded-for", v})
		}
		if got := r.source().String(); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}

// FuzzSource: no header moves the client into the proxies' trust, or panics.
func FuzzSource(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.7", "10.0.0.1:80")
	f.Add(",,[::]:1", "fe80::1%x")
	s := &Server{cfg: Config{TrustedProxies: prefixes("10.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, peer := range []string{"10.0.0.1", "192.0.2.1"} {
			ctx := new(fasthttp.RequestCtx)
			ctx.Init(&fasthttp.Request{}, tcpAddr(peer), nil)
			r := &request{s: s, ctx: ctx, headers: headers{list: []pair{{"x-forwarded-for", a}, {"x-forwarded-for", b}}}}
			got := r.source()
			if !got.IsValid() || peer == "192.0.2.1" && got.String() != peer {
				t.Fatalf("%s %q %q: %s", peer, a, b, got)
			}
		}
	})
}

// FuzzPreset: whatever is stored, its name can be told, and presets stay such.
func FuzzPreset(f *testing.F) {
	for _, name := range []string{PresetDownload, PresetUpload, PresetPublic} {
		doc, _ := PresetPolicy(name, "bkt")
		f.Add(doc)
	}
	f.Add([]byte(`{"Statement":{"Principal":{"AWS":null},"Action":[1]}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		name := PolicyPreset(doc, "bkt")
		if _, ok := PresetPolicy(name, "bkt"); !ok && name != PresetCustom {
			t.Fatal(name)
		}
	})
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func tcpAddr(ip string) *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711} }
