package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/seal"
)

var testKey = seal.NewKey([32]byte{1, 2, 3})

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testSpool(t testing.TB, dir string) *spool {
	t.Helper()
	s, err := openSpool(dir, testKey, slog.New(slog.DiscardHandler), time.Now, (*os.File).Sync)
	must(t, err)
	return s
}

// noSync saves the time of syncs where a test needs none of their effect: what
// was written is there when a process dies without its machine.
func noSync(*os.File) error { return nil }

// memDir is a directory in memory where there is one, else on disk: tests that
// make files by the thousand take seconds there and minutes here.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "audit-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// looseSpool is testSpool without syncs.
func looseSpool(t testing.TB, dir string) *spool {
	t.Helper()
	s, err := openSpool(dir, testKey, slog.New(slog.DiscardHandler), time.Now, noSync)
	must(t, err)
	return s
}

// pack puts each event's length before it.
func pack(events ...string) (out []byte) {
	for _, e := range events {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(e)))
		out = append(out, e...)
	}
	return out
}

// readAll reads everything from seq on; holes appear as "hole N".
func readAll(s *spool, seq uint64) (out []string) {
	r := &reader{s: s}
	r.seek(seq)
	defer r.closeFile()
	for {
		it, ok := r.next()
		if !ok {
			return out
		}
		if it.event == nil {
			out = append(out, fmt.Sprintf("hole %d", it.missing))
		} else {
			out = append(out, string(it.event))
		}
	}
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	must(t, err)
	return names
}

func equal(t testing.TB, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %.400q, want %.400q", got, want)
	}
}

func TestSpoolKeepsAcrossOpens(t *testing.T) {
	dir := t.TempDir()
	s := testSpool(t, dir)
	must(t, s.put(pack("a", "b"), time.Now(), MaxSpool))
	must(t, s.put(pack("c"), time.Now(), MaxSpool))
	equal(t, readAll(s, 1), "a", "b", "c")
	must(t, s.acknowledge(2)) // no close: as after kill -9
	s = testSpool(t, dir)
	if ack, next, _ := s.position(); ack != 2 || next != 4 {
		t.Fatalf("acknowledged before %d, next %d", ack, next)
	}
	equal(t, readAll(s, 2), "b", "c")
	must(t, s.put(pack("d"), time.Now(), MaxSpool))
	equal(t, readAll(s, 2), "b", "c", "d")
	must(t, s.acknowledge(4))
	must(t, s.close())
	if n := len(segments(t, dir)); n != 1 {
		t.Errorf("%d segments", n)
	}
	s = testSpool(t, dir)
	equal(t, readAll(s, 4), "d")
	must(t, s.acknowledge(5))
	must(t, s.close())
	if n := len(segments(t, dir)); n != 0 {
		t.Errorf("%d segments are left of nothing", n)
	}
	s = testSpool(t, dir)
	must(t, s.put(pack("e"), time.Now(), MaxSpool))
	if _, next, _ := s.position(); next != 6 {
		t.Errorf("numbers begin anew: next is %d", next)
	}
	must(t, s.close())
}

// Names do not stand on the disk in the clear, and only the cluster's key opens them.
func TestSpoolIsSealed(t *testing.T) {
	dir := t.TempDir()
	s := testSpool(t, dir)
	must(t, s.put(pack("planted-marker", "planted-marker"), time.Now(), MaxSpool))
	must(t, s.close())
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("planted")) {
			t.Errorf("%s tells what is in it", path)
		}
		if st, _ := d.Info(); st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
		return err
	}))
	if _, err := openSpool(dir, seal.NewKey([32]byte{9}), slog.New(slog.DiscardHandler), time.Now, noSync); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another key: %v", err)
	}
}

