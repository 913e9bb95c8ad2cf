package metahome

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// votePatience bounds a write to a voter that nobody waits for any more.
const votePatience = 30 * time.Second

// elector writes to one voter, one number at a time, and never a lesser one.
type elector struct {
	Voter
	turn chan struct{} // held while it is written to

	mu   sync.Mutex
	kept vote // what it is known to keep
}

// newElector expects votes to tell what v keeps; nothing, if it could not be asked.
func newElector(v Voter, votes map[string]vote) *elector {
	return &elector{Voter: v, turn: make(chan struct{}, 1), kept: votes[v.Name()]}
}

// raise returns once the voter keeps at least v.
func (e *elector) raise(ctx context.Context, v vote) error {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.turn }()
	e.mu.Lock()
	kept := e.kept
	e.mu.Unlock()
	if kept.covers(v) {
		return nil
	}
	next := kept.join(v)
	if err := e.SetGeneration(ctx, next.value()); err != nil {
		return fmt.Errorf("%s: %w", describe(e.Name()), err)
	}
	e.mu.Lock()
	e.kept = next
	e.mu.Unlock()
	return nil
}

// promise has a majority promise a range of numbers above all others. What is known
// to be accepted is written with it, so that a voter that forgot it learns it again.
func (h *Home) promise(ctx context.Context) error {
	first, err := rangeAbove(max(h.floor, h.gen, h.known.promised))
	if err != nil {
		return err
	}
	next := vote{first, h.known.accepted}
	h.floor = first + span - 1
	if err := h.record(ctx, next); err != nil {
		return err
	}
	h.session, h.known = first, next
	return nil
}

// record returns once a majority of the voters, and of those before them while they
// change, keeps v. The others are written to in the background.
func (h *Home) record(ctx context.Context, v vote) error {
	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer, len(h.voters))
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), votePatience)
	var all sync.WaitGroup
	for name, e := range h.voters {
		all.Add(1)
		h.background.Go(func() {
			defer all.Done()
			answers <- answer{name, e.raise(rest, v)}
		})
	}
	h.background.Go(func() { all.Wait(); cancel() })
	done := map[string]bool{}
	var errs []error
	for range len(h.voters) {
		select {
		case a := <-answers:
			if a.err != nil {
				errs = append(errs, a.err)
				continue
			}
			done[a.name] = true
			if h.decided(done) {
				return nil
			}
		case <-ctx.Done():
			return errors.Join(append(errs, ctx.Err())...)
		}
	}
	return errors.Join(fmt.Errorf("%w: %d of %d voters record a change", ErrTooFewVoters, len(done), len(h.names)), errors.Join(errs...))
}

// decided tells whether a majority of the voters, and of those before them, is in
// done.
func (h *Home) decided(done map[string]bool) bool {
	for _, names := range [][]string{h.names, h.leaving} {
		have := 0
		for _, name := range names {
			if done[name] {
				have++
			}
		}
		if len(names) > 0 && have < majority(len(names)) {
			return false
		}
	}
	return true
}

// remind writes what is known to voters that came back, in the background.
func (h *Home) remind() {
	for _, e := range h.voters {
		known := h.known
		h.background.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), votePatience)
			defer cancel()
			_ = e.raise(ctx, known) // a later decision writes it again
		})
	}
}
