package metahome

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Voter remembers the metadata's generation: a drive's superblock, or the witness.
// The number that it keeps holds more than the generation (record.go).
type Voter interface {
	// Name is the drive's id in hexadecimal digits, or "witness".
	Name() string
	Generation() (uint64, error)
	// SetGeneration returns once gen is durable. It does not hang.
	SetGeneration(ctx context.Context, gen uint64) error
}

// Candidate is a directory that may hold a copy.
type Candidate struct {
	Dir   string
	Drive string // id of the drive that the directory is on; "": of the state directory's disk
}

// Choice is what Choose found.
type Choice struct {
	New        bool        // there is no metadata anywhere: a first start
	Generation uint64      // the greatest found in a copy; 0: of a release that kept none
	Current    []Candidate // hold everything that was acknowledged
	Stale      []Candidate // must not be believed
	Empty      []Candidate
	Missing    []string // drives that should hold a current copy and are not there
	Voters     []string // names of all voters, as recorded last; none if nothing was recorded

	rec     *record  // of the greatest generation; nil: there is none
	gens    []uint32 // of Current
	votes   map[string]vote
	known   vote // by any voter
	trusted bool
}

// copyPatience is how long the writing of one record may take.
const copyPatience = 10 * time.Second

// patienceParts is in how many parts that is measured out: of a stretch in which the
// process stood still no more than one counts, for the answers may lie ready.
const patienceParts = 10

// lastPatience is how many times longer the writing of a record may take while no copy
// has it.
const lastPatience = 30

// Home keeps the record of the copies in service. Its methods are safe for
// concurrent use.
type Home struct {
	files    files
	patience time.Duration

	mu      sync.Mutex
	store   string
	gen     uint32 // the last number that was used
	floor   uint32 // no number up to this one may be used, except from the promised range
	session uint32 // first number of the range that was promised; 0: none yet
	known   vote   // what is sure to be known by a majority, or will be
	copies  []Candidate
	names   []string // of the voters
	leaving []string // of those before them, while they change
	voters  map[string]*elector
	busy    map[string]*struct{ dir string } // directories in which a record is being written

	background sync.WaitGroup // writes that nobody waits for any more
}

// Open returns the Home of copies that Choose found current, or of new ones; members
// are the names of all voters of the cluster, those that cannot be asked included. It
// makes directories of new copies, but not their parents. Current copies that are not
// in use are excluded. Where that, or a change of the members, is to be recorded, a
// majority of the voters must be able to: ErrTooFewVoters.
//
// After a choice by trust the voters are those that answer; SetVoters has the others
// take part again.
func Open(c Choice, use []Candidate, voters []Voter, members []string) (*Home, error) {
	h, err := open(osFiles{}, c, use, voters, members)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// open may return a Home beside an error, which has writes under way.
func open(fsys files, c Choice, use []Candidate, voters []Voter, members []string) (*Home, error) {
	from := c.Current
	if c.New {
		from = c.Empty
	}
	for _, u := range use {
		if !slices.Contains(from, u) {
			return nil, fmt.Errorf("metadata: %s holds no current copy", u.Dir)
		}
	}
	if len(use) == 0 {
		return nil, ErrNoCurrent
	}
	h := &Home{
		files: fsys, patience: copyPatience, copies: slices.Clone(use), known: c.known,
		voters: map[string]*elector{}, busy: map[string]*struct{ dir string }{},
	}
	h.mu.Lock() // writes that nobody waits for any more end in their own time
	defer h.mu.Unlock()
	h.floor = max(c.known.promised, c.known.accepted, uint32(c.Generation))
	for _, v := range voters {
		h.voters[v.Name()] = newElector(v, c.votes)
	}
	names := unique(members)
	if c.trusted {
		names = slices.DeleteFunc(names, func(n string) bool { _, ok := c.votes[n]; return !ok })
		h.floor = saturate(h.floor, trustStep)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: none", ErrTooFewVoters)
	}
	h.names = names
	if c.rec == nil {
		var id [16]byte
		rand.Read(id[:]) // never fails
		h.store = hex.EncodeToString(id[:])
		if h.floor == 0 {
			// Nobody can know another number of this store, and no voter shall know one
			// before a copy does: it would look like one that lost its store.
			h.session = span
		}
		return h, h.advance(context.Background(), h.copies)
	}
	h.store, h.gen = c.rec.Store, c.rec.Generation
	if !c.trusted {
		h.names, h.leaving = c.rec.Voters, c.rec.Leaving
		if h.settled(c) && slices.Equal(names, h.names) {
			return h, nil
		}
	}
	return h, h.vote(context.Background(), names, h.copies)
}

func saturate(n, by uint32) uint32 {
	if n+by < n {
		return ^uint32(0)
	}
	return n + by
}

func unique(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

// settled tells whether the copies in use are exactly those of the last decision.
func (h *Home) settled(c Choice) bool {
	if len(h.leaving) > 0 || len(h.copies) != len(c.rec.Copies) || len(h.copies) != len(c.Current) {
		return false
	}
	for i, cand := range h.copies {
		if !slices.Contains(c.rec.Copies, cand.Drive) || c.gens[i] != h.gen { // all of gens
			return false
		}
	}
	knowing := 0
	for _, name := range h.names {
		if c.votes[name].accepted == h.gen {
			knowing++
		}
	}
	return knowing >= majority(len(h.names))
}

// Generation returns the present generation.
func (h *Home) Generation() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(h.gen)
}

// Copies returns the copies that are recorded as current. One that is in service and
// not among them could not be written to: end it with pebblemeta's RemoveCopy.
func (h *Home) Copies() []Candidate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.copies)
}