// TestSpoolTornTail cuts the last segment at every length: whole frames before
// the cut are read, and the spool goes on.
func TestSpoolTornTail(t *testing.T) {
	t.Parallel()
	origin := memDir(t)
	s := looseSpool(t, origin)
	ends := []int64{segmentHeader}
	for _, e := range []string{"one", "two", "three"} {
		must(t, s.put(pack(e), time.Now(), MaxSpool))
		ends = append(ends, s.segs[0].end)
	}
	must(t, s.close())
	whole, err := os.ReadFile(segments(t, origin)[0])
	must(t, err)
	for cut := range len(whole) {
		dir := memDir(t)
		path := filepath.Join(dir, filepath.Base(segments(t, origin)[0]))
		must(t, os.WriteFile(path, whole[:cut], 0o600))
		var want []string
		for i, e := range []string{"one", "two", "three"} {
			if int64(cut) >= ends[i+1] {
				want = append(want, e)
			}
		}
		s := looseSpool(t, dir)
		must(t, s.put(pack("after"), time.Now(), MaxSpool))
		equal(t, readAll(s, 1), append(want, "after")...)
		must(t, s.close())
	}
}

// TestSpoolDamage flips every byte of a segment that others follow: the events
// that cannot be read are told of as a hole, all others are read, none twice.
func TestSpoolDamage(t *testing.T) {
	origin := memDir(t)
	s := looseSpool(t, origin)
	must(t, s.put(pack("one", "two"), time.Now(), MaxSpool))
	must(t, s.put(pack("three"), time.Now(), MaxSpool))
	must(t, s.finish())
	must(t, s.put(pack("four"), time.Now(), MaxSpool))
	must(t, s.close())
	names := segments(t, origin)
	if len(names) != 2 {
		t.Fatalf("%d segments", len(names))
	}
	whole, err := os.ReadFile(names[0])
	must(t, err)
	cursor, err := os.ReadFile(filepath.Join(origin, cursorName))
	must(t, err)
	last, err := os.ReadFile(names[1])
	must(t, err)
	for i := range whole {
		dir := memDir(t)
		bad := bytes.Clone(whole)
		bad[i] ^= 0x10
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(names[0])), bad, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(names[1])), last, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, cursorName), cursor, 0o600))
		s := looseSpool(t, dir)
		got := strings.Join(readAll(s, 1), " ")
		if got != "hole 3 four" && got != "one two hole 1 four" {
			t.Errorf("byte %d: %s", i, got)
		}
		must(t, s.close())
	}
}

func TestSpoolBound(t *testing.T) {
	s := looseSpool(t, memDir(t))
	const limit = MinSpool
	event := strings.Repeat("x", 8<<10)
	n := 0
	for ; ; n++ {
		err := s.put(pack(event), time.Now(), limit)
		if errors.Is(err, errFull) {
			break
		}
		must(t, err)
	}
	if _, _, bytes := s.position(); bytes > limit || bytes < limit*7/8 {
		t.Errorf("full with %d bytes", bytes)
	}
	if err := s.put(pack("small"), time.Now(), limit); !errors.Is(err, errFull) {
		t.Errorf("right after: %v", err)
	}
	must(t, s.acknowledge(uint64(n)/2))
	must(t, s.put(pack("small"), time.Now(), limit))
	must(t, s.acknowledge(uint64(n)+2))
	// A bound below what the present segment holds is no dead end.
	must(t, s.put(pack(strings.Repeat("y", 200<<10)), time.Now(), MaxSpool))
	must(t, s.put(pack(strings.Repeat("y", 200<<10), strings.Repeat("y", 200<<10), strings.Repeat("y", 200<<10), strings.Repeat("y", 200<<10)), time.Now(), MaxSpool))
	if err := s.put(pack(strings.Repeat("z", 200<<10)), time.Now(), limit); !errors.Is(err, errFull) {
		t.Errorf("bound lowered: %v", err)
	}
	_, next, _ := s.position()
	must(t, s.acknowledge(next))
	must(t, s.put(pack("z"), time.Now(), limit))
	must(t, s.close())
}

// faulty makes the spool's files fail on demand.
type faulty struct{ write, sync, short bool }

