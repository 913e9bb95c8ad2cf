package s3fast

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// What failed signatures cost. Per access key and address guesses are slowed
// down to a few a second; a whole address that fails with many keys is slowed
// down less, for many clients may share it. Only answers to failures are
// delayed, and what waits is a connection, so that whoever guesses on a few of
// them never gets beyond pairTries. Requests that may be good are refused
// unverified only beyond that, and never on a connection whose last request the
// same key had signed correctly: a client behind the same address and with the
// same key as a guesser goes on, and may have to try again only to begin.
const (
	pairFree  = 5  // failures of a key and address that cost nothing
	pairTries = 20 // more failures per second, beyond which no signature is verified
	pairBurst = 40 // of them at once
	pairEach  = int64(time.Second / pairTries)
	addrFree  = 100 // failures of an address that cost nothing
	addrHeld  = 64  // of an address delayed at a time; then unknown keys are refused
	forgiven  = 20  // more failures than these a success does not wipe out
	pairDelay = 100 * time.Millisecond
	pairMost  = 4 * time.Second
	addrDelay = 50 * time.Millisecond
	addrMost  = time.Second
	refusal   = time.Second      // least delay of an answer to a request refused unverified
	halfLife  = 30 * time.Second // after so long without a failure half of them are forgotten

	guardShards    = 64
	shardOffenders = 256 // 16,384 offenders in all
)

// guard delays guessing of secrets. What it remembers is bounded, and so are
// the requests it delays at a time: beyond that it answers at once and leaves
// the connection unread for as long instead, which costs what an idle one does.
type guard struct {
	seed   maphash.Seed
	count  atomic.Int64 // offenders; with none a request costs one load
	held   atomic.Int64 // requests being delayed
	most   int64        // bound of held
	shards [guardShards]guardShard

	failures, delayed, refused atomic.Uint64
}

type guardShard struct {
	mu sync.Mutex
	m  map[offenderKey]*offender
}

// offenderKey is a pair of access key and address, or with key 0 the address.
type offenderKey struct {
	addr netip.Addr
	key  uint64 // hash of the access key
}

// offender is guarded by its shard's mu.
type offender struct {
	failures int
	held     int       // of an address: delayed at the moment
	last     time.Time // of the failures
	tries    bucket    // of failures beyond pairFree
}

func newGuard(most int) *guard {
	return &guard{seed: maphash.MakeSeed(), most: int64(max(1, most))}
}

func (g *guard) pair(addr netip.Addr, accessKey string) offenderKey {
	return offenderKey{addr, maphash.String(g.seed, accessKey) | 1}
}

func (g *guard) shard(k offenderKey) *guardShard {
	return &g.shards[maphash.Comparable(g.seed, k)%guardShards]
}

// fade forgets failures by the time that has passed.
func (o *offender) fade(now time.Time) {
	if halves := int64(now.Sub(o.last) / halfLife); halves > 0 {
		o.failures >>= min(halves, 30)
		o.last = now
	}
}

// look returns the failures of k and how many of its requests are delayed.
func (g *guard) look(k offenderKey, now time.Time) (failures, held int) {
	s := g.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.m[k]
	if o == nil {
		return 0, 0
	}
	o.fade(now)
	if o.failures == 0 && o.held == 0 {
		delete(s.m, k)
		g.count.Add(-1)
		return 0, 0
	}
	return o.failures, o.held
}

// may returns how long to delay the refusal of a signature of the pair k, 0 if
// it may be verified. Beyond pairFree failures that takes a try at once (paid),
// so that of many requests at a time no more are looked at; whoever then does
// not fail gets it back.
func (g *guard) may(k offenderKey, now time.Time) (paid bool, wait time.Duration) {
	s := g.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.m[k]
	if o == nil {
		return false, 0
	}
	if o.fade(now); o.failures <= pairFree {
		return false, 0
	}
	if o.tries.take(now.UnixNano(), pairEach, pairEach*pairBurst) == 0 {
		return true, 0
	}
	return false, max(refusal, growing(o.failures, pairFree, pairDelay, pairMost))
}

