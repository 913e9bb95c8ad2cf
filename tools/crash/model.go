package main

import (
	"fmt"
	"sync"
)

// violation is a broken promise of the daemon, as opposed to a request that
// failed because the daemon was killed.
type violation struct{ text string }

func (v *violation) Error() string { return v.text }

func violate(format string, args ...any) error {
	return &violation{fmt.Sprintf(format, args...)}
}

// object is the history of one key. One worker writes it; anybody may read.
type object struct {
	key string

	mu sync.Mutex
	// log holds the values (nil: absent) written since the last crash, the
	// first being the one that the crash left. All but the last are
	// acknowledged.
	log []*value
	// floor is the index of the latest value known to have taken effect: its
	// write was acknowledged, or somebody read it. Nothing older may be seen.
	floor   int
	touched bool // written since its content was last verified
}

func newObject(key string) *object { return &object{key: key, log: []*value{nil}} }

// now returns the present value, when no write is in flight.
func (o *object) now() *value {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log[o.floor]
}

// begin notes that a write of v (nil: a delete) is on its way.
func (o *object) begin(v *value) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = append(o.log, v)
	o.touched = true
}

// ack notes that the write took effect.
func (o *object) ack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.floor = len(o.log) - 1
}

// refused notes that the write certainly had no effect. It fails when somebody
// has read its value nevertheless.
func (o *object) refused() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := len(o.log) - 1
	if o.floor == last {
		return violate("%s: a write of %v was refused, but its value has been read", o.key, o.log[last])
	}
	o.log = o.log[:last]
	return nil
}

// since returns the index before which no value may be seen from now on.
func (o *object) since() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.floor
}

// observe checks that a read which began when since returned floor may have
// found what match accepts, and returns that value. The value cannot be undone
// from then on.
func (o *object) observe(floor int, match func(*value) bool) (*value, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := floor; i < len(o.log); i++ {
		if match(o.log[i]) {
			o.floor = max(o.floor, i)
			return o.log[i], nil
		}
	}
	return nil, violate("%s", o.describe(floor))
}

// describe lists what a read could have found; o.mu is held.
func (o *object) describe(floor int) string {
	text := "key " + o.key + " may be one of:"
	for i := floor; i < len(o.log); i++ {
		text += fmt.Sprintf("\n    %v", o.log[i])
	}
	for i := range floor {
		text += fmt.Sprintf("\n    (superseded: %v)", o.log[i])
	}
	return text
}

// pending reports whether a write of unknown outcome is left.
func (o *object) pending() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.floor < len(o.log)-1
}

// last returns the value of the last write, whatever became of it.
func (o *object) last() *value {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log[len(o.log)-1]
}

// settle begins a new history with what a crash left.
func (o *object) settle(v *value) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log, o.floor = append(o.log[:0], v), 0
}

// race is a key that every worker tries to create with If-None-Match: *.
type race struct {
	key string

	mu     sync.Mutex
	tries  int
	open   []*value // in flight, or of unknown outcome
	winner *value   // acknowledged
	lost   bool     // somebody was told 412
}

func (r *race) enter(v *value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	r.open = append(r.open, v)
}

// leave notes an answer to an attempt: 200, 409 or 412.
func (r *race) leave(v *value, status int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, o := range r.open {
		if o == v {
			r.open = append(r.open[:i], r.open[i+1:]...)
			break
		}
	}
	switch status {
	case 200:
		if r.winner != nil {
			return violate("two PUTs of %s with If-None-Match: * succeeded: %v and %v", r.key, r.winner, v)
		}
		r.winner = v
	case 412:
		r.lost = true
	}
	return nil
}

// possible returns what the key may hold.
func (r *race) possible() []*value {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.winner != nil {
		return []*value{r.winner}
	}
	out := append([]*value(nil), r.open...)
	if !r.lost {
		out = append(out, nil)
	}
	return out
}

// look is the lookup of a race's key.
func (r *race) look(match func(*value) bool) (*value, error) {
	allowed := r.possible()
	for _, v := range allowed {
		if match(v) {
			return v, nil
		}
	}
	return nil, violate("contended key %s may be one of %v", r.key, allowed)
}
