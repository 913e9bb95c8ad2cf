package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Keys of scenario listing: prefixCount prefixes, and in each as many keys as it
// takes. Their contents are small enough to be kept with the metadata.
const (
	prefixCount  = 1000
	listedObject = 100
	listRounds   = 50
)

// listed is a page whose time is taken.
type listed struct {
	name  string
	query string
	count int    // entries that the page must hold
	entry string // the XML element that begins each
}

// listing fills a bucket with few and another with many keys (a multiple of
// 1000) and takes the time of the same pages in both.
func listing(ctx context.Context, t *target, p *pattern, many int64, tell func(result)) error {
	pages := []listed{
		{"first 1000 keys", "list-type=2", 1000, "<Contents>"},
		{"1000 keys from the middle", "list-type=2&start-after=p0500", 1000, "<Contents>"},
		{"1000 prefixes", "delimiter=%2F&list-type=2", 1000, "<CommonPrefixes>"},
	}
	for _, n := range []int64{prefixCount, many} {
		bucket := fmt.Sprintf("list-%d", n)
		if err := createBucket(ctx, t, p, bucket); err != nil {
			return err
		}
		fill := cell{name: fmt.Sprintf("PUT %d × %d B", n, listedObject), concurrency: 64, limit: n, bytes: listedObject}
		fill.next = func(i int64) (*request, []byte) {
			path := fmt.Sprintf("/%s/p%04d/%07d", bucket, i%prefixCount, i/prefixCount)
			return &request{method: "PUT", path: path, seed: uint64(i), size: listedObject}, nil
		}
		res, err := fill.run(ctx, t, p)
		if err != nil {
			return err
		}
		tell(res)
		for _, page := range pages {
			if n == prefixCount && page.query == pages[1].query {
				page.count = 500 // what is left after the middle of 1000 keys
			}
			if err := takePage(ctx, t, p, bucket, page, n, tell); err != nil {
				return err
			}
		}
	}
	return nil
}

// takePage takes the time of one page, alone on the server, after having seen
// that it holds what it must.
func takePage(ctx context.Context, t *target, p *pattern, bucket string, page listed, n int64, tell func(result)) error {
	cl, err := dial(ctx, t, p)
	if err != nil {
		return err
	}
	defer cl.close()
	r := &request{method: "GET", path: "/" + bucket, query: page.query, size: -1}
	body, err := cl.do(r)
	if err != nil {
		return err
	}
	if got := bytes.Count(body, []byte(page.entry)); got != page.count {
		return fmt.Errorf("listing %s of %s: %d entries, want %d", page.name, bucket, got, page.count)
	}
	head := t.head(r, time.Now())
	c := cell{
		name: fmt.Sprintf("LIST %s of %d", page.name, n), concurrency: 1, limit: listRounds,
		next: func(int64) (*request, []byte) { return r, head },
	}
	res, err := c.run(ctx, t, p)
	if err == nil {
		tell(res)
	}
	return err
}

// restart kills the daemon as a crash would and starts it again.
func restart(ctx context.Context, s *server) (time.Duration, error) {
	if err := s.kill(); err != nil {
		return 0, err
	}
	took, err := s.start(ctx)
	if err != nil {
		return 0, errors.Join(errors.New("restart after kill -9"), err)
	}
	return took, nil
}
