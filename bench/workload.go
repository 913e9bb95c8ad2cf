package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// operations are those a row may have.
func operations() []string {
	return []string{"PUT", "GET", "HEAD", "DELETE", "LIST", "MIXED", "MULTIPART", "RANGE"}
}

// row is one line of the tables: an operation, the size of its objects, and how
// it is driven.
type row struct {
	op          string
	size        int64
	concurrency int
	rate        float64 // per second, of an open loop; 0: a closed loop
	cold        bool    // GET: each object once, the kernel's caches dropped before
}

// name is what tables call the row, but for its concurrency.
func (r row) name() string {
	name := r.op + " " + sizeName(r.size)
	switch {
	case r.op == "HEAD" || r.op == "DELETE":
		name = r.op
	case r.op == "LIST":
		name = r.op + " 1000 keys"
	case r.cold:
		name += " cold"
	}
	if r.rate > 0 {
		name += " at " + strconv.FormatFloat(r.rate, 'f', -1, 64) + "/s"
	}
	return name
}

// sizeless tells that an operation does not depend on the size of the objects.
func sizeless(op string) bool { return op == "HEAD" || op == "LIST" || op == "DELETE" || op == "MIXED" }

// shape is what a fixture is made for, beside its rows.
type shape struct {
	bucket   string
	pool     int64 // bytes of content of the objects of one size
	part     int64 // of MULTIPART
	span     int64 // of RANGE, in bytes
	mix      mixture
	backlog  int
	warmUp   time.Duration
	measured time.Duration
}

// parts and ranges that rows have without flags. 5 MiB is the least a part may
// have but for the last (Amazon S3 User Guide, "Multipart upload limits").
const (
	defaultPart = 8 << 20
	leastPart   = 5 << 20
	defaultSpan = 128 << 10
	listMost    = 1000 // keys of a page
)

// rowsOf returns the rows of a cross product, without those that make no sense:
// operations that do not depend on the size come with the first size only, and
// MULTIPART and RANGE with objects larger than a part and a range.
func (s *shape) rowsOf(ops []string, sizes []int64, concurrency []int, rates []float64) (rows []row) {
	for i, size := range sizes {
		for _, op := range ops {
			if i > 0 && sizeless(op) || op == "MULTIPART" && size <= s.part || op == "RANGE" && size <= s.span {
				continue
			}
			for _, n := range concurrency {
				for _, rate := range rates {
					rows = append(rows, row{op: op, size: size, concurrency: n, rate: rate})
				}
			}
		}
	}
	return rows
}

// coreRows are those that Sluice's own goals are stated for. Those that need cold
// caches are left out where they cannot be dropped.
func coreRows(cold bool) []row {
	rows := []row{
		{op: "PUT", size: 4 << 10, concurrency: 16}, {op: "GET", size: 4 << 10, concurrency: 16},
		{op: "PUT", size: 4 << 10, concurrency: 1}, {op: "GET", size: 4 << 10, concurrency: 1},
		{op: "HEAD", size: 4 << 10, concurrency: 16}, {op: "LIST", size: 4 << 10, concurrency: 16},
		{op: "DELETE", size: 4 << 10, concurrency: 16},
		{op: "PUT", size: 1 << 20, concurrency: 16}, {op: "GET", size: 1 << 20, concurrency: 16},
		{op: "PUT", size: 1 << 20, concurrency: 1}, {op: "GET", size: 1 << 20, concurrency: 1},
		{op: "PUT", size: 16 << 20, concurrency: 16}, {op: "GET", size: 16 << 20, concurrency: 16},
	}
	if cold {
		rows = append(rows, row{op: "GET", size: 16 << 20, concurrency: 16, cold: true})
	}
	return rows
}

// fixture is one endpoint with the objects that its rows read.
type fixture struct {
	shape
	t     *target
	p     *pattern
	pools map[int64]*pool
	// series counts the sets of keys that rows wrote, each below a folder of its
	// own; series 0 is read. Large objects are written over those before.
	series  int
	rewrite map[string]int // the series of a row that writes over what it wrote
}

