package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// put PUTs object i of a series without allocating: cl keeps its head and path.
func (f *fixture) put(cl *client, size int64, series int, i int64) error {
	cl.path = f.appendKey(cl.path[:0], size, series, i)
	cl.head = cl.signer.appendHead(cl.head[:0], "PUT", cl.path, size, time.Now())
	cl.req = request{method: "PUT", seed: uint64(i), size: size} // #nosec G115: not negative
	_, err := cl.send(&cl.req, cl.head)
	return cl.named(err)
}

// remove DELETEs what put stored.
func (f *fixture) remove(cl *client, size int64, series int, i int64) error {
	cl.path = f.appendKey(cl.path[:0], size, series, i)
	cl.head = cl.signer.appendHead(cl.head[:0], "DELETE", cl.path, -1, time.Now())
	cl.req = request{method: "DELETE", size: -1}
	_, err := cl.send(&cl.req, cl.head)
	return cl.named(err)
}

// named adds the key to an error of a request that was sent without it.
func (c *client) named(err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", c.path, err)
	}
	return err
}

// putter writes n objects of a series, over and over.
func (f *fixture) putter(size int64, series int, n int64) func(*client, int64) (int, error) {
	return func(cl *client, i int64) (int, error) { return 0, f.put(cl, size, series, i%n) }
}

// checker reads some of what a row wrote back, outside its time: the first and
// the last objects and one between.
func (f *fixture) checker(size int64, series int, n int64) func(context.Context, int64) error {
	return func(ctx context.Context, issued int64) error {
		cl, err := dial(ctx, f.t, f.p)
		if err != nil {
			return err
		}
		defer cl.close()
		for _, i := range []int64{0, issued / 2 % n, (issued - 1) % n} {
			r := request{method: "GET", path: f.key(size, series, i), seed: uint64(i), size: size} // #nosec G115: not negative
			if _, err := cl.do(&r); err != nil {
				return fmt.Errorf("reading back what was written: %w", err)
			}
		}
		return nil
	}
}

// deleteCell stores as many objects as the time of a row allows and makes c
// delete each of them once. c ends with the last
// of them: an open loop after the time that they last for.
func (f *fixture) deleteCell(ctx context.Context, c *cell, r row) error {
	f.series++
	series, stored := f.series, int64(0)
	fill := &cell{name: "fill for DELETE", concurrency: 16, limit: deleteObjects, atMost: f.warmUp + f.measured}
	if c.rate > 0 {
		fill.limit = min(fill.limit, 1+int64(c.rate*f.measured.Seconds()))
	}
	if err := f.store(ctx, r.size, series, fill, &stored); err != nil {
		return err
	}
	c.measured, c.limit = 0, stored
	if c.rate > 0 {
		c.warmUp, c.measured = 0, time.Duration(float64(stored)/c.rate*float64(time.Second))
	}
	c.perform = func(cl *client, i int64) (int, error) { return 0, f.remove(cl, r.size, series, i) }
	return nil
}

// mixedKeys is how many objects may wait to be deleted in a mixed cell; more are
// left where they are.
const mixedKeys = 1 << 14

// mixedCell draws each operation. GET and HEAD read the pool; DELETE deletes what
// PUT of the same cell has stored, oldest first. What finds nothing to delete is a
// PUT.
func (f *fixture) mixedCell(c *cell, r row) {
	objects := f.sign(r.size)
	f.series++
	series := f.series
	var put atomic.Int64
	stored := make(chan int64, mixedKeys)
	c.kinds = mixtureOps()
	c.perform = func(cl *client, _ int64) (kind int, err error) {
		kind = f.mix.pick()
		s := &objects[rand.IntN(len(objects))]
		switch kind {
		case 0:
			_, err = cl.send(&s.get, s.getRaw)
			return kind, err
		case 1:
			_, err = cl.send(&s.head, s.headed)
			return kind, err
		case 3:
			select {
			case i := <-stored:
				return kind, f.remove(cl, r.size, series, i)
			default:
			}
		}
		i := put.Add(1) - 1
		if err := f.put(cl, r.size, series, i); err != nil {
			return 2, err
		}
		select {
		case stored <- i:
		default:
		}
		return 2, nil
	}
}

// uploader makes multipart uploads: one operation begins an upload, sends its
// parts one after the other and completes it.
func (f *fixture) uploader(size int64, series int, n int64) func(*client, int64) (int, error) {
	return func(cl *client, i int64) (int, error) {
		i %= n
		path, seed := f.key(size, series, i), uint64(i) // #nosec G115: not negative
		begin := request{method: "POST", path: path, query: "uploads=", size: -1}
		body, err := cl.do(&begin)
		if err != nil {
			return 0, err
		}
		id, err := between(body, "<UploadId>", "</UploadId>")
		if err != nil {
			return 0, err
		}
		id = escapeQuery(id)
		end := []byte("<CompleteMultipartUpload>")
		for k, off := 1, int64(0); off < size; k++ {
			part := request{
				method: "PUT", path: path, query: "partNumber=" + strconv.Itoa(k) + "&uploadId=" + id,
				seed: seed, off: off, size: min(f.part, size-off),
			}
			if _, err := cl.do(&part); err != nil {
				return 0, err
			}
			if len(cl.etag) == 0 {
				return 0, errors.New(path + ": a part without an ETag")
			}
			end = fmt.Appendf(end, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", k, bytes.ReplaceAll(cl.etag, []byte(`"`), []byte("&quot;")))
			off += part.size
		}
		complete := request{
			method: "POST", path: path, query: "uploadId=" + id, size: -1,
			body: append(end, "</CompleteMultipartUpload>"...),
		}
		body, err = cl.do(&complete)
		if err == nil && !bytes.Contains(body, []byte("<ETag>")) { // errors may come with 200 too
			err = fmt.Errorf("%s: completing: %.400s", path, body)
		}
		return 0, err
	}
}

// between returns what stands between two marks.
func between(text []byte, before, after string) (string, error) {
	_, rest, ok := bytes.Cut(text, []byte(before))
	value, _, ok2 := bytes.Cut(rest, []byte(after))
	if !ok || !ok2 || len(value) == 0 {
		return "", fmt.Errorf("no %s in %.400s", before, text)
	}
	return string(value), nil
}

// escapeQuery escapes a value as SigV4 wants it: all but unreserved characters
// (RFC 3986, 2.3).
func escapeQuery(value string) string {
	const digits = "0123456789ABCDEF"
	var out []byte
	for _, c := range []byte(value) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			out = append(out, c)
		default:
			out = append(out, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(out)
}

func countEntries(body, entry []byte, want int64) error {
	if got := int64(bytes.Count(body, entry)); got != want {
		return fmt.Errorf("a listing of %d entries, want %d: %.200s", got, want, body)
	}
	return nil
}

// dropCaches empties the kernel's caches of files, for which one must be root.
// Those that a server keeps in its own memory stay.
func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// canDropCaches tells whether dropCaches would work.
func canDropCaches() bool { return unix.Access("/proc/sys/vm/drop_caches", unix.W_OK) == nil }