// Exclude records that the copy in dir is stale; see pebblemeta.Options.Eject. It
// returns within 45 s, mostly at once; where no copy that is left answers it waits for
// one, at most five minutes, for to fail would end the store. When it fails, or the
// caller does not learn its outcome, nothing may be acknowledged any more.
func (h *Home) Exclude(ctx context.Context, dir string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(h.copies), func(c Candidate) bool { return c.Dir == dir })
	if len(rest) == 0 {
		return fmt.Errorf("%w: %s was the last", ErrNoCurrent, dir)
	}
	return h.advance(ctx, rest)
}

// Include records that the copy in c is current from now on. When it fails, c may
// nevertheless be recorded as current: Exclude it before anything is acknowledged.
func (h *Home) Include(ctx context.Context, c Candidate) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy[c.Dir] != nil {
		return fmt.Errorf("metadata: an earlier write to %s has not ended", c.Dir)
	}
	with := slices.DeleteFunc(slices.Clone(h.copies), func(o Candidate) bool { return o.Dir == c.Dir })
	if err := h.advance(ctx, append(with, c)); err != nil {
		return err
	}
	if !slices.Contains(h.copies, c) {
		return fmt.Errorf("metadata: %s could not be written in %s", File, c.Dir)
	}
	return nil
}

// SetVoters records which voters there are: drives came or went for good. voters are
// those that can be asked, and replace the ones known so far; a majority of the old
// ones and of the new ones must be among them: else ErrTooFewVoters, and the old ones
// remain.
func (h *Home) SetVoters(ctx context.Context, voters []Voter, members []string) error {
	names := unique(members)
	if len(names) == 0 {
		return fmt.Errorf("%w: none", ErrTooFewVoters)
	}
	ask, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	votes, _ := askAll(ask, voters)
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := map[string]*elector{}
	for _, v := range voters {
		if old := h.voters[v.Name()]; old != nil && old.Voter == v {
			fresh[v.Name()] = old
			continue
		}
		fresh[v.Name()] = newElector(v, votes)
	}
	old := h.voters
	h.voters = fresh
	for name, e := range old { // those that leave have a voice in it
		if h.voters[name] == nil && !slices.Contains(names, name) {
			h.voters[name] = e
		}
	}
	if len(h.leaving) == 0 && slices.Equal(names, h.names) {
		h.remind()
		return nil
	}
	able := 0
	for _, name := range names {
		if fresh[name] != nil {
			able++
		}
	}
	if able < majority(len(names)) { // before a copy's record names them
		return fmt.Errorf("%w: %d of %d voters can be asked", ErrTooFewVoters, able, len(names))
	}
	err := h.vote(ctx, names, h.copies)
	maps.DeleteFunc(h.voters, func(name string, _ *elector) bool {
		return !slices.Contains(h.names, name) && !slices.Contains(h.leaving, name)
	})
	return err
}

