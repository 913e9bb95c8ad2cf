package s3fast

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// Rates bound what one user, or all anonymous clients together, may ask of the
// server. A zero field bounds nothing.
type Rates struct {
	// Requests per second, over longer times; as many as Burst at once.
	Requests float64 `json:"requests_per_second,omitempty"`
	// Burst in requests; 0: what Requests allows in one second, at least 1.
	Burst int `json:"burst,omitempty"`
	// Concurrency is the most requests in flight. A request is in flight until
	// its answer has been sent whole.
	Concurrency int `json:"concurrency,omitempty"`
	// InBytes and OutBytes are bytes per second received and sent, as counted
	// on the connection. Transfers are slowed down to them.
	InBytes  int64 `json:"in_bytes_per_second,omitempty"`
	OutBytes int64 `json:"out_bytes_per_second,omitempty"`
}

// IsZero reports whether nothing is bounded.
func (r Rates) IsZero() bool { return r == Rates{} }

// LimitSettings are the limits of a cluster. Service accounts and sessions
// count as their user.
type LimitSettings struct {
	Default   Rates            `json:"default,omitzero"`   // each user that has none of its own
	Anonymous Rates            `json:"anonymous,omitzero"` // unsigned requests, together
	Users     map[string]Rates `json:"users,omitempty"`    // a user's own, in place of Default
}

const (
	limitShards = 64
	// shardSubjects bounds the users remembered per shard: 65,536 in all.
	shardSubjects = 1024
	// debtMost is how far ahead of its byte rates a user may get before new
	// requests are refused.
	debtMost = 2 * time.Second
	// retryMost bounds Retry-After.
	retryMost = time.Minute
)

// Limits keep each user, and anonymous clients together, within their Rates. The
// zero value, and a nil *Limits, limit nobody. Safe for concurrent use.
//
// An admission takes no exclusive lock and allocates nothing but at a user's
// first request; users that are not limited are not remembered at all.
type Limits struct {
	settings  atomic.Pointer[LimitSettings]
	anonymous subject
	shards    [limitShards]limitShard
	refused   atomic.Uint64
}

type limitShard struct {
	mu sync.RWMutex
	m  map[string]*subject
}

// subject is what a user has used lately.
type subject struct {
	requests bucket
	in, out  bucket
	running  atomic.Int64
	refused  atomic.Uint64
	rates    atomic.Pointer[Rates] // those of the last admission, for pacing
}

// bucket is a token bucket in the form of the generic cell rate algorithm: the
// time, in Unix nanoseconds, at which everything taken so far will have been
// paid for at the rate.
type bucket struct{ due atomic.Int64 }

// take takes a cost of each nanoseconds unless the bucket would be more than
// depth nanoseconds ahead of now; then it returns the nanoseconds to wait.
func (b *bucket) take(now, each, depth int64) (wait int64) {
	for {
		due := b.due.Load()
		next := max(due, now) + each
		if wait = next - now - depth; wait > 0 {
			return wait
		}
		if b.due.CompareAndSwap(due, next) {
			return 0
		}
	}
}

// owe takes cost nanoseconds, whatever the bucket holds, and returns how far it
// is ahead of now.
func (b *bucket) owe(now, cost int64) (ahead int64) {
	for {
		due := b.due.Load()
		next := max(due, now) + cost
		if b.due.CompareAndSwap(due, next) {
			return next - now
		}
	}
}

// ahead returns how far the bucket is ahead of now, in nanoseconds.
func (b *bucket) ahead(now int64) int64 { return b.due.Load() - now }

// Set puts settings in force, at once. The caller must not change them later.
func (l *Limits) Set(settings LimitSettings) { l.settings.Store(&settings) }

// Settings returns what is in force. It must not be changed.
func (l *Limits) Settings() LimitSettings {
	if set := l.settings.Load(); set != nil {
		return *set
	}
	return LimitSettings{}
}

// LimitUsage is what a limited user does at the moment.
type LimitUsage struct {
	Running int64  // requests in flight
	Refused uint64 // since the server's start, or since it was last forgotten
}

// Usage returns the usage of a user, or of anonymous clients (name "").
func (l *Limits) Usage(name string) LimitUsage {
	sub := &l.anonymous
	if name != "" {
		shard := l.shard(name)
		shard.mu.RLock()
		sub = shard.m[name]
		shard.mu.RUnlock()
	}
	if sub == nil {
		return LimitUsage{}
	}
	return LimitUsage{Running: sub.running.Load(), Refused: sub.refused.Load()}
}

// Refused returns how many requests were refused since the server's start.
func (l *Limits) Refused() uint64 { return l.refused.Load() }

// shard finds a name's shard by FNV-1a.
func (l *Limits) shard(name string) *limitShard {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return &l.shards[h%limitShards]
}

// subjectName is whom a request counts for: "" is anonymous.
func subjectName(id *iam.Identity) string {
	switch {
	case id == nil:
		return ""
	case id.Name != "":
		return id.Name
	case id.UserID != "": // a web identity has no user, and may name each of its sessions as it likes
		user, _, _ := strings.Cut(id.UserID, ":")
		return user
	}
	return id.AccessKey
}

