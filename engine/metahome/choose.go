package metahome

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Errors of Choose and of changes; test with errors.Is.
var (
	// ErrTooFewVoters: so many voters are missing that what is there may be stale.
	ErrTooFewVoters = errors.New("metadata: too few drives are there to tell which copy of the metadata is current")
	// ErrNoCurrent: every copy that is there is stale, or there is none.
	ErrNoCurrent = errors.New("metadata: no current copy of the metadata is there")
	// ErrAmbiguous: the directories are not copies of one store.
	ErrAmbiguous = errors.New("metadata: the directories hold different metadata")
)

// lookPatience is how long a directory or a voter may take to be read.
const lookPatience = 10 * time.Second

// seen is what was found in a candidate.
type seen struct {
	Candidate
	rec   *record
	store bool // it has files of a store
	err   error
}

// chooser gathers what Choose decides on.
type chooser struct {
	found []seen
	votes map[string]vote
	fails map[string]error // voters that could not be asked
	trust bool
}

// Choose looks at the candidates. voters are those that can be asked; one whose
// Generation fails or takes more than 10 s counts as missing. trust has it choose the
// greatest generation found even where too few voters can be asked. It changes
// nothing. ErrTooFewVoters, ErrNoCurrent, ErrAmbiguous.
//
// Choice.New says that nothing of what was given ever took part. If a drive belongs
// to a cluster nevertheless, its metadata is elsewhere: the caller must refuse.
func Choose(candidates []Candidate, voters []Voter, trust bool) (Choice, error) {
	return choose(osFiles{}, candidates, voters, trust)
}

func choose(fsys files, candidates []Candidate, voters []Voter, trust bool) (Choice, error) {
	c := &chooser{trust: trust}
	ctx, cancel := context.WithTimeout(context.Background(), lookPatience)
	defer cancel()
	c.found = lookAll(ctx, fsys, candidates)
	c.votes, c.fails = askAll(ctx, voters)
	top, err := c.greatest()
	switch {
	case err != nil:
		return Choice{}, err
	case top == nil:
		return c.unrecorded()
	}
	return c.recorded(top)
}

func lookAll(ctx context.Context, fsys files, candidates []Candidate) []seen {
	results := make([]chan seen, len(candidates))
	for i, cand := range candidates {
		ch := make(chan seen, 1)
		results[i] = ch
		go func() {
			s := seen{Candidate: cand}
			text, store, err := fsys.look(cand.Dir)
			s.store = store
			if err == nil && text != nil {
				var r record
				if r, err = decodeRecord(text); err == nil {
					s.rec = &r
				}
			}
			if err != nil {
				s.err = fmt.Errorf("%s in %s: %w", File, cand.Dir, err)
			}
			ch <- s
		}()
	}
	found := make([]seen, len(candidates))
	for i, ch := range results {
		select {
		case found[i] = <-ch:
		case <-ctx.Done():
			found[i] = seen{Candidate: candidates[i], err: fmt.Errorf("%s does not answer", candidates[i].Dir)}
		}
	}
	return found
}

// askAll reads the voters.
func askAll(ctx context.Context, voters []Voter) (map[string]vote, map[string]error) {
	type answer struct {
		gen uint64
		err error
	}
	answers := make([]chan answer, len(voters))
	for i, v := range voters {
		ch := make(chan answer, 1)
		answers[i] = ch
		go func() {
			gen, err := v.Generation()
			ch <- answer{gen, err}
		}()
	}
	votes, fails := map[string]vote{}, map[string]error{}
	for i, ch := range answers {
		name := voters[i].Name()
		select {
		case a := <-ch:
			if a.err != nil {
				fails[name] = a.err
				continue
			}
			votes[name] = votes[name].join(voteOf(a.gen)) // a drive may be seen twice: it, and an image of it
		case <-ctx.Done():
			fails[name] = ctx.Err()
		}
	}
	return votes, fails
}

// greatest returns the record of the greatest generation, nil if there is none. A
// record of another store counts for nothing where its store was never made: a first
// start was cut short.
func (c *chooser) greatest() (*record, error) {
	id, top := "", (*record)(nil)
	for _, s := range c.found {
		if s.rec != nil && (top == nil || s.rec.Generation > top.Generation) {
			top = s.rec
		}
	}
	if top != nil && !slices.ContainsFunc(c.found, func(s seen) bool { return s.rec != nil && s.store }) {
		id = top.Store
	}
	top = nil
	for _, store := range []bool{true, false} {
		for i := range c.found {
			s := &c.found[i]
			switch {
			case errors.Is(s.err, errNewer):
				return nil, s.err
			case s.rec == nil || s.store != store:
				continue
			case id == "":
				id = s.rec.Store
			case s.rec.Store != id && s.store:
				return nil, fmt.Errorf("%w: %s does not belong to the others", ErrAmbiguous, s.Dir)
			case s.rec.Store != id:
				s.rec = nil
				continue
			}
			if top == nil || s.rec.Generation > top.Generation {
				top = s.rec
			}
		}
	}
	return top, nil
}

