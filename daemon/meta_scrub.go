package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
)

// metaScrubBurst is how many bytes of the metadata are read at a time at least.
const metaScrubBurst = 4 << 20

// metaScrubber verifies the copies of the metadata whenever the engine verifies what
// is on the drives.
type metaScrubber struct {
	mu    sync.Mutex
	seen  time.Time // when the scrub began that this went with last
	state api.MetaScrub
}

// follow returns the work that goes with the scrub of the drives that began at began,
// or nil: it was done, or is under way.
func (s *metaScrubber) follow(d *daemon, began time.Time) func(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if began.Equal(s.seen) || s.state.Running {
		return nil
	}
	s.seen = began
	s.state = api.MetaScrub{Running: true}
	return func(ctx context.Context) { s.run(ctx, d) }
}

func (s *metaScrubber) run(ctx context.Context, d *daemon) {
	pace := rate.NewLimiter(rate.Limit(max(d.engine.ScrubStatus().Rate, metaScrubBurst)), metaScrubBurst)
	found, err := d.meta.store.ScrubCopies(ctx, func(n int) error {
		for ; n > 0; n -= metaScrubBurst {
			if err := pace.WaitN(ctx, min(n, metaScrubBurst)); err != nil {
				return err
			}
		}
		return nil
	})
	s.note(&found, err)
	switch {
	case err != nil && ctx.Err() == nil:
		d.log.Error("the copies of the metadata could not be verified", "err", err)
	case found.Differ > 0:
		d.log.Error("files of the metadata were damaged in a copy", "files", found.Differ, "mended", found.Repaired)
	}
}

func (s *metaScrubber) note(found *pebblemeta.CopyScrub, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = api.MetaScrub{
		Finished: inUTC(time.Now()), Files: found.Files, Bytes: found.Bytes, Differ: found.Differ, Repaired: found.Repaired,
	}
	if err != nil {
		s.state.Error = err.Error()
	}
}

// get returns what the last one found.
func (s *metaScrubber) get() api.MetaScrub {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *metaScrubber) metrics(w io.Writer) {
	st := s.get()
	fmt.Fprintf(w, "sluice_metadata_scrub_files %d\nsluice_metadata_scrub_differing_files %d\nsluice_metadata_scrub_repaired_files %d\n",
		st.Files, st.Differ, st.Repaired)
}
