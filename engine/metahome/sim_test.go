package metahome

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var errCrash = errors.New("the power is gone")

// world is what survives a loss of power: directories and voters by name ("w" is the
// witness, which has no directory), and what the client knows.
type world struct {
	dirs  map[string]simDir
	votes map[string]uint64
	acked string // one letter for each write
	next  byte   // the letter of the next write
}

type simDir struct {
	rec     string
	content string // "-": no store
}

func newWorld(drives int) *world {
	w := &world{dirs: map[string]simDir{}, votes: map[string]uint64{"w": 0}, next: 'a'}
	for i := range drives {
		w.dirs[fmt.Sprint("d", i)] = simDir{content: "-"}
		w.votes[fmt.Sprint("d", i)] = 0
	}
	return w
}

func (w *world) clone() *world {
	c := *w
	c.dirs, c.votes = maps.Clone(w.dirs), maps.Clone(w.votes)
	return &c
}

func (w *world) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(w.votes)) {
		fmt.Fprintf(&b, "%s %x %+v; ", name, w.votes[name], w.dirs[name])
	}
	return b.String() + "acked " + w.acked
}

var ids = regexp.MustCompile(`"store":"([0-9a-f]+)"|"sum":"[0-9a-f]+"`)

// key is the same for worlds that differ only in the stores' random ids.
func (w *world) key() string {
	n := map[string]int{}
	return ids.ReplaceAllStringFunc(w.String(), func(m string) string {
		if m[1:4] == "sum" {
			return ""
		}
		if _, ok := n[m]; !ok {
			n[m] = len(n)
		}
		return fmt.Sprint(n[m])
	})
}

// power decides which durable steps land: those of phases before phase, and in that
// phase those of mask's targets. Steps that happen side by side are one phase.
type power struct {
	mu      sync.Mutex
	w       *world
	phase   int // -1: it stays
	mask    map[string]bool
	dead    map[string]bool // drives that fail
	keys    []string
	targets []map[string]bool
}

func (p *power) step(key, target string, land func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead[target] {
		return errors.New("the drive is dead")
	}
	i := slices.Index(p.keys, key)
	if i < 0 {
		i = len(p.keys)
		p.keys = append(p.keys, key)
		p.targets = append(p.targets, map[string]bool{})
	}
	p.targets[i][target] = true
	if p.phase >= 0 && (i > p.phase || i == p.phase && !p.mask[target]) {
		return errCrash
	}
	land()
	if i == p.phase {
		return errCrash
	}
	return nil
}

func (p *power) look(dir string) ([]byte, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.w.dirs[dir]
	if d.rec == "" {
		return nil, d.content != "-", nil
	}
	return []byte(d.rec), d.content != "-", nil
}

func (p *power) put(dir string, text []byte) error {
	return p.step(string(text), dir, func() {
		d := p.w.dirs[dir]
		d.rec = string(text)
		p.w.dirs[dir] = d
	})
}

type simVoter struct {
	p    *power
	name string
}

func (v simVoter) Name() string { return v.name }

func (v simVoter) Generation() (uint64, error) {
	v.p.mu.Lock()
	defer v.p.mu.Unlock()
	return v.p.w.votes[v.name], nil
}

func (v simVoter) SetGeneration(_ context.Context, gen uint64) error {
	return v.p.step(fmt.Sprint(gen), v.name, func() { v.p.w.votes[v.name] = gen })
}

// op is what happens while the daemon runs.
type op struct {
	kind string // "fail": a copy fails; "die": its drive does; "add": a copy is made; "voters": the drive's voice is taken away or given back
	name string
}

// session is one life of the daemon.
type session struct {
	*power
	h       *Home
	service []string
	there   []string // drives and witness that can be reached
	all     []string
}

func (s *session) voters() (out []Voter) {
	for _, name := range s.there {
		out = append(out, simVoter{s.power, name})
	}
	return out
}

func (s *session) candidates() (out []Candidate) {
	for _, name := range s.there {
		if name != "w" {
			out = append(out, Candidate{Dir: name, Drive: name})
		}
	}
	return out
}

