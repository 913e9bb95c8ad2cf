package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"
)

// urls prints presigned URLs, path and query only, for generators that cannot
// sign. Those to GET are stored first, with contents of the first of -sizes.
func urls(ctx context.Context, t *target, p *pattern, o *options, w io.Writer) error {
	if err := createBucket(ctx, t, p, o.bucket); err != nil {
		return err
	}
	size := o.sizeList[0]
	object := func(i int64, method string) *request {
		return &request{method: method, path: fmt.Sprintf("/%s/urls/%s/%06d", o.bucket, sizeName(size), i), seed: uint64(i), size: size}
	}
	if o.method != "PUT" {
		c := cell{name: "fill " + sizeName(size), concurrency: 16, limit: o.count, next: func(i int64) (*request, []byte) { return object(i, "PUT"), nil }}
		if _, err := c.run(ctx, t, p); err != nil {
			return err
		}
	}
	out, now := bufio.NewWriter(w), time.Now()
	for i := range o.count {
		if _, err := fmt.Fprintln(out, t.presigned(object(i, o.method), now)); err != nil {
			return err
		}
	}
	return out.Flush()
}
