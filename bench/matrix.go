package main

import (
	"context"
	"fmt"
)

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

// matrix is the scenario of sizes × operations × concurrency on one endpoint.
type matrix struct {
	f        *fixture
	rows     []row
	syscalls bool         // count them, where the server's process is known
	progress *progress    // nil: none
	tell     func(result) // of each result as it comes
}

func (m *matrix) run(ctx context.Context) error {
	m.progress.say("storing what the rows read")
	if err := m.f.prepare(ctx, m.rows); err != nil {
		return err
	}
	for _, r := range m.rows {
		m.progress.step(fmt.Sprintf("%s %s ×%d", m.f.t.scheme(), r.name(), r.concurrency))
		res, err := m.f.measure(ctx, r)
		if err != nil {
			return err
		}
		if m.syscalls && m.f.t.pid != 0 {
			if res.Syscalls, err = m.f.syscalls(ctx, r); err != nil {
				return err
			}
		}
		m.tell(res)
	}
	return nil
}

// syscalls runs a row once more, shortly, and returns the server's system calls
// per operation.
func (f *fixture) syscalls(ctx context.Context, r row) (float64, error) {
	short := *f
	short.warmUp, short.measured = 0, syscallTime
	c, _, err := short.cell(ctx, r)
	f.series = short.series
	if err != nil {
		return 0, err
	}
	var res result
	n, err := countSyscalls(ctx, f.t.pid, func() (err error) {
		res, err = c.run(ctx, f.t, f.p)
		return err
	})
	if err != nil || res.issued == 0 {
		return 0, err
	}
	return float64(n) / float64(res.issued), nil
}
