package iam

import (
	"hash/maphash"
	"sync/atomic"
)

// table maps names to values that never change, by open addressing with linear
// probing. Readers take no lock: a slot, once taken, keeps its name as long as
// the array lives, and only its value, one pointer, is replaced. A change costs
// one store, however large the table. A removed name leaves its slot taken until
// the array is made anew, which happens when three quarters of it are.
//
// A lookup touches the slot, the name's bytes and the value: with 100,000 entries,
// when none of them is in a cache, that is what it costs. (A map per shard, copied
// on change, touched twice as much; sync.Map boxes the key, which allocates.)
//
// Writers hold Manager.state.
type table[V any] struct {
	seed  maphash.Seed
	count atomic.Int64 // names with a value
	array atomic.Pointer[[]slot[V]]
	taken int // slots of array with a name
}

// slot holds a name once hash is not 0; name is written before hash.
type slot[V any] struct {
	hash  atomic.Uint64
	name  string
	value atomic.Pointer[V] // nil: removed
}

// tableLeast is the least number of slots, a power of 2.
const tableLeast = 64

// empty makes the table ready for n names and more; no one may use it before.
func (t *table[V]) empty(n int) {
	t.seed = maphash.MakeSeed()
	size := tableLeast
	for size/4*3 <= n {
		size *= 2
	}
	array := make([]slot[V], size)
	t.array.Store(&array)
	t.taken = 0
	t.count.Store(0)
}

// find returns the slot of name, or, with taken false, the empty one where it belongs:
// another name may take that at any time.
func (t *table[V]) find(array []slot[V], name string) (s *slot[V], hash uint64, taken bool) {
	hash = maphash.String(t.seed, name) | 1
	for i := hash >> 1; ; i++ { // ends: there are empty slots
		s = &array[i&uint64(len(array)-1)]
		h := s.hash.Load()
		if h == 0 || h == hash && s.name == name {
			return s, hash, h != 0
		}
	}
}

// get returns the value or nil.
func (t *table[V]) get(name string) *V {
	s, _, taken := t.find(*t.array.Load(), name)
	if !taken {
		return nil
	}
	return s.value.Load()
}

// set puts v, or removes name when v is nil.
func (t *table[V]) set(name string, v *V) {
	array := *t.array.Load()
	s, hash, taken := t.find(array, name)
	if !taken {
		if v == nil {
			return
		}
		if (t.taken+1)*4 > len(array)*3 {
			t.renew()
			t.set(name, v)
			return
		}
		t.taken++
		s.name = name
		s.value.Store(v)
		s.hash.Store(hash) // from here on readers see it
		t.count.Add(1)
		return
	}
	old := s.value.Swap(v)
	switch {
	case old == nil && v != nil:
		t.count.Add(1)
	case old != nil && v == nil:
		t.count.Add(-1)
	}
}

// renew makes a new array, without the names removed and at most half taken.
func (t *table[V]) renew() {
	old, size := *t.array.Load(), tableLeast
	for int64(size) < 2*t.count.Load()+2 {
		size *= 2
	}
	array := make([]slot[V], size)
	t.taken = 0
	for i := range old {
		if v := old[i].value.Load(); v != nil {
			s, hash, _ := t.find(array, old[i].name)
			s.name = old[i].name
			s.value.Store(v)
			s.hash.Store(hash)
			t.taken++
		}
	}
	t.array.Store(&array)
}

// apply puts the values of changes, and removes those that are nil.
func (t *table[V]) apply(changes map[string]*V) {
	for name, v := range changes {
		t.set(name, v)
	}
}

// each calls fn for every value, in no order.
func (t *table[V]) each(fn func(*V)) {
	array := *t.array.Load()
	for i := range array {
		if array[i].hash.Load() == 0 {
			continue
		}
		if v := array[i].value.Load(); v != nil {
			fn(v)
		}
	}
}

// index maps a name to the names that refer to it.
type index map[string]map[string]struct{}

func (x index) add(name, by string) {
	if x[name] == nil {
		x[name] = map[string]struct{}{}
	}
	x[name][by] = struct{}{}
}

func (x index) remove(name, by string) {
	delete(x[name], by)
	if len(x[name]) == 0 {
		delete(x, name)
	}
}
