package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	dataStart = 2 << 20 // of a drive's bytes: where payloads begin
	flipsMost = 200     // bytes damaged on one drive at a time
	mendMost  = 4 * time.Minute
)

// fault is something that happens to a drive while the daemon is down.
type fault int

// Faults.
const (
	faultGone     fault = iota // its directory is removed: it is replaced
	faultTruncate              // its data file loses its end: it is replaced
	faultFlip                  // bits of its data flip: a scrub finds and repairs them
	faultAway                  // its directory is not there for a while
	faults
)

func (f fault) String() string {
	return [...]string{"removed", "truncated", "flipped", "away", faults: "error", "error-writes", "corrupt-reads", "flaky", "hang"}[f]
}

// injury is a drive with a fault.
type injury struct {
	path string
	fault
}

// hidden is where the directory of a drive that is away waits.
func (i *injury) hidden() string { return i.path + ".away" }

// injure does something to at most as many drives as the cluster can do without. The
// daemon does not run.
func (t *tester) injure() error {
	if t.o.mapper != "" || t.o.parity < 1 || len(t.injured) > 0 || t.rng.IntN(3) == 0 {
		return nil
	}
	for _, path := range t.anyDrives() {
		in := injury{path, fault(t.rng.IntN(int(faults)))}
		if in.fault == faultTruncate && !t.o.truncate {
			in.fault = faultGone
		}
		if err := t.hurt(&in); err != nil {
			return err
		}
		t.injured = append(t.injured, in)
		t.hurts[in.fault]++
	}
	t.o.printf("round %d: %v", t.round, t.injured)
	return nil
}

// anyDrives chooses at least one drive and at most as many as can be done without.
func (t *tester) anyDrives() []string {
	paths := slices.Clone(t.node.drives)
	t.rng.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	return paths[:1+t.rng.IntN(t.o.parity)]
}

