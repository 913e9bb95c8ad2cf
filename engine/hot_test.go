package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// hotID returns the id of test blob i.
func hotID(i int) (id layout.BlobID) {
	binary.BigEndian.PutUint64(id[:], 1)
	binary.BigEndian.PutUint64(id[8:], uint64(i)*0x9E3779B97F4A7C15+1)
	return id
}

// hotData returns what test blob i holds.
func hotData(i int) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, uint64(i)), 1+i%50)
}

// Against a model: what is in the cache is what was offered under that id, the bounds
// hold, and what is lent and given back adds up.
func TestHotModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newHot(int64(rapid.IntRange(hotOverhead*hotPart, 40<<10).Draw(rt, "size")))
		offered := map[int]bool{}
		type loan struct{ i, n int }
		var loans []loan
		hits, gets := uint64(0), uint64(0)
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			i := rapid.IntRange(0, 99).Draw(rt, "blob")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				if data := hotData(i); c.fits(int64(len(data))) {
					c.offer(hotID(i), data)
					clear(data) // the buffer is another's again
					offered[i] = true
				}
			case 1:
				if len(loans) > 0 {
					l := loans[0]
					loans = loans[1:]
					c.giveBack(hotID(l.i), l.n)
				}
			default:
				gets++
				data := c.get(hotID(i))
				if data == nil {
					continue
				}
				hits++
				if !offered[i] || !bytes.Equal(data, hotData(i)) {
					rt.Fatalf("blob %d: %d bytes that are not its", i, len(data))
				}
				loans = append(loans, loan{i, len(data)})
			}
			st := c.status()
			if st.Bytes > st.Max || st.Blobs > int64(len(offered)) || st.Hits != hits || st.Hits+st.Misses != gets {
				rt.Fatalf("%+v", st)
			}
		}
		var lent, sum int64
		for _, l := range loans {
			lent += int64(l.n)
		}
		for i := range c.shards {
			if n := c.shards[i].lent.Load(); n > c.max {
				rt.Fatalf("%d bytes lent of %d", n, c.max)
			} else {
				sum += n
			}
		}
		if sum != lent {
			rt.Fatalf("%d bytes lent, %d counted", lent, sum)
		}
	})
}

// A scan of blobs that are read once leaves those that are read often.
func TestHotScan(t *testing.T) {
	const size, often = 4 << 10, 40
	c := newHot(often * 2 * (size + hotOverhead))
	data := make([]byte, size)
	read := func(i int) bool {
		if mem := c.get(hotID(i)); mem != nil {
			c.giveBack(hotID(i), len(mem))
			return true
		}
		c.offer(hotID(i), data)
		return false
	}
	for range 10 {
		for i := range often {
			read(i)
		}
	}
	for i := range 1000 {
		read(1000 + i)
	}
	left := 0
	for i := range often {
		if read(i) {
			left++
		}
	}
	if left < often*9/10 {
		t.Errorf("%d of %d are left", left, often)
	}
}

// Readers and writers at once, with more than there is room for.
func TestHotConcurrent(t *testing.T) {
	c := newHot(24 << 10)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 3000 {
				i := (n*n + g) % 120
				if mem := c.get(hotID(i)); mem != nil {
					if !bytes.Equal(mem, hotData(i)) {
						t.Errorf("blob %d is not what it was", i)
					}
					c.giveBack(hotID(i), len(mem))
				} else {
					c.offer(hotID(i), hotData(i))
				}
			}
		})
	}
	wg.Wait()
	for i := range c.shards {
		if n := c.shards[i].lent.Load(); n != 0 {
			t.Errorf("%d bytes are lent still", n)
		}
	}
	if st := c.status(); st.Hits == 0 || st.Bytes > st.Max {
		t.Errorf("%+v", st)
	}
}

// hotRead reads bytes of an object both ways.
func hotRead(t *testing.T, o *Object, off, n int64) []byte {
	t.Helper()
	b, err := o.Range(context.Background(), off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Bytes() != nil {
		t.Error("memory of the cache is handed out for good")
	}
	var buf bytes.Buffer
	if n%2 == 0 {
		_, err = b.WriteTo(&buf)
	} else {
		_, err = io.Copy(&buf, struct{ io.Reader }{b})
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// What is read again comes from the cache, in ranges too, though the drive refuses; a
// replaced object is never mixed up with its successor, and what is damaged does not
// get in.
func TestHotObjects(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1, cfg: Config{ReadCache: 4 << 20}})
	r.bucket("b")
	ctx := context.Background()
	old, now := content(1, 300_000), content(2, 300_000)
	r.put("b", "k", old)
	r.check("b", "k", old)
	refuse := faultio.Rule{Code: ioring.OpRead, Err: faultio.ErrIO}
	r.devs[0].Inject(refuse)
	o, err := r.e.Get(ctx, "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range [][2]int64{{0, 300_000}, {0, 1}, {299_999, 1}, {70_001, 100_002}, {70_001, 100_003}} {
		if got := hotRead(t, o, at[0], at[1]); !bytes.Equal(got, old[at[0]:at[0]+at[1]]) {
			t.Errorf("%d bytes for %v", len(got), at)
		}
	}
	r.devs[0].Heal()
	r.put("b", "k", now)
	r.devs[0].Inject(refuse)
	if got := hotRead(t, o, 0, 300_000); !bytes.Equal(got, old) {
		t.Error("who reads the old object gets something else")
	}
	o.Close()
	if _, _, err := fetch(r.e, "b", "k", 0); err == nil {
		t.Error("the new object was read without its drive")
	}
	r.devs[0].Heal()
	r.check("b", "k", now)

	info := r.put("b", "bad", content(3, 200_000))
	r.devs[0].Corrupt(info.Blob.Fragments[0].Extents[0].Off + 4096 + 150_000)
	before := r.e.Status().Hot
	for range 3 {
		if _, _, err := fetch(r.e, "b", "bad", 0); KindOf(err) != Corrupt {
			t.Errorf("%v", err)
		}
	}
	st := r.e.Status().Hot
	if st.Blobs != before.Blobs || st.Hits != before.Hits || before.Hits == 0 {
		t.Errorf("%+v, was %+v", st, before)
	}
	for i := range r.e.hot.shards {
		if n := r.e.hot.shards[i].lent.Load(); n != 0 {
			t.Errorf("%d bytes are lent still", n)
		}
	}
	r.stop()
}

func BenchmarkHot(b *testing.B) {
	c := newHot(32 << 20)
	for i := range 400 {
		c.offer(hotID(i), make([]byte, 64<<10))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if mem := c.get(hotID(i % 400)); mem != nil {
				c.giveBack(hotID(i%400), len(mem))
			}
		}
	})
}