// vote makes names the voters and copies the copies. mu is held.
func (h *Home) vote(ctx context.Context, names []string, copies []Candidate) error {
	if len(h.leaving) > 0 { // a change that was cut short
		if err := h.advance(ctx, copies); err != nil {
			return err
		}
		h.leaving = nil
	}
	if !slices.Equal(names, h.names) {
		// Until the new voters alone are asked, which is after this was decided, the
		// old ones can still overrule it: every record that names both needs both.
		h.leaving, h.names = h.names, names
		if err := h.advance(ctx, copies); err != nil {
			h.names, h.leaving = h.leaving, nil
			return errors.Join(err, h.advance(ctx, h.copies))
		}
		h.leaving = nil
	}
	return h.advance(ctx, h.copies)
}

// advance takes a new number, records it with copies and has it accepted. Copies of
// which the record cannot be written are out of it. mu is held.
func (h *Home) advance(ctx context.Context, copies []Candidate) error {
	if h.session == 0 || h.gen+1 >= h.session+span {
		if err := h.promise(ctx); err != nil {
			return err
		}
	}
	gen := max(h.gen+1, h.session)
	h.gen = gen // whatever comes of it, it is not used again
	rec := record{Store: h.store, Generation: gen, Voters: h.names, Leaving: h.leaving}
	for _, c := range copies {
		rec.Copies = append(rec.Copies, c.Drive)
	}
	text, err := rec.encode()
	if err != nil {
		return err
	}
	kept, err := h.put(ctx, copies, text)
	if len(kept) == 0 {
		return errors.Join(ErrNoCurrent, err)
	}
	// A copy that does not know the number is out already, whether or not the
	// decision comes about; one that does may be believed until a later decision.
	h.copies = kept
	next := vote{h.session, gen}
	if err := h.record(ctx, next); err != nil {
		return err
	}
	h.known = next
	return nil
}

// put writes the record to the copies and returns those that have it. Patience ends
// only once there is one: slow drives are better than none. mu is held.
func (h *Home) put(ctx context.Context, copies []Candidate, text []byte) ([]Candidate, error) {
	timer := time.NewTicker(max(h.patience/patienceParts, time.Millisecond))
	defer timer.Stop()
	type answer struct {
		i   int
		err error
	}
	answers := make(chan answer, len(copies))
	var errs []error
	waiting := 0
	for i, c := range copies {
		if h.busy[c.Dir] != nil {
			errs = append(errs, fmt.Errorf("metadata: an earlier write to %s has not ended", c.Dir))
			continue
		}
		token := &struct{ dir string }{c.Dir}
		h.busy[c.Dir] = token
		waiting++
		h.background.Go(func() {
			err := h.files.put(c.Dir, text)
			answers <- answer{i, err}
			// The answer may not be taken any more. Who waits for it holds mu.
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.busy[c.Dir] == token {
				delete(h.busy, c.Dir)
			}
		})
	}
	ok := make([]bool, len(copies))
	for parts, has := 0, false; waiting > 0 && !(has && parts >= patienceParts); {
		select {
		case a := <-answers:
			waiting--
			delete(h.busy, copies[a.i].Dir)
			ok[a.i] = a.err == nil
			has = has || a.err == nil
			errs = append(errs, a.err)
		case <-timer.C:
			if parts++; parts >= patienceParts*lastPatience {
				errs = append(errs, context.DeadlineExceeded)
				waiting = 0
			}
		case <-ctx.Done():
			errs = append(errs, ctx.Err())
			waiting = 0
		}
	}
	var kept []Candidate
	for i, c := range copies {
		if ok[i] {
			kept = append(kept, c)
		}
	}
	return kept, errors.Join(errs...)
}