func (t *tester) hurt(in *injury) error {
	data := filepath.Join(in.path, "data")
	st, err := os.Stat(data)
	if err != nil {
		return err
	}
	span := max(1, st.Size()-dataStart)
	switch in.fault {
	case faultGone:
		return os.RemoveAll(in.path)
	case faultAway:
		return os.Rename(in.path, in.hidden())
	case faultTruncate:
		return os.Truncate(data, dataStart+t.rng.Int64N(span))
	}
	f, err := os.OpenFile(data, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for range 1 + t.rng.IntN(flipsMost) {
		var b [1]byte
		at := dataStart + t.rng.Int64N(span)
		if _, err := f.ReadAt(b[:], at); err != nil {
			return errors.Join(err, f.Close())
		}
		b[0] ^= 1 << t.rng.IntN(8)
		if _, err := f.WriteAt(b[:], at); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// mend brings every injured drive back, or puts another in its place, and waits until
// nothing is missing any more. Now and then the daemon is killed while it heals.
func (t *tester) mend(ctx context.Context) error {
	if len(t.injured) == 0 {
		return nil
	}
	begin := time.Now()
	back := 0
	for _, in := range t.injured {
		var err error
		switch {
		case in.fault == faultAway:
			err = t.bringBack(&in)
		case in.fault >= faults:
			t.node.kill()
			err = t.mapper("mend", in.path)
		default:
			continue
		}
		if err != nil {
			return err
		}
		back++
	}
	if back > 0 { // it is found where it was when the daemon starts
		t.node.kill()
		if _, _, err := t.restart(ctx); err != nil {
			return err
		}
	}
	for _, in := range t.injured {
		if in.fault != faultGone && in.fault != faultTruncate {
			continue
		}
		t.replaced++
		path := filepath.Join(t.node.dir, fmt.Sprintf("r%d", t.replaced))
		if _, err := t.node.ctl("drive", "replace", in.path, path); err != nil {
			return err
		}
		t.node.drives[slices.Index(t.node.drives, in.path)] = path
	}
	if t.rng.IntN(2) == 0 {
		time.Sleep(time.Duration(t.rng.Int64N(int64(time.Second))))
		t.node.kill()
		if _, _, err := t.restart(ctx); err != nil {
			return fmt.Errorf("after a kill while healing: %w", err)
		}
	}
	if err := t.whole(ctx, false); err != nil {
		return err
	}
	if _, err := t.node.ctl("drive", "scrub", "start", "--rate", "1GiB"); err != nil {
		return err
	}
	if err := t.whole(ctx, true); err != nil {
		return err
	}
	t.o.printf("round %d: whole again after %v", t.round, time.Since(begin).Round(time.Millisecond))
	t.injured = nil
	return nil
}

// bringBack has a drive that was away where it was. What the daemon may have made in its
// place meanwhile must hold nothing of a drive.
func (t *tester) bringBack(in *injury) error {
	if _, err := os.Stat(filepath.Join(in.path, "data")); err == nil {
		return violate("the daemon made a new drive in %s, where one that it knows was away", in.path)
	}
	if err := os.RemoveAll(in.path); err != nil {
		return err
	}
	return os.Rename(in.hidden(), in.path)
}

// state is what the daemon says of its drives and of repair.
type state struct {
	drives []struct {
		Path     string `json:"path"`
		State    string `json:"state"`
		Error    string `json:"error"`
		Metadata string `json:"metadata"`
	}
	heal struct {
		Queue    int64 `json:"queued_blobs"`
		Degraded int64 `json:"degraded_blobs"`
		Lost     int64 `json:"lost_blobs"`
		Tasks    []struct {
			Kind    string `json:"kind"`
			Waiting string `json:"waiting"`
		} `json:"tasks"`
	}
	scrub struct {
		Running bool   `json:"running"`
		Failed  int64  `json:"failed_fragments"`
		Error   string `json:"last_error"`
	}
}

func (n *node) state() (*state, error) {
	s := new(state)
	for _, q := range []struct {
		into any
		args []string
	}{
		{&s.drives, []string{"drive", "list"}}, {&s.heal, []string{"drive", "heal", "status"}}, {&s.scrub, []string{"drive", "scrub", "status"}},
	} {
		out, err := n.ctl(append([]string{"--json"}, q.args...)...)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(out, q.into); err != nil {
			return nil, fmt.Errorf("ctl %v: %w", q.args, err)
		}
	}
	return s, nil
}

// unwell says what is not as it should be; nil: nothing. copies is how many copies of
// the metadata there should be; scrubbed: the last scrub counts, too.
func (s *state) unwell(drives, copies int, scrubbed bool) error {
	have := 0
	for _, d := range s.drives {
		if d.State != "active" {
			return fmt.Errorf("drive %s is %s: %s", d.Path, d.State, d.Error)
		}
		if d.Metadata == "primary" || d.Metadata == "copy" {
			have++
		}
	}
	switch {
	case len(s.drives) != drives:
		return fmt.Errorf("there are %d drives, not %d", len(s.drives), drives)
	case have < copies:
		return fmt.Errorf("there are %d copies of the metadata, not %d", have, copies)
	case scrubbed && s.scrub.Running:
		return errors.New("the scrub runs")
	case scrubbed && (s.scrub.Error != "" || s.scrub.Failed > 0):
		return fmt.Errorf("the scrub could not mend %d fragments: %s", s.scrub.Failed, s.scrub.Error)
	case s.heal.Queue > 0 || s.heal.Degraded > 0 || s.heal.Lost > 0 || len(s.heal.Tasks) > 0:
		return fmt.Errorf("repair: %+v", s.heal)
	}
	return nil
}

// whole waits until every drive serves and nothing waits for repair, and a scrub has come
// to its end.
func (t *tester) whole(ctx context.Context, scrubbed bool) error {
	for begin := time.Now(); ; {
		s, err := t.node.state()
		if err == nil {
			if err = s.unwell(t.o.drives, t.o.parity+1, scrubbed); err == nil {
				return nil
			}
		}
		if !t.node.alive() {
			return violate("the daemon ended while healing: %v", t.node.exit)
		}
		if time.Since(begin) > mendMost {
			return violate("%v after the repair began it is not complete: %v", mendMost, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// checkDeep has the daemon check everything.
func (t *tester) checkDeep() error {
	if t.o.parity < 1 {
		return nil
	}
	if out, err := t.node.ctl("cluster", "check", "--deep", "--quiet"); err != nil {
		return violate("%v\n%s", err, out)
	}
	t.o.printf("ctl cluster check --deep: clean; drives: %d removed, %d truncated, %d flipped, %d away",
		t.hurts[faultGone], t.hurts[faultTruncate], t.hurts[faultFlip], t.hurts[faultAway])
	if t.o.mapper != "" {
		t.o.printf("broken while the daemon served: %d error, %d error-writes, %d corrupt-reads, %d flaky, %d hang; %d writes were tried again",
			t.hurts[breakError], t.hurts[breakWrites], t.hurts[breakReads], t.hurts[breakFlaky], t.hurts[breakHang], t.client.repeated.Load())
	}
	return nil
}
