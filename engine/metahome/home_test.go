package metahome

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// memVoter is a voter in memory.
type memVoter struct {
	name string
	gen  uint64
	err  error
	hang chan struct{}
}

func (v *memVoter) Name() string { return v.name }

func (v *memVoter) Generation() (uint64, error) { return v.gen, v.err }

func (v *memVoter) SetGeneration(ctx context.Context, gen uint64) error {
	if v.hang != nil {
		select {
		case <-v.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if v.err == nil {
		v.gen = gen
	}
	return v.err
}

// rig is a cluster of drives with directories, and a witness.
type rig struct {
	t      *testing.T
	state  string
	drives []*memVoter
	cands  []Candidate
}

func newRig(t *testing.T, n int) *rig {
	r := &rig{t: t, state: t.TempDir()}
	for i := range n {
		name := strings.Repeat(string(rune('a'+i)), 32)
		r.drives = append(r.drives, &memVoter{name: name})
		r.cands = append(r.cands, Candidate{Dir: filepath.Join(t.TempDir(), "meta"), Drive: name})
	}
	return r
}

func (r *rig) voters() []Voter {
	out := []Voter{NewWitness(r.state)}
	for _, d := range r.drives {
		out = append(out, d)
	}
	return out
}

func (r *rig) members() []string {
	out := []string{Witness}
	for _, d := range r.drives {
		out = append(out, d.name)
	}
	return out
}

func (r *rig) choose(trust bool) Choice {
	r.t.Helper()
	c, err := Choose(r.cands, r.voters(), trust)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) open(c Choice, use []Candidate) *Home {
	r.t.Helper()
	h, err := Open(c, use, r.voters(), r.members())
	if err != nil {
		r.t.Fatal(err)
	}
	h.background.Wait()
	r.t.Cleanup(h.background.Wait)
	return h
}

// fill makes a directory look like a store's.
func (r *rig) fill(i int) {
	r.t.Helper()
	if err := os.MkdirAll(r.cands[i].Dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.cands[i].Dir, "MANIFEST-000001"), nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestFirstStart(t *testing.T) {
	r := newRig(t, 3)
	c := r.choose(false)
	if !c.New || len(c.Empty) != 3 || len(c.Current)+len(c.Stale) != 0 {
		t.Fatalf("%+v", c)
	}
	h := r.open(c, c.Empty[:2])
	info, err := os.Stat(filepath.Join(r.cands[0].Dir, File))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	c = r.choose(false)
	if c.New || len(c.Current) != 2 || len(c.Empty) != 1 || c.Generation != h.Generation() || len(c.Missing) != 0 {
		t.Fatalf("%+v", c)
	}
	if !slices.Equal(c.Voters, unique(r.members())) {
		t.Errorf("voters %v", c.Voters)
	}
	before := r.drives[0].gen
	again := r.open(c, c.Current)
	if again.Generation() != h.Generation() || r.drives[0].gen != before {
		t.Error("a start at which nothing changed records something")
	}
	if _, err := Open(c, r.cands, r.voters(), r.members()); err == nil {
		t.Error("an empty directory was taken for a copy")
	}
	if _, err := Open(c, nil, r.voters(), r.members()); err == nil {
		t.Error("opened without a copy")
	}
}

// TestAdoption opens what earlier releases left: one directory without a record, and
// drives that were never told a generation.
func TestAdoption(t *testing.T) {
	r := newRig(t, 2)
	r.fill(1)
	c := r.choose(false)
	if c.New || c.Generation != 0 || !slices.Equal(c.Current, r.cands[1:]) || !slices.Equal(c.Empty, r.cands[:1]) {
		t.Fatalf("%+v", c)
	}
	h := r.open(c, c.Current)
	if h.Generation() == 0 {
		t.Error("no generation")
	}
	r.fill(0) // an older one turns up, without a record
	c = r.choose(false)
	if !slices.Equal(c.Current, r.cands[1:]) || !slices.Equal(c.Stale, r.cands[:1]) {
		t.Fatalf("%+v", c)
	}
	if err := os.Remove(filepath.Join(r.cands[1].Dir, File)); err != nil {
		t.Fatal(err)
	}
	if _, err := Choose(r.cands, r.voters(), false); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("two without a record: %v", err)
	}
	if _, err := Choose(r.cands[1:], r.voters(), false); !errors.Is(err, ErrNoCurrent) {
		t.Errorf("a record was lost: %v", err)
	}
	if c, err := Choose(r.cands[1:], r.voters(), true); err != nil || len(c.Current) != 1 {
		t.Errorf("a record was lost, with trust: %+v %v", c, err)
	}
}

func TestExcludeAndInclude(t *testing.T) {
	r := newRig(t, 3)
	h := r.open(r.choose(false), r.cands)
	for i := range r.cands {
		r.fill(i)
	}
	ctx := context.Background()
	gen := h.Generation()
	if err := h.Exclude(ctx, r.cands[2].Dir); err != nil || h.Generation() <= gen {
		t.Fatal(err)
	}
	h.background.Wait()
	c := r.choose(false)
	if !slices.Equal(c.Current, r.cands[:2]) || !slices.Equal(c.Stale, r.cands[2:]) || len(c.Missing) != 0 {
		t.Fatalf("%+v", c)
	}
	// Only the stale one, its drive and another are there: one voter of four too few.
	only := []Candidate{r.cands[2]}
	if _, err := Choose(only, []Voter{r.drives[2]}, false); !errors.Is(err, ErrTooFewVoters) || !strings.Contains(err.Error(), r.drives[0].name) {
		t.Errorf("%v", err)
	}
	if _, err := Choose(only, []Voter{r.drives[1], r.drives[2]}, false); !errors.Is(err, ErrNoCurrent) {
		t.Errorf("%v", err)
	}
	if c, err := Choose(only, []Voter{r.drives[2]}, true); err != nil || !slices.Equal(c.Current, only) || len(c.Missing) != 2 {
		t.Errorf("with trust: %+v, %v", c, err)
	}
	if err := h.Include(ctx, r.cands[2]); err != nil {
		t.Fatal(err)
	}
	h.background.Wait()
	if c = r.choose(false); len(c.Current) != 3 || len(h.Copies()) != 3 {
		t.Fatalf("%+v", c)
	}
	for i := range 2 {
		if err := h.Exclude(ctx, r.cands[i].Dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Exclude(ctx, r.cands[2].Dir); !errors.Is(err, ErrNoCurrent) {
		t.Errorf("the last one: %v", err)
	}
}

// TestTrust: who comes back after an administrator chose without it is stale.
func TestTrust(t *testing.T) {
	r := newRig(t, 3)
	h := r.open(r.choose(false), r.cands[:2])
	r.fill(0)
	r.fill(1)
	if err := h.Exclude(context.Background(), r.cands[1].Dir); err != nil {
		t.Fatal(err)
	}
	h.background.Wait()
	few := []Voter{r.drives[1]}
	c, err := Choose(r.cands[1:2], few, true)
	if err != nil {
		t.Fatal(err)
	}
	h, err = Open(c, c.Current, few, r.members())
	if err != nil {
		t.Fatal(err)
	}
	c = r.choose(false)
	if !slices.Equal(c.Current, r.cands[1:2]) || !slices.Equal(c.Stale, r.cands[:1]) {
		t.Fatalf("%+v", c)
	}
	if err := h.SetVoters(context.Background(), r.voters(), r.members()); err != nil {
		t.Fatal(err)
	}
	h.background.Wait()
	if c = r.choose(false); !slices.Equal(c.Voters, unique(r.members())) || !slices.Equal(c.Current, r.cands[1:2]) {
		t.Fatalf("%+v", c)
	}
}

// TestHungVoter: a majority is waited for, and no more; a minority is not enough.
func TestHungVoter(t *testing.T) {
	r := newRig(t, 2)
	h := r.open(r.choose(false), r.cands)
	leave := make(chan struct{})
	r.drives[1].hang = leave
	begun := time.Now()
	if err := h.Exclude(context.Background(), r.cands[1].Dir); err != nil || time.Since(begun) > 5*time.Second {
		t.Fatal(err, time.Since(begun))
	}
	r.drives[0].err = errors.New("no")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := h.Include(ctx, r.cands[1]); err == nil {
		t.Error("one of three voters was enough")
	}
	close(leave)
	h.background.Wait()
	if err := h.Exclude(context.Background(), r.cands[1].Dir); err != nil {
		t.Error(err)
	}
}

// hungFiles hangs in one directory.
type hungFiles struct {
	files
	dir   string
	leave chan struct{}
}

func (f hungFiles) put(dir string, text []byte) error {
	if dir == f.dir {
		<-f.leave
	}
	return f.files.put(dir, text)
}

// TestHungCopy: a copy whose record hangs is out, and is not written to twice.
func TestHungCopy(t *testing.T) {
	r := newRig(t, 3)
	h := r.open(r.choose(false), r.cands)
	leave := make(chan struct{})
	h.files, h.patience = hungFiles{h.files, r.cands[1].Dir, leave}, 300*time.Millisecond
	if err := h.Exclude(context.Background(), r.cands[2].Dir); err != nil {
		t.Fatal(err)
	}
	if got := h.Copies(); !slices.Equal(got, r.cands[:1]) {
		t.Fatal(got)
	}
	if err := h.Include(context.Background(), r.cands[1]); err == nil {
		t.Error("included while an earlier write hangs")
	}
	close(leave)
	h.background.Wait()
	h.patience = time.Minute
	if err := h.Include(context.Background(), r.cands[1]); err != nil {
		t.Error(err)
	}
}

func TestSetVoters(t *testing.T) {
	r := newRig(t, 3)
	all := r.drives
	r.drives = all[:1]
	h := r.open(r.choose(false), r.cands[:1])
	r.fill(0)
	r.drives = all
	ctx := context.Background()
	if err := h.SetVoters(ctx, r.voters(), r.members()); err != nil {
		t.Fatal(err)
	}
	h.background.Wait()
	for _, d := range all {
		if voteOf(d.gen).accepted != uint32(h.Generation()) {
			t.Errorf("%s knows %x, want %d", d.name, d.gen, h.Generation())
		}
	}
	// Most of the new ones cannot be asked: the old ones remain.
	many := append(r.members(), "x", "y", "z", "u", "v")
	if err := h.SetVoters(ctx, r.voters(), many); !errors.Is(err, ErrTooFewVoters) {
		t.Errorf("%v", err)
	}
	if err := h.SetVoters(ctx, nil, nil); !errors.Is(err, ErrTooFewVoters) {
		t.Errorf("%v", err)
	}
	c := r.choose(false)
	if len(c.Current) != 1 {
		t.Fatalf("%+v", c)
	}
	h = r.open(c, c.Current)
	r.drives = all[:1]
	if err := h.SetVoters(ctx, r.voters(), r.members()); err != nil {
		t.Fatal(err)
	}
	h.background.Wait()
	if c = r.choose(false); !slices.Equal(c.Voters, unique(r.members())) {
		t.Fatalf("%+v", c)
	}
}

func TestManyGenerations(t *testing.T) {
	r := newRig(t, 2)
	h := r.open(r.choose(false), r.cands[:1])
	for range span/2 + 3 {
		if err := h.Include(context.Background(), r.cands[1]); err != nil {
			t.Fatal(err)
		}
		gen := h.Generation()
		if err := h.Exclude(context.Background(), r.cands[1].Dir); err != nil || h.Generation() != gen+1 {
			t.Fatal(err, h.Generation(), gen)
		}
	}
	h.background.Wait()
}

func TestWitness(t *testing.T) {
	dir := t.TempDir()
	w := NewWitness(dir)
	if _, err := w.Generation(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	for _, gen := range []uint64{1, 1<<63 + 5} {
		if err := w.SetGeneration(context.Background(), gen); err != nil {
			t.Fatal(err)
		}
		if got, err := NewWitness(dir).Generation(); got != gen || err != nil {
			t.Errorf("%d: %d, %v", gen, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, WitnessFile), []byte("7 8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Generation(); err == nil {
		t.Error("a damaged file passes")
	}
	if err := NewWitness(filepath.Join(dir, "no")).SetGeneration(context.Background(), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func FuzzRecord(f *testing.F) {
	good, err := record{Store: "s", Generation: 7, Voters: []string{"witness"}, Copies: []string{""}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{"v":1,"generation":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decodeRecord(text)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if s, err := decodeRecord(again); err != nil || s.Generation != r.Generation || s.Store != r.Store {
			t.Fatalf("%q became %q: %v", text, again, err)
		}
	})
}

func FuzzWitness(f *testing.F) {
	f.Add([]byte("7 18446744073709551608\n"))
	f.Add([]byte("7 8"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = decodeWitness(text, "") })
}

// TestDamagedRecords: a record of a later release is refused, a damaged one is as if
// the copy was not there.
func TestDamagedRecords(t *testing.T) {
	r := newRig(t, 2)
	r.open(r.choose(false), r.cands)
	r.fill(0)
	r.fill(1)
	path := filepath.Join(r.cands[0].Dir, File)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		bad := slices.Clone(text)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Choose(r.cands, r.voters(), false)
		if err == nil && slices.Contains(c.Current, r.cands[0]) {
			t.Fatalf("%q passes", bad)
		}
	}
	if err := os.WriteFile(path, []byte(`{"v":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Choose(r.cands, r.voters(), false); !errors.Is(err, errNewer) {
		t.Error(err)
	}
}