// known is the greatest of what the voters keep.
func (c *chooser) known() (v vote) {
	for _, w := range c.votes {
		v = v.join(w)
	}
	return v
}

// unrecorded chooses where no copy has a record: before the first start, or after
// the last one of a release that kept none.
func (c *chooser) unrecorded() (Choice, error) {
	ch := Choice{votes: c.votes, known: c.known(), trusted: c.trust}
	var stores []seen
	for _, s := range c.found {
		switch {
		case s.store:
			stores = append(stores, s)
		case s.err == nil:
			ch.Empty = append(ch.Empty, s.Candidate)
		}
	}
	newer := ch.known != vote{}
	switch {
	case len(stores) > 1:
		return Choice{}, fmt.Errorf("%w: %s and %s have no file %s; leave the right one", ErrAmbiguous, stores[0].Dir, stores[1].Dir, File)
	case len(stores) == 1 && (c.trust || !newer && stores[0].err == nil):
		ch.Current = []Candidate{stores[0].Candidate}
		return ch, nil
	case len(stores) == 0 && !newer && c.errs() == nil && len(ch.Empty) > 0:
		ch.New = true
		return ch, nil
	}
	if !newer {
		return Choice{}, errors.Join(ErrNoCurrent, c.errs())
	}
	return Choice{}, errors.Join(fmt.Errorf("%w: its generation is %d", ErrNoCurrent, ch.known.accepted), c.errs())
}

// errs tells which candidates could not be read.
func (c *chooser) errs() error {
	var all []error
	for _, s := range c.found {
		all = append(all, s.err)
	}
	return errors.Join(all...)
}

// recorded chooses by the records, of which top is the greatest.
func (c *chooser) recorded(top *record) (Choice, error) {
	ch := Choice{Generation: uint64(top.Generation), votes: c.votes, known: c.known(), trusted: c.trust, rec: top, Voters: top.Voters}
	if !c.trust {
		if err := c.quorum(top); err != nil {
			return Choice{}, err
		}
	}
	least, store := ch.known.accepted, false
	for _, s := range c.found {
		store = store || s.store
	}
	if c.trust {
		least = 0
		for _, s := range c.found {
			if s.rec != nil && s.store == store {
				least = max(least, s.rec.Generation)
			}
		}
	}
	reachable := map[string]bool{}
	for _, s := range c.found {
		switch {
		case s.rec != nil && s.rec.Generation >= least && s.store == store: // else its store was lost
			ch.Current = append(ch.Current, s.Candidate)
			ch.gens = append(ch.gens, s.rec.Generation)
		case s.rec != nil || s.store:
			ch.Stale = append(ch.Stale, s.Candidate)
		case s.err == nil:
			ch.Empty = append(ch.Empty, s.Candidate)
		}
		if s.err == nil {
			reachable[s.Drive] = true
		}
	}
	for _, drive := range top.Copies {
		if !reachable[drive] {
			ch.Missing = append(ch.Missing, drive)
		}
	}
	if len(ch.Current) == 0 {
		return Choice{}, errors.Join(fmt.Errorf("%w: the greatest generation found is %d, the current one is %d; it may be on %s",
			ErrNoCurrent, top.Generation, least, c.absent(top)), c.errs())
	}
	return ch, nil
}

// quorum fails unless every majority of the voters of top has one that answered.
func (c *chooser) quorum(top *record) error {
	for _, names := range [][]string{top.Voters, top.Leaving} {
		if len(names) == 0 {
			continue
		}
		answered := 0
		for _, name := range names {
			if _, ok := c.votes[name]; ok {
				answered++
			}
		}
		if need := len(names) - majority(len(names)) + 1; answered < need {
			var why []error
			for _, name := range slices.Sorted(maps.Keys(c.fails)) {
				why = append(why, fmt.Errorf("%s: %w", name, c.fails[name]))
			}
			return errors.Join(fmt.Errorf("%w: %d of %d answer, %d are needed; missing: %s",
				ErrTooFewVoters, answered, len(names), need, c.absent(top)), errors.Join(why...))
		}
	}
	return nil
}

// absent names the voters of top that did not answer.
func (c *chooser) absent(top *record) string {
	var out []string
	for _, name := range slices.Concat(top.Voters, top.Leaving) {
		if _, ok := c.votes[name]; ok || slices.Contains(out, describe(name)) {
			continue
		}
		out = append(out, describe(name))
	}
	if len(out) == 0 {
		return "a directory that was not given"
	}
	return strings.Join(out, ", ")
}

func describe(voter string) string {
	if voter == Witness {
		return "the state directory's witness"
	}
	return "drive " + voter
}