// start chooses and opens. It checks that what was chosen has what was acknowledged.
func start(t testing.TB, p *power, there []string) (*session, error) {
	s := &session{power: p, there: there, all: slices.Sorted(maps.Keys(p.w.votes))}
	before := p.w.String()
	c, err := choose(p, s.candidates(), s.voters(), false)
	if err != nil {
		return nil, err
	}
	use := c.Current
	if c.New {
		for _, name := range there {
			if p.w.votes[name] != 0 || p.w.dirs[name].rec != "" {
				t.Fatalf("with %v: a first start; %s", there, before)
			}
		}
		if p.w.acked != "" { // the caller knows the drives, and refuses
			return nil, ErrNoCurrent
		}
		use = c.Empty
	}
	for _, u := range c.Current {
		if got := p.w.dirs[u.Dir].content; !strings.HasPrefix(strings.TrimPrefix(got, "-"), p.w.acked) {
			t.Fatalf("with %v: %s is chosen and lacks what was acknowledged; %s", there, u.Dir, before)
		}
	}
	members := s.all
	if len(c.Voters) > 0 {
		members = c.Voters
	}
	if s.h, err = open(p, c, use, s.voters(), members); s.h != nil {
		s.h.background.Wait()
	}
	if err != nil {
		return nil, err
	}
	s.h.patience = time.Minute
	content := strings.TrimPrefix(p.w.dirs[use[0].Dir].content, "-")
	for _, u := range use { // they are made equal
		s.service = append(s.service, u.Dir)
		s.set(u.Dir, content)
	}
	return s, nil
}

func (s *session) set(name, content string) {
	d := s.w.dirs[name]
	d.content = content
	s.w.dirs[name] = d
}

// write reaches the copies in service but failing, and is not acknowledged yet.
func (s *session) write(failing string) {
	letter := string(s.w.next)
	s.w.next++
	for _, name := range s.service {
		if name != failing {
			s.set(name, s.w.dirs[name].content+letter)
		}
	}
}

func (s *session) acknowledge() { s.w.acked = s.w.dirs[s.service[0]].content }

// do returns the error that ends the session.
func (s *session) do(o op) error {
	ctx := context.Background()
	defer s.h.background.Wait()
	switch o.kind {
	case "fail", "die":
		s.write(o.name)
		if o.kind == "die" {
			s.dead = maps.Clone(s.dead)
			if s.dead == nil {
				s.dead = map[string]bool{}
			}
			s.dead[o.name] = true
		}
		s.service = slices.DeleteFunc(slices.Clone(s.service), func(n string) bool { return n == o.name })
		if err := s.h.Exclude(ctx, o.name); err != nil {
			return err
		}
	case "add":
		err := s.step("wipe", o.name, func() { s.w.dirs[o.name] = simDir{content: "-"} })
		if err != nil {
			return err
		}
		s.set(o.name, s.w.dirs[s.service[0]].content)
		if err := s.h.Include(ctx, Candidate{Dir: o.name, Drive: o.name}); err != nil {
			return err
		}
		s.service = append(s.service, o.name)
		s.write("")
	case "voters":
		names := slices.DeleteFunc(slices.Clone(s.all), func(n string) bool { return n == o.name })
		if slices.Equal(names, s.h.names) {
			names = s.all
		}
		if err := s.h.SetVoters(ctx, s.voters(), names); err != nil {
			return err
		}
		s.write("")
	}
	s.acknowledge()
	return nil
}

// ops lists what can happen in s.
func (s *session) ops(voters bool) (out []op) {
	for _, name := range s.there {
		if name == "w" {
			continue
		}
		switch in := slices.Contains(s.service, name); {
		case in && len(s.service) > 1:
			out = append(out, op{"fail", name}, op{"die", name})
		case !in && !s.dead[name]:
			out = append(out, op{"add", name})
		}
		if voters {
			out = append(out, op{"voters", name})
		}
	}
	return out
}

// play runs a session in a clone of w. It returns nil if it was refused.
func play(t testing.TB, w *world, there []string, ops []op, phase int, mask map[string]bool) (*session, *power) {
	p := &power{w: w.clone(), phase: phase, mask: mask}
	s, err := start(t, p, there)
	if err != nil {
		return nil, p
	}
	for _, o := range ops {
		if err := s.do(o); err != nil {
			return nil, p
		}
	}
	return s, p
}