// pool is the objects of one size that rows read.
type pool struct {
	objects []stored
	signed  time.Time
}

// stored is one object to read, its head signed once for many requests.
type stored struct {
	get, head      request
	getRaw, headed []byte
}

func newFixture(t *target, p *pattern, s shape) *fixture {
	return &fixture{shape: s, t: t, p: p, pools: map[int64]*pool{}, rewrite: map[string]int{}}
}

// Bounds of what a fixture stores.
const (
	poolBytes   = 1 << 30 // shape.pool of a matrix
	poolObjects = 16384   // objects to read of one size, at most
	poolLeast   = 16      // and at least
	// putObjects is the most keys a row writes before it begins to replace them.
	// shape.pool bounds it too: small objects are mostly new, large ones mostly
	// replacements, and the disk use of a run is bounded.
	putObjects = 1 << 18
	// freshBelow is the size from which on a row writes over what it wrote before.
	freshBelow = 64<<10 + 1
	// seriesEach is more series than the rows of one fixture use.
	seriesEach = 10_000
	// deleteObjects is the most that DELETE stores to delete.
	deleteObjects = 32768
)

// count is how many objects of a size a pool has, most at most.
func (f *fixture) count(size, most int64) int64 { return min(max(f.pool/size, poolLeast), most) }

// key names object i of a size in a series.
func (f *fixture) key(size int64, series int, i int64) string {
	return string(f.appendKey(nil, size, series, i))
}

func (f *fixture) appendKey(b []byte, size int64, series int, i int64) []byte {
	b = append(append(append(b, '/'), f.bucket...), '/')
	b = append(appendPadded(append(appendSize(b, size), '/'), int64(series), 3), '/')
	return appendPadded(b, i, 7)
}

// appendPadded appends n with leading zeros.
func appendPadded(b []byte, n int64, width int) []byte {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], n, 10)
	for range width - len(text) {
		b = append(b, '0')
	}
	return append(b, text...)
}

// prepare creates the bucket and stores the objects that rows read.
func (f *fixture) prepare(ctx context.Context, rows []row) error {
	if err := createBucket(ctx, f.t, f.p, f.bucket); err != nil {
		return err
	}
	for _, r := range rows {
		if !slices.Contains([]string{"GET", "HEAD", "LIST", "MIXED", "RANGE"}, r.op) || f.pools[r.size] != nil {
			continue
		}
		n := f.count(r.size, poolObjects)
		if err := f.store(ctx, r.size, 0, &cell{name: "fill " + sizeName(r.size), concurrency: 16, limit: n}, nil); err != nil {
			return err
		}
		f.pools[r.size] = &pool{objects: make([]stored, n)}
	}
	return nil
}

// store runs c, unmeasured, as PUTs of new objects. It puts how many into stored,
// if not nil.
func (f *fixture) store(ctx context.Context, size int64, series int, c *cell, stored *int64) error {
	c.perform = f.putter(size, series, c.limit)
	res, err := c.run(ctx, f.t, f.p)
	if stored != nil {
		*stored = res.issued
	}
	return err
}

// sign signs the heads of a pool again when they are old.
func (f *fixture) sign(size int64) []stored {
	p, now := f.pools[size], time.Now()
	if now.Sub(p.signed) < resign {
		return p.objects
	}
	for i := range p.objects {
		s := &p.objects[i]
		s.get = request{method: "GET", path: f.key(size, 0, int64(i)), seed: uint64(i), size: size} // #nosec G115: not negative
		s.head = s.get
		s.head.method = "HEAD"
		s.getRaw, s.headed = f.t.head(&s.get, now), f.t.head(&s.head, now)
	}
	p.signed = now
	return p.objects
}

// seriesOf returns the keys that a row writes to.
func (f *fixture) seriesOf(r row) int {
	if r.size < freshBelow {
		f.series++
		return f.series
	}
	kind := r.op + sizeName(r.size)
	if f.rewrite[kind] == 0 {
		f.series++
		f.rewrite[kind] = f.series
	}
	return f.rewrite[kind]
}

