package drive

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// stored is a fragment that WriteFragment acknowledged.
type stored struct {
	id   layout.BlobID
	exts []layout.Extent
	data []byte
}

// machine drives a Drive over a faulty device against a list of what must be
// there, as the engine would: what is acknowledged is claimed after a crash,
// everything else is free.
type machine struct {
	arena *ioring.Arena
	dev   *faultio.Device
	d     *Drive
	have  []stored
	seed  uint64
}

func (m *machine) open(t *rapid.T) {
	d, err := Open(context.Background(), m.dev, Options{Arena: m.arena})
	if err != nil {
		t.Fatal(err)
	}
	m.d = d
	for _, s := range m.have {
		if err := d.Claim(s.exts); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) put(t *rapid.T) {
	size := rapid.OneOf(rapid.Int64Range(1, 40<<10), rapid.Int64Range(1, 20<<10), rapid.Int64Range(1, 300<<10), rapid.Int64Range(1, mib+mib/2)).Draw(t, "size")
	cut := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, size)).Draw(t, "cut")
	m.seed++
	data := randomBytes(m.seed, int(size))
	exts, err := m.d.Reserve(context.Background(), size)
	if errors.Is(err, ErrNoSpace) {
		if _, _, free := m.d.Usage(); free >= DiskSize(size) && free < MaxExtents*m.d.Unit() {
			t.Fatalf("no space for %d bytes though %d are free", size, free)
		}
		return
	} else if errors.Is(err, ErrFailed) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	id := layout.NewBlobID(testTime)
	err = m.d.WriteFragment(context.Background(), id, exts, size, bytes.NewReader(data[:size-cut]))
	switch {
	case err == nil && cut == 0:
		m.have = append(m.have, stored{id, exts, data})
		return
	case err == nil:
		t.Fatal("short body accepted")
	case errors.Is(err, ErrShort) && cut == 0:
		t.Fatal("whole body called short")
	case !errors.Is(err, ErrShort) && !errors.Is(err, faultio.ErrIO) && !errors.Is(err, ErrFailed):
		t.Fatal(err)
	}
	m.d.Free(exts)
}

func (m *machine) get(t *rapid.T, s stored) {
	size := int64(len(s.data))
	off := rapid.Int64Range(0, size-1).Draw(t, "off")
	n := rapid.Int64Range(1, size-off).Draw(t, "n")
	got, err := get(m.d, s.id, s.exts, size, off, n)
	if err != nil || !bytes.Equal(got, s.data[off:off+n]) {
		t.Fatalf("bytes %d+%d of %d: %v", off, n, size, err)
	}
}

func (m *machine) any(t *rapid.T) int {
	if len(m.have) == 0 {
		t.Skip("empty")
	}
	return rapid.IntRange(0, len(m.have)-1).Draw(t, "which")
}

func TestDriveOverFaultyDevice(t *testing.T) {
	t.Parallel()
	arena := newArena(t)
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{arena: arena, dev: faultio.New(faultio.Options{Capacity: 10 * mib, Seed: rapid.Uint64().Draw(t, "seed")})}
		m.open(t)
		defer func() { m.d.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"put":  m.put,
			"put2": m.put,
			"get":  func(t *rapid.T) { m.get(t, m.have[m.any(t)]) },
			"free": func(t *rapid.T) {
				i := m.any(t)
				m.d.Free(m.have[i].exts)
				m.have = append(m.have[:i], m.have[i+1:]...)
			},
			"bad write": func(t *rapid.T) {
				m.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Skip: rapid.IntRange(0, 2).Draw(t, "skip"), Times: 1, Err: faultio.ErrIO})
				m.put(t)
				m.dev.Heal()
			},
			"transient read fault": func(t *rapid.T) {
				i := m.any(t)
				m.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Flip: true})
				m.get(t, m.have[i])
				m.dev.Heal()
			},
			"bad sync and crash": func(t *rapid.T) {
				m.dev.Inject(faultio.Rule{Code: ioring.OpSync, Times: 1, Err: faultio.ErrIO})
				m.put(t)
				m.crash(t)
			},
			"crash": m.crash,
			"restart": func(t *rapid.T) {
				if err := m.d.Close(); err != nil {
					t.Fatal(err)
				}
				m.dev = m.dev.Reopen()
				m.open(t)
			},
			"": func(t *rapid.T) {
				var used int64
				for _, s := range m.have {
					for _, e := range s.exts {
						used += e.Len
					}
				}
				if _, got, _ := m.d.Usage(); got != used {
					t.Fatalf("%d bytes used, want %d", got, used)
				}
				if c := m.d.Counters(); c.Corrupt != 0 || c.BadFrees != 0 {
					t.Fatalf("counters %+v", c)
				}
			},
		})
		for _, s := range m.have {
			m.get(t, s)
		}
	})
}

func (m *machine) crash(t *rapid.T) {
	after := m.dev.Crash(rapid.Uint64().Draw(t, "crash"))
	m.d.Close()
	m.dev = after
	m.open(t)
	for _, s := range m.have {
		got, err := get(m.d, s.id, s.exts, int64(len(s.data)), 0, int64(len(s.data)))
		if err != nil || !bytes.Equal(got, s.data) {
			t.Fatalf("acknowledged fragment of %d bytes lost in a crash: %v", len(s.data), err)
		}
	}
}

// TestCrashInFlight cuts the power while fragments are being written.
func TestCrashInFlight(t *testing.T) {
	t.Parallel()
	arena := newArena(t)
	acknowledged, lost := 0, 0
	for seed := range uint64(12) {
		dev := faultio.New(faultio.Options{Capacity: 64 * mib, Seed: seed, Latency: 500_000})
		d := openDrive(t, dev, Options{Arena: arena})
		type outcome struct {
			stored
			err error
		}
		results := make(chan outcome)
		for i := range uint64(6) {
			go func() {
				s := stored{id: layout.NewBlobID(testTime), data: randomBytes(seed*10+i, int(1+(seed+1)*(i+1)*29_000))}
				var err error
				if s.exts, err = d.Reserve(context.Background(), int64(len(s.data))); err == nil {
					err = d.WriteFragment(context.Background(), s.id, s.exts, int64(len(s.data)), bytes.NewReader(s.data))
				}
				results <- outcome{s, err}
			}()
		}
		all := []outcome{<-results, <-results}
		after := openDrive(t, dev.Crash(seed), Options{Arena: arena})
		for len(all) < 6 {
			all = append(all, <-results)
		}
		for _, o := range all {
			if len(o.exts) == 0 {
				continue
			}
			size := int64(len(o.data))
			got, err := get(after, o.id, o.exts, size, 0, size)
			switch {
			case o.err == nil:
				wantBytes(t, got, err, o.data)
				acknowledged++
			case err == nil && !bytes.Equal(got, o.data):
				t.Fatal("wrong bytes after a crash")
			case err != nil:
				lost++
			}
		}
	}
	if acknowledged == 0 || lost == 0 {
		t.Errorf("%d acknowledged, %d lost: the test proves nothing", acknowledged, lost)
	}
}