// giveBack returns a try of k that was paid for.
func (g *guard) giveBack(k offenderKey) {
	s := g.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.m[k]; o != nil {
		o.tries.due.Add(-pairEach)
	}
}

// failed counts a failure of k, whose try may have been paid for, and returns
// how many there are.
func (g *guard) failed(k offenderKey, now time.Time, paid bool) int {
	s := g.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.m[k]
	if o == nil {
		if s.m == nil {
			s.m = make(map[offenderKey]*offender)
		}
		if len(s.m) >= shardOffenders && !s.evict(g, now) {
			return pairFree + addrFree // every place is taken by one being delayed
		}
		o = &offender{last: now}
		s.m[k] = o
		g.count.Add(1)
	}
	o.fade(now)
	o.failures, o.last = min(o.failures+1, 1<<20), now
	if o.failures > pairFree && !paid {
		o.tries.owe(now.UnixNano(), pairEach)
	}
	return o.failures
}

// evict makes room by forgetting the offender with the fewest failures.
func (s *guardShard) evict(g *guard, now time.Time) bool {
	var victim offenderKey
	least := -1
	for k, o := range s.m {
		if o.held > 0 {
			continue
		}
		if o.fade(now); least < 0 || o.failures < least {
			victim, least = k, o.failures
		}
	}
	if least < 0 {
		return false
	}
	delete(s.m, victim)
	g.count.Add(-1)
	return true
}

// hold counts a request of k as delayed, or no longer so.
func (g *guard) hold(k offenderKey, by int) {
	s := g.shard(k)
	s.mu.Lock()
	if o := s.m[k]; o != nil {
		o.held = max(0, o.held+by)
	}
	s.mu.Unlock()
}

// forgive wipes out the failures of k unless they are too many for typing
// errors: then only time does, lest a guesser hide behind a good client.
func (g *guard) forgive(k offenderKey, now time.Time) {
	s := g.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.m[k]
	if o == nil {
		return
	}
	if o.fade(now); o.failures > forgiven || o.held > 0 {
		return
	}
	delete(s.m, k)
	g.count.Add(-1)
}

// growing returns first doubled for each failure beyond free, at most most.
func growing(failures, free int, first, most time.Duration) time.Duration {
	if failures <= free {
		return 0
	}
	return min(first<<min(failures-free-1, 20), most)
}

// guarded runs verify, which authenticates r with the access key given ("": the
// one its header or query names), unless too many attempts have failed lately:
// SlowDown. It delays the answer to failures.
func (r *request) guarded(accessKey string, verify func(*request) error) error {
	g, now := r.s.guard, time.Now()
	if accessKey == "" && (g.count.Load() > 0) {
		accessKey = r.claimedKey()
	}
	paid := false
	if g.count.Load() > 0 && accessKey != "" && !r.trusted(accessKey) {
		var wait time.Duration
		if paid, wait = g.refuses(r, accessKey, now); wait > 0 {
			g.refused.Add(1)
			r.retry = wait
			g.delay(r, wait)
			return s3err.SlowDown.New()
		}
	}
	err := verify(r)
	if paid && (err == nil || !guessed(err)) {
		g.giveBack(g.pair(r.peer(), accessKey))
	}
	if err == nil {
		if g.count.Load() > 0 && r.identity != nil && r.auth.AccessKey == accessKey {
			g.forgive(g.pair(r.peer(), accessKey), now)
		}
		if r.conn != nil {
			r.conn.signed = r.auth.AccessKey
		}
		return nil
	}
	if !guessed(err) {
		return err
	}
	if accessKey == "" {
		accessKey = r.claimedKey()
	}
	g.failures.Add(1)
	if r.conn != nil {
		r.conn.signed = ""
	}
	pair, addr := g.pair(r.peer(), accessKey), offenderKey{addr: r.peer()}
	wait := growing(g.failed(pair, now, paid), pairFree, pairDelay, pairMost)
	wait = max(wait, growing(g.failed(addr, now, false)/10, addrFree/10, addrDelay, addrMost))
	if wait > 0 {
		g.hold(addr, 1)
		g.delay(r, wait)
		g.hold(addr, -1)
	}
	return err
}

