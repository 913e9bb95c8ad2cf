package main

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
)

// verifiers is how many objects are read at once.
const verifiers = 8

// summary is what a verification saw.
type summary struct {
	listed, uploads int
	applied         int64 // writes in flight at the kill that took effect
	read, bytes     int64
}

// verify compares everything with the model after a restart; full reads content
// that was not written in the last round, too. The model then is what was found.
func (t *tester) verify(full bool) (*summary, error) {
	listed, err := t.listing("", 100+t.rng.IntN(900))
	if err != nil {
		return nil, err
	}
	sum := &summary{listed: len(listed)}
	if err := t.verifyObjects(listed, full, sum); err != nil {
		return nil, err
	}
	if err := t.verifyRaces(listed, sum); err != nil {
		return nil, err
	}
	for _, w := range t.workers {
		for _, o := range w.objects {
			delete(listed, o.key)
		}
	}
	for key, e := range listed {
		return nil, violate("key %s (%+v) is listed; nobody wrote it, or it was deleted", key, e)
	}
	return sum, t.verifyUploads(sum)
}

// is reports whether a line of a listing describes v.
func (e entry) is(v *value) bool { return v != nil && e.size == v.size && e.etag == v.etag }

func (t *tester) verifyObjects(listed map[string]entry, full bool, sum *summary) error {
	work := make(chan *object)
	failed := make(chan error, verifiers)
	var wg sync.WaitGroup
	for range verifiers {
		wg.Go(func() {
			var first error
			for o := range work {
				if first == nil {
					first = t.verifyObject(o, listed, full, sum)
				}
			}
			failed <- first
		})
	}
	for _, w := range t.workers {
		for _, o := range w.objects {
			work <- o
		}
	}
	close(work)
	wg.Wait()
	for range verifiers {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

// verifyObject finds what a crash left of o, and settles the model on it.
func (t *tester) verifyObject(o *object, listed map[string]entry, full bool, sum *summary) error {
	floor := o.since()
	e, there := listed[o.key]
	fits := func(v *value) bool { return !there && v == nil || there && e.is(v) }
	pending := o.pending()
	v, err := o.observe(floor, fits)
	if err != nil {
		return fmt.Errorf("after the crash, the listing has %s as %+v (%v): %w", o.key, e, there, err)
	}
	if full || o.touched {
		look := func(match func(*value) bool) (*value, error) {
			return o.observe(floor, func(v *value) bool { return fits(v) && match(v) })
		}
		if v, err = t.fetch(o.key, look); err != nil {
			return fmt.Errorf("after the crash (listed as %+v, %v): %w", e, there, err)
		}
		atomic.AddInt64(&sum.read, 1)
		if v != nil {
			atomic.AddInt64(&sum.bytes, v.size)
		}
	}
	o.touched = false
	if pending && o.last() == v {
		atomic.AddInt64(&sum.applied, 1)
	}
	o.settle(v)
	return nil
}

// verifyRaces checks the contended keys and deletes them.
func (t *tester) verifyRaces(listed map[string]entry, sum *summary) error {
	for _, r := range t.races.all {
		e, there := listed[r.key]
		v, err := t.fetch(r.key, r.look)
		if err != nil {
			return fmt.Errorf("after the crash: %w", err)
		}
		if there != (v != nil) || there && !e.is(v) {
			return violate("contended key %s is listed as %+v (%v), but holds %v", r.key, e, there, v)
		}
		sum.read++
		delete(listed, r.key)
		if v == nil {
			continue
		}
		sum.bytes += v.size
		c := &call{method: http.MethodDelete, key: r.key}
		if answer, err := t.client.do(c); err != nil {
			return err
		} else if answer.status != http.StatusNoContent {
			return answer.unexpected(c)
		}
	}
	t.newRaces()
	return nil
}

// verifyUploads compares the uploads in progress, after the objects are settled.
func (t *tester) verifyUploads(sum *summary) error {
	listed, err := t.listUploads()
	if err != nil {
		return err
	}
	sum.uploads = len(listed)
	for _, w := range t.workers {
		for _, u := range append([]*upload(nil), w.uploads...) {
			key, there := listed[u.id]
			delete(listed, u.id)
			if there && key != u.o.key {
				return violate("upload %s of %s is listed as one of %s", u.id, u.o.key, key)
			}
			if err := t.verifyUpload(w, u, there); err != nil {
				return err
			}
		}
	}
	for id, key := range listed {
		if err := t.adoptOrphan(id, key); err != nil {
			return err
		}
	}
	for _, w := range t.workers {
		w.opening = nil
	}
	return nil
}

func (t *tester) verifyUpload(w *worker, u *upload, there bool) error {
	switch {
	case u.end == goesOn && !there:
		return violate("upload %s of %s is lost", u.id, u.o.key)
	case u.end == completing && there == (u.o.now() == u.result):
		return violate("upload %s was being completed: it is listed: %v, and %s holds %v; completion would yield %v",
			u.id, there, u.o.key, u.o.now(), u.result)
	case !there:
		w.drop(u)
		return nil
	}
	u.end, u.result = goesOn, nil
	return t.checkParts(u)
}

// adoptOrphan aborts an upload whose creation was in flight at the kill.
func (t *tester) adoptOrphan(id, key string) error {
	for _, w := range t.workers {
		if w.opening == nil || w.opening.key != key {
			continue
		}
		u := &upload{o: w.opening, id: id}
		w.opening = nil
		if err := t.checkParts(u); err != nil {
			return err
		}
		return w.abort(u)
	}
	return violate("upload %s of %s is listed; nobody began it, or it has ended", id, key)
}

// deleteAll deletes every object and upload, and checks that nothing is left.
func (t *tester) deleteAll() error {
	for _, w := range t.workers {
		for _, o := range w.objects {
			if o.now() == nil {
				continue
			}
			if err := w.remove(o); err != nil {
				return err
			}
		}
		for len(w.uploads) > 0 {
			if err := w.abort(w.uploads[0]); err != nil {
				return err
			}
		}
	}
	listed, err := t.listing("", 1000)
	if err != nil {
		return err
	}
	uploads, err := t.listUploads()
	if err != nil {
		return err
	}
	if len(listed) > 0 || len(uploads) > 0 {
		return violate("after everything was deleted, %d keys and %d uploads are listed: %v %v", len(listed), len(uploads), listed, uploads)
	}
	return nil
}
