package s3fast

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

func TestGrowing(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 0, 5: 0, 6: 100 * time.Millisecond, 7: 200 * time.Millisecond, 8: 400 * time.Millisecond, 12: 4 * time.Second, 1 << 20: 4 * time.Second,
	} {
		if got := growing(failures, pairFree, pairDelay, pairMost); got != want {
			t.Errorf("%d failures: %s, want %s", failures, got, want)
		}
	}
}

func TestGuardForgets(t *testing.T) {
	g := newGuard(10)
	now := time.Unix(1000, 0)
	k := g.pair(netip.MustParseAddr("10.0.0.1"), "key")
	for range 16 {
		g.failed(k, now, false)
	}
	if n, _ := g.look(k, now.Add(halfLife)); n != 8 {
		t.Errorf("after one half-life %d failures, want 8", n)
	}
	if n, _ := g.look(k, now.Add(2*halfLife)); n != 4 {
		t.Errorf("after two %d, want 4", n)
	}
	g.forgive(k, now.Add(2*halfLife))
	if n, _ := g.look(k, now); n != 0 || g.count.Load() != 0 {
		t.Errorf("after a success %d failures, %d offenders", n, g.count.Load())
	}
	for range forgiven + 1 {
		g.failed(k, now, false)
	}
	g.forgive(k, now)
	if n, _ := g.look(k, now); n != forgiven+1 {
		t.Errorf("a success wipes out %d failures, too many for typing errors", n)
	}
	if n, _ := g.look(k, now.Add(time.Hour)); n != 0 || g.count.Load() != 0 {
		t.Errorf("after an hour %d failures, %d offenders", n, g.count.Load())
	}
}

// Whoever fails, and with however many keys, few are remembered; those with the
// most failures stay, and those being delayed.
func TestGuardIsBounded(t *testing.T) {
	g := newGuard(10)
	now := time.Unix(1000, 0)
	worst := g.pair(netip.MustParseAddr("10.0.0.1"), "worst")
	held := g.pair(netip.MustParseAddr("10.0.0.1"), "held")
	for range 50 {
		g.failed(worst, now, false)
	}
	g.failed(held, now, false)
	g.hold(held, 1)
	for i := range 100_000 {
		g.failed(g.pair(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "k"), now, false)
	}
	if n := g.count.Load(); n > guardShards*shardOffenders {
		t.Errorf("%d offenders", n)
	}
	if n, _ := g.look(worst, now); n != 50 {
		t.Errorf("the worst has %d failures", n)
	}
	if _, n := g.look(held, now); n != 1 {
		t.Errorf("the one being delayed has %d held", n)
	}
	g.hold(held, -1)
	now = now.Add(halfLife)
	for i := range pairBurst + 1 {
		if paid, wait := g.may(worst, now); paid != (i < pairBurst) || !paid && wait != pairMost {
			t.Errorf("try %d: %v, wait %s", i, paid, wait)
		}
	}
	if paid, _ := g.may(worst, now.Add(time.Second/pairTries)); !paid {
		t.Error("a twentieth of a second later there is no try")
	}
	full := g.shard(worst)
	for _, o := range full.m {
		o.held = 1
	}
	for i := 0; ; i++ {
		if k := g.pair(netip.MustParseAddr("10.9.9.9"), fmt.Sprint(i)); g.shard(k) == full && full.m[k] == nil {
			if n := g.failed(k, now, false); n <= pairFree {
				t.Errorf("no room to remember, and %d failures", n)
			}
			return
		}
	}
}

