package keyring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

// Errors; test with errors.Is. Those of package kms come through, too.
var (
	// ErrNoRingKey: the ring has no key of that id: it was lost with the
	// configuration, or belongs to another cluster.
	ErrNoRingKey = errors.New("keyring: no such ring key")
)

const (
	// unwrapPatience bounds one unwrapping of a ring key, which goes on when the
	// request that began it has ended: others may wait for it.
	unwrapPatience = 30 * time.Second
	// failureAge is how long a failed unwrapping is taken for the answer, so that
	// requests do not queue up before a service that is down.
	failureAge = time.Second
)

// Docs is the part of the engine's document store that the package needs; see
// iam.Docs.
type Docs interface {
	Get(ctx context.Context, path string) (value []byte, rev int64, ok bool, err error)
	List(ctx context.Context, prefix string, fn func(path string, value []byte, rev int64) error) error
	Put(ctx context.Context, path string, value []byte, ifRev int64) (rev int64, err error)
	Delete(ctx context.Context, path string, ifRev int64) error
}

// Backend is a key management service and the name that documents know it by,
// from NewBackendID.
type Backend struct {
	ID  string
	KMS kms.KMS
}

// Config of Open.
type Config struct {
	Docs    Docs
	Cluster string // id of the cluster; wrapped keys open for it only
	// Current wraps what is new; Others only unwrap. There are others while a
	// change of backend is not complete.
	Current Backend
	Others  []Backend
	Now     func() time.Time // nil: time.Now
}

// Ring is the cluster's set of ring keys. Safe for concurrent use; New and Open
// take no lock that is held across I/O once the ring key needed is in memory.
// The zero Ring has no keys and makes none.
type Ring struct {
	docs    Docs
	cluster string
	now     func() time.Time
	flight  singleflight.Group
	changes sync.Mutex // serializes what writes documents

	mu       sync.RWMutex // guards what follows; never held across I/O
	current  Backend
	backends map[string]kms.KMS
	entries  map[uint32]*entry
	newest   map[string]uint32 // by KMS key name
}

// entry is a ring key. doc is guarded by Ring.mu.
type entry struct {
	id     uint32
	doc    ringDoc
	key    atomic.Pointer[[32]byte] // nil: not unwrapped yet
	failed atomic.Pointer[failure]
}

type failure struct {
	at  time.Time
	err error
}

// Wrapped is a data key as kept with its object.
type Wrapped struct {
	Ring uint32 // id of the ring key
	Box  []byte // as made by seal.DataKey.Wrap
}

// Open reads the ring keys' documents and unwraps none. ErrBadDoc, ErrNewer,
// those of Docs.
func Open(ctx context.Context, cfg Config) (*Ring, error) {
	r := &Ring{
		docs: cfg.Docs, cluster: cfg.Cluster, now: cfg.Now, current: cfg.Current,
		backends: map[string]kms.KMS{}, entries: map[uint32]*entry{}, newest: map[string]uint32{},
	}
	if r.now == nil {
		r.now = time.Now
	}
	for _, b := range append(slices.Clone(cfg.Others), cfg.Current) {
		if err := checkBackend(b.ID); err != nil {
			return nil, err
		}
		r.backends[b.ID] = b.KMS
	}
	err := cfg.Docs.List(ctx, docPrefix, func(path string, value []byte, _ int64) error {
		doc, err := decodeDoc(path, value)
		if err != nil {
			return err
		}
		r.add(doc)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// add takes up a ring key. r.mu is held, or r not shared yet.
func (r *Ring) add(doc ringDoc) *entry {
	e := &entry{id: doc.ID, doc: doc}
	r.entries[doc.ID] = e
	r.newest[doc.KMSKey] = max(r.newest[doc.KMSKey], doc.ID)
	return e
}

// New makes a data key and wraps it by the newest ring key of the KMS key called
// name ("": the default), making the first ring key where there is none. binding
// names the object and is authenticated: the box opens for the same binding only.
// Errors of package kms and of Docs.
func (r *Ring) New(ctx context.Context, name string, binding []byte) (seal.DataKey, Wrapped, error) {
	r.mu.RLock()
	if name == "" && r.current.KMS != nil {
		name = r.current.KMS.DefaultKey()
	}
	e := r.entries[r.newest[name]]
	r.mu.RUnlock()
	if e == nil {
		var err error
		if e, err = r.first(ctx, name); err != nil {
			return seal.DataKey{}, Wrapped{}, err
		}
	}
	by, err := r.ringKey(ctx, e)
	if err != nil {
		return seal.DataKey{}, Wrapped{}, err
	}
	key := seal.NewDataKey()
	return key, Wrapped{Ring: e.id, Box: key.Wrap(by, binding)}, nil
}

// Open unwraps a data key. ErrNoRingKey, seal.ErrOpen, errors of package kms.
func (r *Ring) Open(ctx context.Context, w Wrapped, binding []byte) (seal.DataKey, error) {
	r.mu.RLock()
	e := r.entries[w.Ring]
	r.mu.RUnlock()
	if e == nil {
		return seal.DataKey{}, fmt.Errorf("%w: %d", ErrNoRingKey, w.Ring)
	}
	by, err := r.ringKey(ctx, e)
	if err != nil {
		return seal.DataKey{}, err
	}
	return seal.UnwrapDataKey(by, w.Box, binding)
}

// Preload unwraps all ring keys, the newest first, so that no request waits for
// the service later. One that fails does not keep the others, and the errors are
// joined; but a service that is unreachable is not waited for once per key.
func (r *Ring) Preload(ctx context.Context) error {
	var errs []error
	entries := r.sorted()
	slices.Reverse(entries)
	for _, e := range entries {
		_, err := r.ringKey(ctx, e)
		errs = append(errs, err)
		if errors.Is(err, kms.ErrUnavailable) {
			break
		}
	}
	return errors.Join(errs...)
}

// sorted returns the ring keys by id.
func (r *Ring) sorted() []*entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]*entry, 0, len(r.entries))
	for _, id := range slices.Sorted(maps.Keys(r.entries)) {
		out = append(out, r.entries[id])
	}
	return out
}