func (f *faulty) into(s *spool) {
	s.write = func(file *os.File, p []byte) (int, error) {
		if f.short {
			n, _ := file.Write(p[:len(p)/2])
			return n, errors.New("no space")
		}
		if f.write {
			return 0, errors.New("no space")
		}
		return file.Write(p)
	}
	s.sync = func(file *os.File) error {
		if f.sync {
			return errors.New("sync failed")
		}
		return nil
	}
}

func TestSpoolWriteErrors(t *testing.T) {
	for name, fault := range map[string]faulty{"write": {write: true}, "sync": {sync: true}, "short": {short: true}} {
		dir := t.TempDir()
		s := looseSpool(t, dir)
		var f faulty
		f.into(s)
		must(t, s.put(pack("a"), time.Now(), MaxSpool))
		f = fault
		if err := s.put(pack("lost"), time.Now(), MaxSpool); err == nil || errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
		f = faulty{}
		must(t, s.put(pack("b"), time.Now(), MaxSpool))
		equal(t, readAll(s, 1), "a", "b")
		s = looseSpool(t, dir) // as after a crash
		equal(t, readAll(s, 1), "a", "b")
		must(t, s.close())
	}
	// One failure is survived without losing anything.
	s := looseSpool(t, t.TempDir())
	must(t, s.put(pack("a"), time.Now(), MaxSpool))
	once := true
	s.sync = func(f *os.File) error {
		if once {
			once = false
			return errors.New("sync failed")
		}
		return f.Sync()
	}
	must(t, s.put(pack("b", "c"), time.Now(), MaxSpool))
	equal(t, readAll(s, 1), "a", "b", "c")
	must(t, s.close())
}

func TestCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	c, found, err := openCursor(path, noSync)
	if err != nil || found {
		t.Fatal(found, err)
	}
	for i := range uint64(5) {
		c.state.ack = i
		c.state.lost = loss{}
		c.state.lost.add(i, time.Unix(5, 0), time.Unix(6, 7))
		must(t, c.save())
	}
	must(t, c.close(time.Now()))
	c, found, err = openCursor(path, noSync)
	if err != nil || !found || c.state.ack != 4 || c.state.lost.n != 4 || !c.state.lost.last.Equal(time.Unix(6, 7)) {
		t.Fatal(found, err, c.state)
	}
	// With the newest slot torn, the one before counts.
	_, err = c.f.WriteAt([]byte("torn"), int64(c.state.gen&1)*cursorStride+20)
	must(t, err)
	must(t, c.f.Close())
	c, found, err = openCursor(path, noSync)
	if err != nil || !found || c.state.ack != 3 {
		t.Fatal(found, err, c.state)
	}
	must(t, c.f.Close())
}

// TestSpoolModel drives the spool against a list: puts, acknowledgements, faults,
// crashes and reopens. What was put and not acknowledged is read, in order.
func TestSpoolModel(t *testing.T) {
	t.Parallel()
	base := memDir(t)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		must(t, os.Mkdir(dir, 0o700))
		s := looseSpool(t, dir)
		var f faulty
		f.into(s)
		var model []string // model[i] has the number i+1
		acked, serial := 0, 0
		check := func() {
			ack, next, _ := s.position()
			if int(ack) != acked+1 || int(next) != len(model)+1 {
				rt.Fatalf("position %d, %d; want %d, %d", ack, next, acked+1, len(model)+1)
			}
			if got, want := strings.Join(readAll(s, ack), " "), strings.Join(model[acked:], " "); got != want {
				rt.Fatalf("read %.200s, want %.200s", got, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				var events []string
				for range rapid.IntRange(1, 5).Draw(rt, "n") {
					serial++
					events = append(events, fmt.Sprint(serial)+strings.Repeat("x", rapid.SampledFrom([]int{0, 10, 40 << 10}).Draw(rt, "size")))
				}
				f = faulty{}
				switch rapid.IntRange(0, 5).Draw(rt, "fault") {
				case 0:
					f.write = true
				case 1:
					f.short = true
				case 2:
					f.sync = true
				}
				err := s.put(pack(events...), time.Now(), MinSpool)
				if failing := f != (faulty{}); failing && err == nil || err != nil && !failing && !errors.Is(err, errFull) {
					rt.Fatalf("put: %v", err)
				}
				f = faulty{}
				if err == nil {
					model = append(model, events...)
				}
			},
			"acknowledge": func(rt *rapid.T) {
				acked += rapid.IntRange(0, len(model)-acked).Draw(rt, "n")
				must(t, s.acknowledge(uint64(acked)+1))
			},
			"crash": func(*rapid.T) { s = looseSpool(t, dir); f.into(s) },
			"reopen": func(*rapid.T) {
				must(t, s.close())
				s = looseSpool(t, dir)
				f.into(s)
			},
			"": func(*rapid.T) { check() },
		})
		must(t, s.close())
	})
}

