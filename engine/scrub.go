package engine

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// Defaults of SetScrub, in force until it is called.
const (
	DefaultScrubPeriod = 30 * 24 * time.Hour
	DefaultScrubRate   = 16 << 20 // bytes per second
)

const (
	// scrubDoc is the document, of the cluster, that keeps a scrub's progress.
	scrubDoc = "system/scrub"
	// scrubRush is the least rate, in bytes per second, at which a drive that came back
	// is verified.
	scrubRush = 64 << 20
	// scrubHaste is by how much faster a scrub is than its period asks for: there are
	// restarts, and busy hours.
	scrubHaste = 1.5
	scrubBurst = 4 << 20
)

// ScrubOptions of StartScrub.
type ScrubOptions struct {
	Rate int64 // bytes per second; 0: as the period asks for
}

// ScrubStatus tells how far a scrub has come.
type ScrubStatus struct {
	Running                   bool
	Started, Finished         time.Time // of the last scrub; Finished zero: it has not been, or was stopped
	Blobs, Bytes              int64     // verified
	Total                     int64     // bytes to verify, as of the start
	Corrupt, Repaired, Failed int64     // fragments: found, mended, could not be mended
	Rate                      int64
	Next                      time.Time // of the next scrub that starts by itself; zero: none
	LastError                 string
}