// admit counts a request of a user in. A nil subject with wait 0: it is not
// limited. wait > 0: it is refused, and may be tried again after so long.
func (l *Limits) admit(name string, now time.Time) (sub *subject, wait time.Duration) {
	set := l.settings.Load()
	if set == nil {
		return nil, 0
	}
	var rates *Rates
	if name == "" {
		rates = &set.Anonymous
	} else if own, ok := set.Users[name]; ok {
		rates = &own
	} else {
		rates = &set.Default
	}
	if rates.IsZero() {
		return nil, 0
	}
	at := now.UnixNano()
	if name == "" {
		sub = &l.anonymous
		sub.running.Add(1)
	} else {
		sub = l.enter(name, at)
	}
	if wait := sub.check(rates, at); wait > 0 {
		sub.running.Add(-1)
		sub.refused.Add(1)
		l.refused.Add(1)
		return nil, time.Duration(wait)
	}
	if old := sub.rates.Load(); old == nil || *old != *rates {
		kept := *rates
		sub.rates.Store(&kept)
	}
	return sub, 0
}

// check applies rates to a request that has been counted as running. It returns
// 0, or the nanoseconds after which another try makes sense.
func (s *subject) check(rates *Rates, now int64) int64 {
	if rates.Concurrency > 0 && s.running.Load() > int64(rates.Concurrency) {
		return int64(time.Second)
	}
	if rates.InBytes > 0 {
		if ahead := s.in.ahead(now); ahead > int64(debtMost) {
			return ahead - int64(debtMost)
		}
	}
	if rates.OutBytes > 0 {
		if ahead := s.out.ahead(now); ahead > int64(debtMost) {
			return ahead - int64(debtMost)
		}
	}
	if rates.Requests <= 0 {
		return 0
	}
	each := float64(time.Second) / rates.Requests
	burst := float64(rates.Burst)
	if burst == 0 {
		burst = max(1, rates.Requests)
	}
	// Rates are at least one request an hour (see Check), so neither overflows.
	return s.requests.take(now, int64(each), int64(min(each*burst, math.MaxInt64/4)))
}

// enter finds or makes the subject of a name and counts a request in. The count
// is raised under the shard's lock, so that no subject in use is forgotten.
func (l *Limits) enter(name string, now int64) *subject {
	shard := l.shard(name)
	shard.mu.RLock()
	sub := shard.m[name]
	if sub != nil {
		sub.running.Add(1)
	}
	shard.mu.RUnlock()
	if sub != nil {
		return sub
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if sub = shard.m[name]; sub == nil {
		if shard.m == nil {
			shard.m = make(map[string]*subject)
		}
		if len(shard.m) >= shardSubjects {
			shard.evict(now)
		}
		sub = new(subject)
		shard.m[name] = sub
	}
	sub.running.Add(1)
	return sub
}

// evict forgets users that owe nothing, for whom a new subject is the same, or
// where there are none some of those without a request in flight: the number of
// the others, unlike that of users, is bounded by the server's requests. It makes
// room for many, so that a new user costs little.
func (shard *limitShard) evict(now int64) {
	for name, sub := range shard.m {
		if sub.running.Load() == 0 && sub.requests.ahead(now) <= 0 && sub.in.ahead(now) <= 0 && sub.out.ahead(now) <= 0 {
			delete(shard.m, name)
		}
	}
	for name, sub := range shard.m {
		if len(shard.m) <= shardSubjects*7/8 {
			return
		}
		if sub.running.Load() == 0 {
			delete(shard.m, name)
		}
	}
}

// leave ends what admit began.
func (s *subject) leave() { s.running.Add(-1) }

// received and sent count n bytes and return how long the transfer should pause
// to keep within the rate.
func (s *subject) received(n int, now time.Time) time.Duration {
	return charge(&s.in, s.rates.Load().InBytes, n, now)
}

func (s *subject) sent(n int, now time.Time) time.Duration {
	return charge(&s.out, s.rates.Load().OutBytes, n, now)
}

// charge takes n bytes at rate per second. A quarter of a second's worth is free
// of waiting, so that small transfers run at full speed.
func charge(b *bucket, rate int64, n int, now time.Time) time.Duration {
	if rate <= 0 || n <= 0 {
		return 0
	}
	cost := float64(n) / float64(rate) * float64(time.Second)
	return time.Duration(b.owe(now.UnixNano(), int64(cost))) - 250*time.Millisecond
}

// paced reports whether transfers have a rate to keep.
func (s *subject) paced() bool {
	rates := s.rates.Load()
	return rates.InBytes > 0 || rates.OutBytes > 0
}

// admit refuses an authenticated request that is beyond its user's limits:
// SlowDown. What it begins ends with the connection's finish, when the answer
// has been sent; without a connection, with dismiss.
func (r *request) admit() error {
	l := r.s.cfg.Limits
	if l == nil || l.settings.Load() == nil || r.grant != nil || r.conn != nil && r.conn.grant != nil {
		return nil
	}
	sub, wait := l.admit(subjectName(r.identity), time.Now())
	if wait > 0 {
		r.retry = wait
		return s3err.SlowDown.New()
	}
	if r.conn == nil || sub == nil {
		r.grant = sub
		return nil
	}
	r.conn.grant, r.conn.paced = sub, sub.paced()
	return nil
}

// dismiss may be called more than once, and without admit.
func (r *request) dismiss() {
	if sub := r.grant; sub != nil {
		r.grant = nil
		sub.leave()
	}
}

// retryAfter is the value of Retry-After, in whole seconds.
func (r *request) retryAfter() string {
	wait := min(max(r.retry, time.Second), retryMost)
	return decimal(int64((wait + time.Second - 1) / time.Second))
}