// FuzzSpool: a segment of any content is read without a panic, and what is read
// of it was sealed by the key.
func FuzzSpool(f *testing.F) {
	dir := memDir(f)
	s := testSpool(f, dir)
	must(f, s.put(pack("one", "two"), time.Unix(1, 0), MaxSpool))
	must(f, s.put(pack("three"), time.Unix(1, 0), MaxSpool))
	must(f, s.close())
	whole, err := os.ReadFile(segments(f, dir)[0])
	must(f, err)
	f.Add(whole, uint16(0))
	f.Add(whole[:len(whole)-3], uint16(segmentHeader))
	f.Add(append(bytes.Clone(whole), whole[segmentHeader:]...), uint16(segmentHeader+16))
	f.Add([]byte(segmentMagic), uint16(3))
	f.Fuzz(func(t *testing.T, data []byte, flip uint16) {
		dir := memDir(t)
		data = bytes.Clone(data)
		if int(flip) < len(data) {
			data[flip]++
		}
		must(t, os.WriteFile(filepath.Join(dir, "0000000000000001"+segmentSuffix), data, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, cursorName), data[:min(len(data), cursorSlot)], 0o600))
		s, err := openSpool(dir, testKey, slog.New(slog.DiscardHandler), time.Now, noSync)
		if err != nil {
			return
		}
		for _, e := range readAll(s, 1) {
			if e != "one" && e != "two" && e != "three" && !strings.HasPrefix(e, "hole") {
				t.Fatalf("read %q", e)
			}
		}
		must(t, s.cursor.f.Close()) // without a sync, which takes longer than all else
	})
}

// FuzzFrame: frames of any content are refused or hold what appendFrame put there.
func FuzzFrame(f *testing.F) {
	aead, err := newCipher(make([]byte, 32))
	must(f, err)
	f.Add(appendFrame(nil, aead, 7, 2, time.Unix(1, 0), pack("a", "b")))
	f.Add(appendFrame(nil, aead, 1<<63, 1, time.Unix(1, 0), pack("")))
	f.Add(appendFrame(nil, aead, 1, 3, time.Unix(1, 0), pack("wrong", "count")))
	f.Fuzz(func(t *testing.T, frame []byte) {
		plain, err := openFrame([]byte("before"), aead, frame)
		if err != nil {
			if string(plain) != "before" {
				t.Fatalf("left %q", plain)
			}
			return
		}
		info, err := parseFrame(frame)
		must(t, err)
		if again := appendFrame(nil, aead, info.first, info.count, info.time, plain[len("before"):]); !bytes.Equal(again, frame) {
			t.Fatal("a frame that was accepted encodes differently")
		}
	})
}

// FuzzCursor: a slot is refused or encodes as it was.
func FuzzCursor(f *testing.F) {
	st := state{gen: 3, ack: 9, lost: loss{n: 1, first: time.Unix(1, 2), last: time.Unix(3, 4)}}
	f.Add(st.encode())
	f.Add([]byte(cursorMagic))
	f.Fuzz(func(t *testing.T, p []byte) {
		st, ok := decodeState(p)
		if again, same := decodeState(st.encode()); ok && (!same || again != st) {
			t.Fatalf("%+v became %+v", st, again)
		}
	})
}