func TestClaimedKey(t *testing.T) {
	for _, c := range []struct{ auth, query, want string }{
		{"AWS4-HMAC-SHA256 Credential=alice/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00", "", "alice"},
		{"AWS4-HMAC-SHA256 Nothing", "", ""},
		{"", "X-Amz-Credential=bob%2F20260101%2Fus-east-1%2Fs3%2Faws4_request", "bob"},
		{"", "AWSAccessKeyId=carol&Signature=x", "carol"},
		{"", "list-type=2", ""},
	} {
		r := new(request)
		if c.auth != "" {
			r.headers.list = []pair{{"authorization", c.auth}}
		}
		r.query.pairs, _ = parseQuery(nil, c.query)
		if got := r.claimedKey(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// bad is a request signed with a wrong secret.
func (r *rig) bad(user string) string {
	good := r.head(call{method: "GET", target: "/", user: user})
	_, sig, _ := strings.Cut(good, "Signature=")
	sig, _, _ = strings.Cut(sig, "\r")
	return strings.Replace(good, sig, strings.Repeat("0", len(sig)), 1)
}

// Guessing gets slow, for unknown keys as for known ones; who signs correctly
// goes on as before.
func TestGuessingIsSlow(t *testing.T) {
	for _, user := range []string{rigUser, "nobody-knows"} {
		t.Run(user, func(t *testing.T) {
			r := newRig(t, nil)
			want := "403 SignatureDoesNotMatch"
			if user != rigUser {
				want = "403 InvalidAccessKeyId"
			}
			good := r.dial() // signs before, during and after
			br := bufio.NewReader(good)
			fine := func() {
				t.Helper()
				delayed := r.s.guard.delayed.Load()
				_, err := io.WriteString(good, r.head(call{method: "GET", target: "/"}))
				must(t, err)
				if a := r.read(br, "GET"); a.status != 200 {
					t.Fatalf("a good client gets %s", a)
				}
				if r.s.guard.delayed.Load() != delayed {
					t.Error("a good client is delayed")
				}
			}
			fine()
			for range pairFree {
				if a := r.raw("GET", r.bad(user)); a.String() != want {
					t.Fatalf("%s, want %s", a, want)
				}
			}
			if n := r.s.guard.delayed.Load(); n != 0 {
				t.Errorf("%d typing errors are delayed", n)
			}
			begun := time.Now()
			for range 2 {
				r.raw("GET", r.bad(user))
			}
			if took := time.Since(begun); took < 300*time.Millisecond {
				t.Errorf("two more guesses took %s, want 300ms", took)
			}
			// Of many at once only some are looked at.
			conns, guess := make([]net.Conn, 100), r.bad(user)
			for i := range conns {
				conns[i] = r.dial()
			}
			delayed := r.s.guard.delayed.Load()
			begun = time.Now()
			for _, conn := range conns {
				_, err := io.WriteString(conn, guess)
				must(t, err)
			}
			r.eventually("all have had to wait", func() bool { return r.s.guard.delayed.Load() == delayed+uint64(len(conns)) })
			more := uint64(time.Since(begun).Seconds()*pairTries) + 1
			fine()
			looked, refused := r.s.guard.failures.Load(), r.s.guard.refused.Load()
			if looked > pairFree+2+pairBurst+more || refused < 100-pairBurst-more {
				t.Errorf("of 100 guesses at once %d were looked at, %d refused", looked, refused)
			}
		})
	}
}

// Of guesses whose signatures are looked at at the same time no more pass than of
// those one after the other; what turns out to be no failure costs no try.
func TestTriesAreTakenAtOnce(t *testing.T) {
	r := newRig(t, nil)
	g, q := r.s.guard, &request{s: r.s}
	now := time.Now()
	pair := g.pair(q.peer(), rigUser)
	for range forgiven + 1 { // of which no success makes an end
		g.failed(pair, now, true)
	}
	looked := 0
	for range 2 * pairBurst {
		if paid, _ := g.refuses(q, rigUser, now); paid {
			looked++
		}
	}
	if looked != pairBurst {
		t.Errorf("%d of %d are looked at", looked, 2*pairBurst)
	}
	for range pairBurst {
		g.giveBack(pair)
	}
	r.s.draining.Store(true) // nobody waits
	for range 3 * pairBurst {
		must(t, q.guarded(rigUser, func(q *request) error { return nil }))
	}
	begun := time.Now()
	for i := range pairBurst {
		if err := q.guarded(rigUser, func(q *request) error { return s3err.SignatureDoesNotMatch.New() }); s3Error(err).Code != s3err.SignatureDoesNotMatch {
			t.Fatalf("guess %d: %s", i, err)
		}
	}
	if ahead := g.shard(pair).m[pair].tries.ahead(begun.UnixNano()); ahead < pairBurst*pairEach {
		t.Errorf("%d failures took %s of tries", pairBurst, time.Duration(ahead))
	}
}

// Typing errors are forgotten with the first success.
func TestGuardForgivesOverHTTP(t *testing.T) {
	r := newRig(t, nil)
	for range 4 {
		for range pairFree {
			r.raw("GET", r.bad(rigUser))
		}
		r.want(call{method: "GET", target: "/"}, "200")
	}
	if n := r.s.guard.delayed.Load(); n != 0 {
		t.Errorf("%d answers were delayed", n)
	}
}

// Where too many are delayed, the rest is answered at once and its connection
// waits instead.
func TestDelaysAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxRequests = 8 }) // two delayed
	for range pairFree + 4 {
		r.raw("GET", r.bad("x"))
	}
	for range 4 {
		r.slowDial(r.bad("x"))
	}
	r.eventually("two are delayed", func() bool { return r.s.guard.held.Load() == 2 })
	conn := r.dial()
	br := bufio.NewReader(conn)
	delayed := r.s.guard.delayed.Load()
	_, err := io.WriteString(conn, r.bad("x"))
	must(t, err)
	r.read(br, "GET")
	if r.s.guard.delayed.Load() != delayed {
		t.Error("an answer beyond the bound was delayed")
	}
	begun := time.Now()
	_, err = io.WriteString(conn, r.head(call{method: "GET", target: "/"}))
	must(t, err)
	if a := r.read(br, "GET"); a.status != 200 || time.Since(begun) < 400*time.Millisecond {
		t.Errorf("the next request on the connection: %s after %s", a, time.Since(begun))
	}
}

