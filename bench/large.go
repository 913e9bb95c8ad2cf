package main

import (
	"context"
	"fmt"
)

// largeObject is the size of the objects of scenario large, each one PUT.
const largeObject = 1 << 30

// large PUTs n objects of 1 GiB, all at the same time, GETs them all at the same
// time, verified, and deletes them. The figure of interest is the server's
// memory, which must not depend on their size.
func large(ctx context.Context, t *target, p *pattern, bucket string, n int, tell func(result)) error {
	if err := createBucket(ctx, t, p, bucket); err != nil {
		return err
	}
	for _, method := range []string{"PUT", "GET", "DELETE"} {
		c := cell{name: method + " 1GiB", concurrency: n, limit: int64(n), bytes: largeObject}
		if method == "DELETE" {
			c.bytes = 0
		}
		c.next = func(i int64) (*request, []byte) {
			return &request{method: method, path: fmt.Sprintf("/%s/large/%04d", bucket, i), seed: uint64(i), size: largeObject}, nil
		}
		res, err := c.run(ctx, t, p)
		if err != nil {
			return err
		}
		tell(res)
	}
	return nil
}