func subsets(names []string) (out [][]string) {
	for bits := range 1 << len(names) {
		var set []string
		for i, n := range names {
			if bits>>i&1 == 1 {
				set = append(set, n)
			}
		}
		out = append(out, set)
	}
	return out
}

// crashes calls visit with the worlds that losses of power at every moment of the
// session leave, and with the one that its end leaves.
func crashes(t testing.TB, w *world, there []string, ops []op, visit func(*world)) *session {
	s, whole := play(t, w, there, ops, -1, nil)
	visit(whole.w)
	for i, targets := range whole.targets {
		for _, set := range subsets(slices.Sorted(maps.Keys(targets))) {
			mask := map[string]bool{}
			for _, n := range set {
				mask[n] = true
			}
			_, p := play(t, w, there, ops, i, mask)
			visit(p.w)
		}
	}
	return s
}

// explore visits what depth sessions, each of up to ops[i] operations, can leave, and
// starts from it with every set of drives.
func explore(t *testing.T, w *world, ops []int, voters bool) int {
	level := map[string]*world{w.String(): w}
	total := 0
	for _, most := range ops {
		next := map[string]*world{}
		add := func(v *world) { next[v.key()] = v }
		for _, v := range level {
			for _, there := range subsets(slices.Sorted(maps.Keys(v.votes))) {
				branch(t, v, there, nil, most, voters, add)
			}
		}
		level = next
		total += len(level)
	}
	for _, v := range level {
		all := slices.Sorted(maps.Keys(v.votes))
		for _, there := range subsets(all) {
			if _, p := play(t, v, there, nil, -1, nil); len(there) == len(all) && p.w.String() == v.String() {
				if s, _ := play(t, v, there, nil, -1, nil); s == nil {
					t.Fatalf("refused though every drive is there: %s", v)
				}
			}
		}
	}
	return total
}

func branch(t *testing.T, w *world, there []string, ops []op, most int, voters bool, add func(*world)) {
	s := crashes(t, w, there, ops, add)
	if s == nil || len(ops) == most {
		return
	}
	for _, o := range s.ops(voters) {
		branch(t, w, there, append(slices.Clone(ops), o), most, voters, add)
	}
}

// TestEveryCrash: whatever moment the power goes, and whatever drives are there at
// the next start, what is chosen has all that was acknowledged, or nothing is chosen.
// With all drives there, something is.
func TestEveryCrash(t *testing.T) {
	for _, c := range []struct {
		drives int
		ops    []int
		voters bool
	}{
		{2, []int{2, 1}, false},
		{2, []int{2, 0}, true},
		{3, []int{1}, true},
	} {
		t.Run(fmt.Sprint(c.drives, c.ops, c.voters), func(t *testing.T) {
			begun := time.Now()
			t.Logf("%d states, %v", explore(t, newWorld(c.drives), c.ops, c.voters), time.Since(begun))
		})
	}
}

// TestRandomCrashes goes deeper than TestEveryCrash, and with more drives.
func TestRandomCrashes(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(2 + rng.IntN(3))
		names := slices.Sorted(maps.Keys(w.votes))
		pick := func(from []string, chance float64) (out []string) {
			for _, n := range from {
				if rng.Float64() < chance {
					out = append(out, n)
				}
			}
			return out
		}
		for range 30 {
			there := pick(names, 0.8)
			var ops []op
			s, p := play(t, w, there, nil, -1, nil)
			for s != nil && rng.IntN(4) > 0 {
				may := s.ops(true)
				if len(may) == 0 {
					break
				}
				ops = append(ops, may[rng.IntN(len(may))])
				s, p = play(t, w, there, ops, -1, nil)
			}
			if n := len(p.keys); n > 0 && rng.IntN(3) > 0 {
				mask, phase := map[string]bool{}, n-1-rng.IntN(min(n, 4))
				for _, name := range pick(names, 0.5) {
					mask[name] = true
				}
				_, p = play(t, w, there, ops, phase, mask)
			}
			w = p.w
		}
		if s, _ := play(t, w, names, nil, -1, nil); s == nil {
			t.Fatalf("seed %d: refused though every drive is there: %s", seed, w)
		}
	}
}
