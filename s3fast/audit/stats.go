package audit

import (
	"strconv"
	"sync/atomic"
	"time"
)

// counters are the webhook's. Those of events count from the start of the daemon.
type counters struct {
	recorded, delivered, retries, dropped, discarded, damaged atomic.Uint64

	untold    atomic.Uint64 // dropped, and the spool does not tell yet
	oldest    atomic.Int64  // time of the first event that is being sent, or 0
	lastOK    atomic.Int64  // Unix time in nanoseconds, or 0
	down      atomic.Bool   // the last POST failed
	lastError atomic.Pointer[string]

	saidDown, saidUp, saidLost, saidDisk atomic.Int64 // when it was last logged
}

// Stats is the state of the webhook.
type Stats struct {
	Queued     uint64        // events in memory and in the spool
	SpoolBytes int64         // on disk
	Recorded   uint64        // events taken
	Delivered  uint64        // events acknowledged by the endpoint
	Retries    uint64        // POSTs that failed
	Dropped    uint64        // events lost because queue or spool were full, or the spool could not be written
	Discarded  uint64        // events dropped by an administrator
	Damaged    uint64        // events that could not be read back from the spool
	Oldest     time.Duration // age of the oldest event that waits
	Up         bool          // the last POST succeeded, or none was made
	LastError  string        // why the last POST failed; "" while Up
	LastOK     time.Time     // of the last POST that succeeded; zero: none
}

// Stats returns the state.
func (w *Webhook) Stats() Stats {
	ack, next, bytes := w.spool.position()
	w.mu.Lock()
	waiting, since := w.queue.count, w.queue.since
	w.mu.Unlock()
	st := Stats{
		Queued: next - ack + uint64(waiting), SpoolBytes: bytes, // #nosec G115: not negative
		Recorded: w.stats.recorded.Load(), Delivered: w.stats.delivered.Load(), Retries: w.stats.retries.Load(),
		Dropped: w.stats.dropped.Load(), Discarded: w.stats.discarded.Load(), Damaged: w.stats.damaged.Load(),
		Up: !w.stats.down.Load(),
	}
	oldest := time.Time{}
	if ns := w.stats.oldest.Load(); ns != 0 {
		oldest = time.Unix(0, ns)
	} else if next > ack {
		oldest = w.spool.born()
	} else if waiting > 0 {
		oldest = since
	}
	if !oldest.IsZero() {
		st.Oldest = max(w.now().Sub(oldest), 0)
	}
	if text := w.stats.lastError.Load(); text != nil {
		st.LastError = *text
	}
	if ns := w.stats.lastOK.Load(); ns != 0 {
		st.LastOK = time.Unix(0, ns)
	}
	return st
}

// born is when the oldest segment was made.
func (s *spool) born() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segs) == 0 {
		return time.Time{}
	}
	return s.segs[0].born
}

// AppendMetrics appends the metrics in Prometheus' text form.
func (w *Webhook) AppendMetrics(dst []byte) []byte {
	st := w.Stats()
	for _, m := range [...]struct {
		name, kind string
		value      float64
	}{
		{"enabled", "gauge", number(w.Enabled())},
		{"up", "gauge", number(st.Up)},
		{"queued_events", "gauge", float64(st.Queued)},
		{"spool_bytes", "gauge", float64(st.SpoolBytes)},
		{"oldest_event_seconds", "gauge", st.Oldest.Seconds()},
		{"recorded_events_total", "counter", float64(st.Recorded)},
		{"delivered_events_total", "counter", float64(st.Delivered)},
		{"failed_posts_total", "counter", float64(st.Retries)},
		{"dropped_events_total", "counter", float64(st.Dropped)},
		{"discarded_events_total", "counter", float64(st.Discarded)},
		{"damaged_events_total", "counter", float64(st.Damaged)},
	} {
		dst = append(dst, "# TYPE sluice_audit_"+m.name+" "+m.kind+"\nsluice_audit_"+m.name+" "...)
		dst = append(strconv.AppendFloat(dst, m.value, 'f', -1, 64), '\n')
	}
	return dst
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