// ringKey returns the unwrapped ring key, asking the service at the first use.
// All who ask meanwhile share the answer.
func (r *Ring) ringKey(ctx context.Context, e *entry) (*[32]byte, error) {
	if key := e.key.Load(); key != nil {
		return key, nil
	}
	if f := e.failed.Load(); f != nil && time.Since(f.at) < failureAge {
		return nil, f.err
	}
	done := r.flight.DoChan(strconv.FormatUint(uint64(e.id), 10), func() (any, error) {
		if key := e.key.Load(); key != nil {
			return key, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unwrapPatience)
		defer cancel()
		key, err := r.unwrap(ctx, e)
		if err != nil {
			err = fmt.Errorf("keyring: ring key %d: %w", e.id, err)
			e.failed.Store(&failure{time.Now(), err})
			return nil, err
		}
		e.key.Store(key)
		e.failed.Store(nil)
		return key, nil
	})
	select {
	case res := <-done:
		if res.Err != nil {
			return nil, res.Err
		}
		return res.Val.(*[32]byte), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("keyring: ring key %d: %w: %w", e.id, kms.ErrUnavailable, ctx.Err())
	}
}

// unwrap has the service unwrap a ring key.
func (r *Ring) unwrap(ctx context.Context, e *entry) (*[32]byte, error) {
	r.mu.RLock()
	doc := e.doc
	service := r.backends[doc.Backend]
	r.mu.RUnlock()
	return unwrapKey(ctx, service, wrapping{doc.Backend, doc.KMSKey, doc.Wrapped}, ringAAD(r.cluster, doc.KMSKey, doc.ID))
}

// unwrapKey unwraps a key of 32 bytes.
func unwrapKey(ctx context.Context, service kms.KMS, w wrapping, aad []byte) (*[32]byte, error) {
	if service == nil {
		return nil, fmt.Errorf("%w: it was wrapped by the backend %s, which is not configured", kms.ErrNoKey, w.backend)
	}
	plain, err := service.Unwrap(ctx, w.name, w.box, aad)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if len(plain) != 32 {
		return nil, fmt.Errorf("%w: %d bytes", kms.ErrUnwrap, len(plain))
	}
	key := [32]byte(plain)
	return &key, nil
}

// KeyStatus describes a ring key.
type KeyStatus struct {
	ID      uint32
	KMSKey  string
	Backend string
	Created time.Time
	Current bool   // new objects of its KMS key use it
	Loaded  bool   // unwrapped in memory
	Error   string // of the last unwrapping, if it failed
}

// Status lists the ring keys by id. It asks nobody.
func (r *Ring) Status() []KeyStatus {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]KeyStatus, 0, len(r.entries))
	for _, id := range slices.Sorted(maps.Keys(r.entries)) {
		e := r.entries[id]
		s := KeyStatus{
			ID: id, KMSKey: e.doc.KMSKey, Backend: e.doc.Backend, Created: e.doc.Created,
			Current: r.newest[e.doc.KMSKey] == id, Loaded: e.key.Load() != nil,
		}
		if f := e.failed.Load(); f != nil {
			s.Error = f.err.Error()
		}
		out = append(out, s)
	}
	return out
}