// measure runs a row once, after what it needs, and looks at what it wrote.
func (f *fixture) measure(ctx context.Context, r row) (result, error) {
	c, check, err := f.cell(ctx, r)
	if err != nil {
		return result{}, err
	}
	if r.cold {
		if err := dropCaches(); err != nil {
			return result{}, err
		}
	}
	res, err := c.run(ctx, f.t, f.p)
	if err == nil && check != nil {
		err = check(ctx, res.issued)
	}
	return res, err
}

// cell makes the cell of a row. check, if not nil, is to be called afterwards
// with the operations issued.
func (f *fixture) cell(ctx context.Context, r row) (c *cell, check func(context.Context, int64) error, err error) {
	c = &cell{
		name: r.name(), concurrency: r.concurrency, bytes: r.size, rate: r.rate, backlog: f.backlog,
		warmUp: f.warmUp, measured: f.measured,
	}
	if sizeless(r.op) {
		c.bytes = 0
	}
	switch r.op {
	case "PUT":
		series, n := f.seriesOf(r), f.count(r.size, putObjects)
		c.perform = f.putter(r.size, series, n)
		check = f.checker(r.size, series, n)
	case "GET":
		f.getCell(c, r)
	case "HEAD":
		objects := f.sign(r.size)
		c.next = func(int64) (*request, []byte) {
			s := &objects[rand.IntN(len(objects))]
			return &s.head, s.headed
		}
	case "DELETE":
		err = f.deleteCell(ctx, c, r)
	case "LIST":
		f.listCell(c, r)
	case "MIXED":
		f.mixedCell(c, r)
	case "MULTIPART":
		series, n := f.seriesOf(r), f.count(r.size, putObjects)
		c.perform = f.uploader(r.size, series, n)
		check = f.checker(r.size, series, n)
	case "RANGE":
		c.name, c.bytes = strings.Replace(c.name, "RANGE ", "RANGE "+sizeName(f.span)+" of ", 1), f.span
		f.rangeCell(c, r)
	default:
		err = errors.New("no operation " + r.op)
	}
	return c, check, err
}

func (f *fixture) getCell(c *cell, r row) {
	objects := f.sign(r.size)
	c.next = func(int64) (*request, []byte) {
		s := &objects[rand.IntN(len(objects))]
		return &s.get, s.getRaw
	}
	if r.cold {
		c.measured, c.limit = 0, int64(len(objects))
		c.next = func(i int64) (*request, []byte) { return &objects[i].get, objects[i].getRaw }
	}
}

func (f *fixture) listCell(c *cell, r row) {
	want := min(int64(len(f.pools[r.size].objects)), listMost)
	q := &request{
		method: "GET", path: "/" + f.bucket, size: -1,
		query: "list-type=2&prefix=" + sizeName(r.size) + "%2F000%2F",
	}
	head, entry := f.t.head(q, time.Now()), []byte("<Key>")
	c.perform = func(cl *client, _ int64) (int, error) {
		body, err := cl.send(q, head)
		if err != nil {
			return 0, err
		}
		return 0, countEntries(body, entry, want)
	}
}

// rangeCell reads span bytes anywhere in the objects.
func (f *fixture) rangeCell(c *cell, r row) {
	objects := f.sign(r.size)
	c.perform = func(cl *client, _ int64) (int, error) {
		s := &objects[rand.IntN(len(objects))]
		cl.req = s.get
		cl.req.ranged, cl.req.size, cl.req.off = true, f.span, rand.Int64N(r.size-f.span+1)
		_, err := cl.send(&cl.req, s.getRaw)
		return 0, err
	}
}

// operationsOf parses a list of operations.
func operationsOf(text string) ([]string, error) {
	return parseList(text, func(op string) (string, error) {
		if op = strings.ToUpper(op); !slices.Contains(operations(), op) {
			return "", fmt.Errorf("-ops: no %q: %s", op, strings.Join(operations(), ", "))
		}
		return op, nil
	})
}
