package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Objects of the matrix.
const (
	poolBytes   = 1 << 30 // matrix.pool of a real run
	poolObjects = 16384   // at most
	poolLeast   = 64
	// putObjects is the most keys a PUT cell writes before it begins to replace
	// them. matrix.pool bounds it too: small objects are mostly new, large ones
	// mostly replacements, and the disk use of a run is bounded.
	putObjects = 1 << 18
)

// sizes are the sizes the matrix knows, by the name that flags and tables use.
var sizes = map[string]int64{
	"4KiB": 4 << 10, "64KiB": 64 << 10, "1MiB": 1 << 20, "16MiB": 16 << 20,
}

// matrix is the scenario of sizes × operations × concurrency on one endpoint.
type matrix struct {
	t           *target
	p           *pattern
	bucket      string
	pool        int64 // bytes of content of the objects of one size
	sizes       []string
	ops         []string
	concurrency []int
	warmUp      time.Duration
	measured    time.Duration
	tell        func(result) // of each result as it comes

	cells int // run so far: each PUT cell has keys of its own
}

// createBucket makes the bucket; one that is there already will do.
func createBucket(ctx context.Context, t *target, p *pattern, bucket string) error {
	c, err := dial(ctx, t, p)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err = c.do(&request{method: "HEAD", path: "/" + bucket, size: -1}); err == nil {
		return nil
	}
	c.close() // whatever HEAD left in the connection
	if c, err = dial(ctx, t, p); err != nil {
		return err
	}
	defer c.close()
	_, err = c.do(&request{method: "PUT", path: "/" + bucket})
	return err
}

func (m *matrix) run(ctx context.Context) error {
	if err := createBucket(ctx, m.t, m.p, m.bucket); err != nil {
		return err
	}
	for _, size := range m.sizes {
		pool, err := m.fill(ctx, size)
		if err != nil {
			return err
		}
		for _, op := range m.ops {
			if (op == "HEAD" || op == "LIST") && size != m.sizes[0] {
				continue // they do not depend on the size
			}
			for _, concurrency := range m.concurrency {
				res, err := m.cell(op, size, concurrency, pool).run(ctx, m.t, m.p)
				if err != nil {
					return err
				}
				m.tell(res)
			}
		}
	}
	return nil
}

// stored is one object to read, its head signed once and for all.
type stored struct {
	get, head      request
	getRaw, headed []byte
}

// fill stores the objects that GET and HEAD read.
func (m *matrix) fill(ctx context.Context, size string) ([]stored, error) {
	bytes := sizes[size]
	n := min(max(m.pool/bytes, poolLeast), poolObjects)
	c := cell{name: "fill " + size, concurrency: 16, limit: n, next: func(i int64) (*request, []byte) {
		return &request{method: "PUT", path: m.key(size, 0, i), seed: uint64(i), size: bytes}, nil
	}}
	if _, err := c.run(ctx, m.t, m.p); err != nil {
		return nil, err
	}
	pool, now := make([]stored, n), time.Now()
	for i := range pool {
		s := &pool[i]
		s.get = request{method: "GET", path: m.key(size, 0, int64(i)), seed: uint64(i), size: bytes}
		s.head = s.get
		s.head.method = "HEAD"
		s.getRaw, s.headed = m.t.head(&s.get, now), m.t.head(&s.head, now)
	}
	return pool, nil
}

// key names object i of a size: those that are read (series 0), or those that
// the PUT cell of another number writes.
func (m *matrix) key(size string, series int, i int64) string {
	return fmt.Sprintf("/%s/%s/%03d/%07d", m.bucket, size, series, i)
}

func (m *matrix) cell(op, size string, concurrency int, pool []stored) *cell {
	m.cells++
	c := &cell{
		name: op + " " + size, concurrency: concurrency, bytes: sizes[size],
		warmUp: m.warmUp, measured: m.measured,
	}
	series := m.cells
	switch op {
	case "PUT":
		n := min(max(m.pool/c.bytes, poolLeast), putObjects)
		c.next = func(i int64) (*request, []byte) {
			i %= n
			return &request{method: "PUT", path: m.key(size, series, i), seed: uint64(i), size: c.bytes}, nil
		}
	case "GET":
		c.next = func(int64) (*request, []byte) {
			s := &pool[rand.IntN(len(pool))]
			return &s.get, s.getRaw
		}
	case "HEAD":
		c.name, c.bytes = op, 0
		c.next = func(int64) (*request, []byte) {
			s := &pool[rand.IntN(len(pool))]
			return &s.head, s.headed
		}
	case "LIST":
		c.name, c.bytes = op+" 1000 keys", 0
		r := &request{method: "GET", path: "/" + m.bucket, query: "list-type=2&prefix=" + size + "%2F000%2F", size: -1}
		head := m.t.head(r, time.Now())
		c.next = func(int64) (*request, []byte) { return r, head }
	}
	return c
}
