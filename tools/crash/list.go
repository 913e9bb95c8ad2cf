package main

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// list compares the listing of the worker's own keys, which nobody else writes.
func (w *worker) list() error {
	listed, err := w.t.listing(w.prefix, 1+w.rng.IntN(30))
	if err != nil {
		return err
	}
	for _, o := range w.objects {
		v := o.now()
		e, ok := listed[o.key]
		if ok != (v != nil) || ok && (e.size != v.size || e.etag != v.etag) {
			return violate("key %s is listed as %+v (%v), but holds %v", o.key, e, ok, v)
		}
		delete(listed, o.key)
	}
	for key := range listed {
		return violate("key %s is listed, but does not exist", key)
	}
	return nil
}

// entry is a line of a listing.
type entry struct {
	size int64
	etag string
}

// listing walks all keys with a prefix, in pages.
func (t *tester) listing(prefix string, page int) (map[string]entry, error) {
	out := map[string]entry{}
	last, token := "", ""
	for {
		q := url.Values{"list-type": {"2"}, "prefix": {prefix}, "max-keys": {strconv.Itoa(page)}}
		if token != "" {
			q.Set("continuation-token", token)
		}
		c := &call{method: http.MethodGet, query: q}
		r, err := t.client.do(c)
		if err != nil {
			return nil, err
		}
		var doc struct {
			XMLName               xml.Name `xml:"ListBucketResult"`
			IsTruncated           bool
			NextContinuationToken string
			Contents              []struct {
				Key  string
				Size int64
				ETag string
			}
		}
		if r.status != http.StatusOK || xml.Unmarshal(r.body, &doc) != nil {
			return nil, r.unexpected(c)
		}
		for _, e := range doc.Contents {
			if e.Key <= last {
				return nil, violate("listing: %q follows %q", e.Key, last)
			}
			last = e.Key
			out[e.Key] = entry{e.Size, strings.Trim(e.ETag, `"`)}
		}
		if !doc.IsTruncated {
			return out, nil
		}
		if token = doc.NextContinuationToken; token == "" || len(doc.Contents) == 0 {
			return nil, violate("a truncated listing of %d keys has no continuation", len(doc.Contents))
		}
	}
}
