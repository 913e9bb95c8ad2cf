package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// lookup finds which of the values that a read may see fits an answer.
type lookup func(match func(*value) bool) (*value, error)

// fetch reads a whole object, finds out which value it is by its headers, and
// compares its bytes.
func (t *tester) fetch(key string, look lookup) (*value, error) {
	c := &call{method: http.MethodGet, key: key}
	resp, err := t.client.open(c)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		v, err := look(answerMatch(resp, resp.ContentLength))
		if err != nil {
			return nil, fmt.Errorf("GET %s was answered with %s: %w", key, describe(resp, resp.ContentLength), err)
		}
		return v, bodyOf(resp, key, v, 0, v.size)
	case http.StatusNotFound:
		if err := drain(resp); err != nil {
			return nil, err
		}
		if _, err := look(func(v *value) bool { return v == nil }); err != nil {
			return nil, fmt.Errorf("GET %s found nothing: %w", key, err)
		}
		return nil, nil
	default:
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errGone, err)
		}
		return nil, (&reply{resp.StatusCode, resp.Header, text}).unexpected(c)
	}
}

// drain reads an answer to its end, so that the connection can be used again.
func drain(resp *http.Response) error {
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// answerMatch tells values by stamp, entity tag and size.
func answerMatch(resp *http.Response, size int64) func(*value) bool {
	tag, stamp := strings.Trim(resp.Header.Get("ETag"), `"`), resp.Header.Get(stampHeader)
	return func(v *value) bool { return v != nil && v.etag == tag && v.stamp == stamp && v.size == size }
}

func describe(resp *http.Response, size int64) string {
	return fmt.Sprintf("%s (%d bytes, etag %s)", resp.Header.Get(stampHeader), size, resp.Header.Get("ETag"))
}

// bodyOf compares an answer's body with bytes [off, off+n) of v.
func bodyOf(resp *http.Response, key string, v *value, off, n int64) error {
	if resp.ContentLength != n {
		return violate("%s: an answer of %d bytes, not %d, from %d of %v", key, resp.ContentLength, n, off, v)
	}
	err := compare(resp.Body, v.body, off, n)
	var bad *violation
	switch {
	case errors.As(err, &bad):
		return fmt.Errorf("%s, %v: %w", key, v, err)
	case err != nil:
		return fmt.Errorf("%w: %s: %w", errGone, key, err)
	}
	return nil
}

// read gets an object, whole or in part, and checks it against the model.
func (w *worker) read(o *object) error {
	floor := o.since()
	look := func(match func(*value) bool) (*value, error) { return o.observe(floor, match) }
	if w.rng.IntN(3) > 0 {
		_, err := w.t.fetch(o.key, look)
		return err
	}
	return w.readRange(o, look)
}

func (w *worker) readRange(o *object, look lookup) error {
	off, n := w.rng.Int64N(300<<10), 1+w.rng.Int64N(700<<10)
	c := &call{method: http.MethodGet, key: o.key, header: map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", off, off+n-1)}}
	resp, err := w.t.client.open(c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return w.noRange(o, c, resp, off, look)
	}
	total, err := strconv.ParseInt(resp.Header.Get("Content-Range")[strings.LastIndexByte(resp.Header.Get("Content-Range"), '/')+1:], 10, 64)
	if err != nil {
		return violate("Content-Range of %s: %q", o.key, resp.Header.Get("Content-Range"))
	}
	v, err := look(answerMatch(resp, total))
	if err != nil {
		return fmt.Errorf("a range of %s was read from %s: %w", o.key, describe(resp, total), err)
	}
	return bodyOf(resp, o.key, v, off, min(n, v.size-off))
}

// noRange handles the answers to a range request that are no range.
func (w *worker) noRange(o *object, c *call, resp *http.Response, off int64, look lookup) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		_, err = look(func(v *value) bool { return v == nil })
	case http.StatusRequestedRangeNotSatisfiable:
		_, err = look(func(v *value) bool { return v != nil && v.size <= off })
	default:
		return (&reply{resp.StatusCode, resp.Header, text}).unexpected(c)
	}
	if err != nil {
		return fmt.Errorf("a range from %d of %s was answered %d: %w", off, o.key, resp.StatusCode, err)
	}
	return nil
}