// refuses returns after how long a request is to be refused before its signature
// is looked at, 0 if it is not; paid is that of may.
func (g *guard) refuses(r *request, accessKey string, now time.Time) (paid bool, wait time.Duration) {
	addr := r.peer()
	failures, held := g.look(offenderKey{addr: addr}, now)
	if failures > addrFree && held >= addrHeld && !r.s.cfg.IAM.Known(accessKey) {
		return false, refusal
	}
	return g.may(g.pair(addr, accessKey), now)
}

// delay holds the request back. Where too many are, it is answered at once and
// its connection is not read for as long.
func (g *guard) delay(r *request, wait time.Duration) {
	if g.held.Add(1) > g.most {
		g.held.Add(-1)
		if r.conn != nil && !r.proxied() {
			r.conn.pause = time.Now().Add(wait)
		}
		return
	}
	g.delayed.Add(1)
	r.s.rest(wait)
	g.held.Add(-1)
}

// appendAbuse appends the counters of limits and guard.
func (s *Server) appendAbuse(dst []byte) []byte {
	if s.cfg.Limits != nil {
		dst = counter(dst, "sluice_s3_limited_requests_total", s.cfg.Limits.Refused())
	}
	dst = counter(dst, "sluice_s3_bad_signatures_total", s.guard.failures.Load())
	dst = counter(dst, "sluice_s3_delayed_answers_total", s.guard.delayed.Load())
	dst = counter(dst, "sluice_s3_unverified_refusals_total", s.guard.refused.Load())
	return gauge(dst, "sluice_s3_answers_delayed", s.guard.held.Load())
}

// rest sleeps, but not into a shutdown.
func (s *Server) rest(wait time.Duration) {
	const step = 100 * time.Millisecond
	for end := time.Now().Add(wait); !s.draining.Load(); {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, step))
	}
}

// guessed tells the failures that an attempt to guess a key or secret makes.
func guessed(err error) bool {
	switch s3Error(err).Code {
	case s3err.InvalidAccessKeyID, s3err.SignatureDoesNotMatch, s3err.InvalidToken:
		return true
	}
	return false
}

// trusted tells whether the connection's last signature was a good one by the
// same access key.
func (r *request) trusted(accessKey string) bool {
	return r.conn != nil && r.conn.signed == accessKey && !r.proxied()
}

// proxied tells whether the connection is a trusted proxy's, which carries the
// requests of many clients.
func (r *request) proxied() bool {
	return len(r.s.cfg.TrustedProxies) > 0 && r.s.trusts(addrOf(r.ctx.RemoteAddr()))
}

// claimedKey is the access key that the request claims to be signed with, ""
// when it names none. Nothing about it has been verified.
func (r *request) claimedKey() string {
	if auth, _ := r.headers.get("authorization"); strings.Trim(auth, " \t") != "" {
		if _, scope, found := strings.Cut(auth, "Credential="); found {
			key, _, _ := strings.Cut(scope, "/")
			return key
		}
		return ""
	}
	if scope, ok := r.query.get("X-Amz-Credential"); ok {
		key, _, _ := strings.Cut(scope, "/")
		return key
	}
	key, _ := r.query.get("AWSAccessKeyId")
	return key
}

// peer is the address that the request's failures count for.
func (r *request) peer() netip.Addr {
	switch {
	case r.conn == nil:
		return netip.Addr{}
	case r.proxied():
		return AddressKey(r.source())
	}
	return r.conn.peer
}

// AddressKey is what stands for a client address where clients are counted:
// IPv4 addresses as they are, IPv6 ones by their /64, which one host or
// household has to itself.
func AddressKey(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}
