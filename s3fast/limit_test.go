package s3fast

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/iam"
)

func TestBucket(t *testing.T) {
	var b bucket
	const each, depth = 100, 300 // three at once, one per 100 ns
	now := int64(1_000_000)
	for i := range 3 {
		if wait := b.take(now, each, depth); wait != 0 {
			t.Fatalf("take %d waits %d", i, wait)
		}
	}
	if wait := b.take(now, each, depth); wait != 100 {
		t.Errorf("the fourth at once waits %d, want 100", wait)
	}
	if wait := b.take(now+99, each, depth); wait != 1 {
		t.Errorf("a refused take must cost nothing: %d", wait)
	}
	if wait := b.take(now+100, each, depth); wait != 0 {
		t.Errorf("after its time: %d", wait)
	}
	if ahead := b.ahead(now + 100); ahead != 300 {
		t.Errorf("ahead by %d", ahead)
	}
	if ahead := b.owe(now+100, 1000); ahead != 1300 {
		t.Errorf("owing: %d", ahead)
	}
}

// Over a longer time exactly the rate is admitted, whatever the number of
// goroutines that try.
func TestRateUnderContention(t *testing.T) {
	var b bucket
	var got int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			mine := int64(0)
			for now := int64(0); now < 10_000; now += 10 {
				if b.take(1_000_000+now, 100, 500) == 0 {
					mine++
				}
			}
			mu.Lock()
			got += mine
			mu.Unlock()
		})
	}
	wg.Wait()
	// 10,000 ns at one per 100 ns, and 5 at once; goroutines' clocks are apart.
	if got < 100 || got > 106 {
		t.Errorf("%d admitted, want 100 to 106", got)
	}
}

func TestLimitsAdmit(t *testing.T) {
	now := time.Unix(1000, 0)
	var none Limits
	if sub, wait := none.admit("a", now); sub != nil || wait != 0 {
		t.Error("the zero Limits limit")
	}
	l := new(Limits)
	l.Set(LimitSettings{
		Default:   Rates{Requests: 2},
		Anonymous: Rates{Concurrency: 1},
		Users:     map[string]Rates{"free": {}, "busy": {Concurrency: 2, Requests: 1, Burst: 100}, "slow": {Requests: 0.5}},
	})
	if sub, wait := l.admit("free", now); sub != nil || wait != 0 {
		t.Error("an empty setting of a user's own lifts the default")
	}
	for i, c := range []struct {
		name string
		at   time.Duration
		ok   bool
		wait time.Duration
	}{
		{"a", 0, true, 0}, {"a", 0, true, 0}, {"a", 0, false, 500 * time.Millisecond}, {"b", 0, true, 0},
		{"a", 500 * time.Millisecond, true, 0}, {"a", 600 * time.Millisecond, false, 400 * time.Millisecond},
		{"slow", 0, true, 0}, {"slow", time.Second, false, time.Second}, {"slow", 2 * time.Second, true, 0},
		{"", 0, true, 0}, {"", 0, false, time.Second},
		{"busy", 0, true, 0}, {"busy", 0, true, 0}, {"busy", 0, false, time.Second},
	} {
		sub, wait := l.admit(c.name, now.Add(c.at))
		if (sub != nil) != c.ok || wait != c.wait {
			t.Errorf("%d: %q at %s: %v, wait %s", i, c.name, c.at, sub != nil, wait)
		}
	}
	if u := l.Usage("busy"); u.Running != 2 || u.Refused != 1 {
		t.Errorf("usage %+v", u)
	}
	if u := l.Usage(""); u.Running != 1 || u.Refused != 1 {
		t.Errorf("anonymous usage %+v", u)
	}
	if u := l.Usage("stranger"); u != (LimitUsage{}) || l.Refused() != 5 {
		t.Errorf("%+v, %d refused", u, l.Refused())
	}
	l.anonymous.leave()
	if sub, _ := l.admit("", now); sub == nil {
		t.Error("a slot that was left is not given again")
	}
	l.Set(LimitSettings{})
	if sub, wait := l.admit("a", now); sub != nil || wait != 0 {
		t.Error("limits that were taken back still hold")
	}
}

func TestByteRates(t *testing.T) {
	now := time.Unix(1000, 0)
	l := new(Limits)
	l.Set(LimitSettings{Default: Rates{InBytes: 1000, OutBytes: 100}})
	sub, _ := l.admit("a", now)
	if !sub.paced() {
		t.Fatal("not paced")
	}
	if wait := sub.received(200, now); wait > 0 {
		t.Errorf("a fifth of a second's worth waits %s", wait)
	}
	if wait := sub.received(1050, now); wait != time.Second {
		t.Errorf("1.25 s of debt waits %s", wait)
	}
	if sub, _ := l.admit("a", now); sub == nil {
		t.Error("little debt refuses the next request")
	}
	sub.sent(1000, now)
	if sub, wait := l.admit("a", now); sub != nil || wait != 8*time.Second {
		t.Errorf("10 s of debt: wait %s", wait)
	}
	if sub, _ := l.admit("a", now.Add(8*time.Second)); sub == nil {
		t.Error("a debt that was paid still refuses")
	}
}

// However many users come by, few are remembered, and none that is in use is
// forgotten.
func TestLimitsAreBounded(t *testing.T) {
	l := new(Limits)
	l.Set(LimitSettings{Default: Rates{Requests: 0.001, Concurrency: 5}})
	now := time.Unix(1000, 0)
	kept, _ := l.admit("kept", now)
	for i := range 100_000 {
		sub, wait := l.admit(fmt.Sprint("user", i), now)
		if wait != 0 {
			t.Fatalf("user %d: %s", i, wait)
		}
		sub.leave()
	}
	total := 0
	for i := range l.shards {
		total += len(l.shards[i].m)
	}
	if total > limitShards*shardSubjects {
		t.Errorf("%d users remembered", total)
	}
	if l.Usage("kept").Running != 1 {
		t.Error("a user with a request in flight was forgotten")
	}
	kept.leave()
	// Users that owe nothing go all at once.
	later := now.Add(time.Hour)
	shard := l.shard("new")
	for i := 0; len(shard.m) < shardSubjects; i++ {
		if name := fmt.Sprint("x", i); l.shard(name) == shard {
			sub, _ := l.admit(name, now)
			sub.leave()
		}
	}
	l.admit("new", later)
	if len(shard.m) > 2 {
		t.Errorf("%d users left in the shard", len(shard.m))
	}
}

func TestAdmitAllocatesNothing(t *testing.T) {
	l := new(Limits)
	l.Set(LimitSettings{Default: Rates{Requests: 1e9, Concurrency: 10}, Users: map[string]Rates{"own": {Requests: 1e9}}})
	id := &iam.Identity{Name: "own"}
	for _, name := range []string{"a", subjectName(id), ""} {
		if n := testing.AllocsPerRun(100, func() {
			if sub, _ := l.admit(name, time.Now()); sub != nil {
				sub.leave()
			}
		}); n > 0 {
			t.Errorf("%q: %v allocations", name, n)
		}
	}
}

func TestSubjectName(t *testing.T) {
	for want, id := range map[string]*iam.Identity{
		"": nil, "u": {Name: "u", AccessKey: "k"}, "w": {UserID: "w:any-session", AccessKey: "k"}, "k": {AccessKey: "k"},
	} {
		if got := subjectName(id); got != want {
			t.Errorf("%+v: %q, want %q", id, got, want)
		}
	}
}

func TestAddressKey(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "::ffff:10.1.2.3": "10.1.2.3",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::", "::1": "::",
	} {
		if got := AddressKey(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