// scrubState is what a scrub remembers across restarts: the content of scrubDoc.
type scrubState struct {
	Version  int       `json:"version"`
	Since    time.Time `json:"since"` // when the cluster first had a scrubber
	Running  bool      `json:"running"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Rate     int64     `json:"rate,omitempty"` // as asked for
	// Where it stands: all blobs up to this one, in slot Slot, are verified; with Inline
	// those on drives are, and inline payloads up to it.
	Slot      uint16   `json:"slot"`
	Blob      string   `json:"blob,omitempty"`
	Inline    bool     `json:"inline"`
	Blobs     int64    `json:"blobs"`
	Bytes     int64    `json:"bytes"`
	Total     int64    `json:"total"`
	Corrupt   int64    `json:"corrupt"`
	Repaired  int64    `json:"repaired"`
	Failed    int64    `json:"failed"`
	LastError string   `json:"last_error,omitempty"`
	Drives    []string `json:"drives,omitempty"` // that came back, and are to be verified before all others
}

const scrubVersion = 1

// scrubber verifies what lies on the drives, a little at a time. Fragments that do not
// verify go on the repair queue.
type scrubber struct {
	e       *Engine
	log     *slog.Logger
	limiter *rate.Limiter

	mu     sync.Mutex // guards what follows
	st     scrubState
	period time.Duration
	least  int64
	end    context.CancelFunc // of the work that is under way, or nil
	turn   uint64             // counts scrubs begun and stopped
	rush   bool               // a drive that came back is being verified
	saved  time.Time
	news   bool // to be saved at once, even when closing

	kick   chan struct{}
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   chan struct{}
}

func newScrubber(e *Engine) *scrubber {
	s := &scrubber{
		e: e, log: e.log, limiter: rate.NewLimiter(rate.Inf, scrubBurst),
		period: DefaultScrubPeriod, least: DefaultScrubRate,
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// StartScrub verifies every fragment and inline payload that is there now, in the
// background, from the beginning; Conflict while one runs. StopScrub ends it.
func (e *Engine) StartScrub(o ScrubOptions) error {
	if o.Rate < 0 {
		return wrap("start scrub", fail(KindInternal, fmt.Errorf("rate of %d bytes per second", o.Rate)))
	}
	s := e.scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.Running {
		return wrap("start scrub", fail(Conflict, errors.New("a scrub is running")))
	}
	s.begin(o.Rate)
	return nil
}

// begin has a scrub begin. s.mu is held.
func (s *scrubber) begin(rate int64) {
	s.st = scrubState{
		Version: scrubVersion, Since: s.st.Since, Drives: s.st.Drives,
		Running: true, Started: s.e.now().UTC(), Rate: rate, Total: s.e.stored(),
	}
	s.saved, s.news = time.Time{}, true
	s.turn++
	s.wake()
}

// stored returns the bytes in use on the drives that can be read.
func (e *Engine) stored() (n int64) {
	for _, m := range e.drives.now().all {
		if m.readable() {
			_, used, _ := m.d.Usage()
			n += used
		}
	}
	return n
}

// StopScrub ends a scrub.
func (e *Engine) StopScrub() {
	s := e.scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.st.Running {
		return
	}
	s.st.Running = false
	s.saved, s.news = time.Time{}, true
	s.turn++
	if s.end != nil {
		s.end()
	}
	s.wake()
}

// SetScrub has every fragment verified once per period (0: never by itself), with at
// least rate bytes per second while it runs (0: DefaultScrubRate).
func (e *Engine) SetScrub(period time.Duration, rate int64) {
	s := e.scrub
	if rate <= 0 {
		rate = DefaultScrubRate
	}
	s.mu.Lock()
	s.period, s.least = max(0, period), rate
	s.mu.Unlock()
	s.wake()
}

// ScrubStatus returns the present state.
func (e *Engine) ScrubStatus() ScrubStatus {
	s := e.scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.st
	out := ScrubStatus{
		Running: st.Running, Started: st.Started, Finished: st.Finished, Blobs: st.Blobs, Bytes: st.Bytes, Total: st.Total,
		Corrupt: st.Corrupt, Repaired: st.Repaired, Failed: st.Failed, LastError: st.LastError,
	}
	if st.Running {
		out.Rate = s.rate()
	} else if s.period > 0 {
		out.Next = s.next()
	}
	return out
}

// rate returns the rate, in bytes per second, of the scrub that runs. s.mu is held.
func (s *scrubber) rate() int64 {
	if s.st.Rate > 0 {
		return s.st.Rate
	}
	if s.period <= 0 {
		return s.least
	}
	return max(s.least, int64(scrubHaste*float64(s.st.Total)/s.period.Seconds()))
}

// next returns when the next scrub is due. s.mu is held.
func (s *scrubber) next() time.Time {
	last := s.st.Since
	for _, t := range []time.Time{s.st.Started, s.st.Finished} {
		if t.After(last) {
			last = t
		}
	}
	return last.Add(s.period)
}

func (s *scrubber) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// suspect has the fragments on a drive verified before anything else.
func (s *scrubber) suspect(id layout.DriveID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.st.Drives, id.String()) {
		s.st.Drives = append(s.st.Drives, id.String())
		s.saved, s.news = time.Time{}, true
	}
	s.wake()
}

// mended and unmended count what became of fragments that were found bad.
func (s *scrubber) mended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.Repaired = min(s.st.Repaired+1, s.st.Corrupt)
}

func (s *scrubber) unmended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.Failed = min(s.st.Failed+1, s.st.Corrupt-s.st.Repaired)
}

// close stops the scrubber, which will go on where it was, and waits for it, until ctx
// is done.
func (s *scrubber) close(ctx context.Context) error {
	s.cancel()
	return awaitEnd(ctx, s.done, "the scrubber")
}

// load reads what was remembered, before run.
func (s *scrubber) load() error {
	doc, err := meta.GetDoc(s.e.store, 0, 0, scrubDoc)
	st := scrubState{Version: scrubVersion, Since: s.e.now().UTC()}
	switch {
	case errors.Is(err, meta.ErrNoDoc):
	case err != nil:
		return err
	default:
		if e := json.Unmarshal(doc.Value, &st); e != nil || st.Version != scrubVersion {
			s.log.Warn("the record of scrubs is not understood, and begun anew", "version", st.Version, "err", e)
			st = scrubState{Version: scrubVersion, Since: s.e.now().UTC()}
		}
	}
	st.Drives = slices.DeleteFunc(st.Drives, func(id string) bool {
		raw, err := hex.DecodeString(id)
		return err != nil || len(raw) != len(layout.DriveID{})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st = st
	return nil
}

// save remembers the progress, unless that was done a moment ago.
func (s *scrubber) save() {
	s.mu.Lock()
	if time.Since(s.saved) < s.e.cfg.Timing.ScrubSave {
		s.mu.Unlock()
		return
	}
	s.saved, s.news = time.Now(), false
	value, err := json.Marshal(&s.st)
	s.mu.Unlock()
	if err == nil {
		err = s.e.mutate(context.Background(), 0, &meta.PutDoc{Path: scrubDoc, Value: value, IfRev: -1})
	}
	if err != nil {
		s.log.Warn("the progress of the scrub cannot be recorded", "err", err)
	}
}

// note remembers an error.
func (s *scrubber) note(err error) {
	s.log.Warn("scrub", "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.LastError = err.Error()
}