// Clients behind a trusted proxy are told apart by what it says of them.
func TestGuardBehindProxy(t *testing.T) {
	r := newRig(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	from := func(text, addr string) string {
		return strings.Replace(text, "\r\n", "\r\nX-Forwarded-For: "+addr+"\r\n", 1)
	}
	for range pairFree + 1 {
		r.raw("GET", from(r.bad(rigUser), "192.0.2.1"))
	}
	delayed := r.s.guard.delayed.Load()
	if delayed == 0 {
		t.Fatal("nothing was delayed")
	}
	r.raw("GET", from(r.bad(rigUser), "192.0.2.2"))
	if r.s.guard.delayed.Load() != delayed {
		t.Error("another client of the proxy is delayed")
	}
}

// The connections idle longest are closed first; busy and young ones stay.
func TestCloseIdle(t *testing.T) {
	r := newRig(t, nil)
	text := r.head(call{method: "GET", target: "/"})
	var readers []*bufio.Reader
	for range 3 {
		conn := r.dial()
		_, err := io.WriteString(conn, text)
		must(t, err)
		readers = append(readers, bufio.NewReader(conn))
		r.read(readers[len(readers)-1], "GET")
		time.Sleep(150 * time.Millisecond)
	}
	busy := r.slowDial("GET / HT") // within a header
	time.Sleep(300 * time.Millisecond)
	here := netip.MustParseAddr("127.0.0.1")
	if n := r.s.CloseIdle(10, time.Hour, here); n != 0 {
		t.Errorf("%d closed, none is an hour old", n)
	}
	if n := r.s.CloseIdle(10, 0, netip.MustParseAddr("10.1.1.1")); n != 0 {
		t.Errorf("%d of another address closed", n)
	}
	if n := r.s.CloseIdle(1, 0, here); n != 1 {
		t.Errorf("%d closed, want 1", n)
	}
	if _, err := readers[0].ReadByte(); err != io.EOF {
		t.Errorf("the oldest: %v", err)
	}
	if n := r.s.CloseIdle(10, 0, netip.Addr{}); n != 2 {
		t.Errorf("%d closed, want the other 2", n)
	}
	_, err := io.WriteString(busy, text[len("GET / HT"):])
	must(t, err)
	if a := r.read(bufio.NewReader(busy), "GET"); a.status != 200 {
		t.Errorf("a busy connection: %s", a)
	}
}
