package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// resyncTimeout bounds the reading back of a document whose write failed.
	resyncTimeout = 5 * time.Second
	// sweepMost bounds the documents without power that one change clears away:
	// deleting a user with very many service accounts does not hold up the changes
	// that wait, and the rest goes with later ones.
	sweepMost = 256
)

// begin starts a change: it takes the writing lock and reads again what an
// earlier failure left unknown. The caller must end it with m.end unless it
// fails.
func (m *Manager) begin(ctx context.Context) error {
	m.writing.Lock()
	for path := range m.dirty {
		if err := m.resync(ctx, path); err != nil {
			m.writing.Unlock()
			return err
		}
	}
	return nil
}

// end ends a change.
func (m *Manager) end(ctx context.Context) {
	m.sweep(ctx)
	m.writing.Unlock()
}

// failed is told of a write that failed. The write may have happened all the
// same (a time-out, a crash of the store): memory must follow the store, so the
// document is read back, now or before the next change. It returns err.
func (m *Manager) failed(ctx context.Context, path string, err error) error {
	m.dirty[path] = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resyncTimeout)
	defer cancel()
	return errors.Join(err, m.resync(ctx, path))
}

// resync makes memory equal to the stored document.
func (m *Manager) resync(ctx context.Context, path string) error {
	value, rev, ok, err := m.docs.Get(ctx, path)
	if err != nil {
		return fmt.Errorf("iam: reading %s: %w", path, err)
	}
	m.follow(path, value, rev, ok)
	delete(m.dirty, path)
	return nil
}

// follow puts a document as it is stored, or its absence, in memory.
func (m *Manager) follow(path string, value []byte, rev int64, ok bool) {
	prefix, name := masterDoc, ""
	for _, p := range []string{userDocs, policyDocs, groupDocs, accountDocs} {
		if rest, found := strings.CutPrefix(path, p); found {
			prefix, name = p, rest
		}
	}
	var err error
	switch prefix {
	case userDocs:
		var u *userEntry
		if ok {
			u, err = decodeUser(path, value, rev, m.key)
		}
		m.setDamaged(path, rev, err)
		m.setUser(name, u)
	case policyDocs:
		var p *storedPolicy
		if ok {
			p, err = decodePolicy(path, value, rev)
		}
		m.setDamaged(path, rev, err)
		m.setPolicy(name, p)
	case groupDocs:
		var g *groupEntry
		if ok {
			g, err = decodeGroup(path, value, rev)
		}
		m.setDamaged(path, rev, err)
		m.setGroup(name, g)
	case accountDocs:
		var a *accountEntry
		if ok {
			a, err = decodeAccount(path, value, rev, m.key)
		}
		m.setDamaged(path, rev, err)
		m.setAccount(name, a)
	default:
		var k *masterKey
		if ok {
			k, err = decodeMaster(path, value, rev, m.key)
		}
		m.setDamaged(path, rev, err)
		m.master.Store(k)
	}
}

// put writes a document in place of revision rev (0: a new one) and returns the
// new revision. What the caller does in memory follows; when put fails, it has
// been done.
func (m *Manager) put(ctx context.Context, path string, value []byte, rev int64) (int64, error) {
	if err := m.intact(path); err != nil {
		return 0, err
	}
	rev, err := m.docs.Put(ctx, path, value, rev)
	if err != nil {
		return 0, m.failed(ctx, path, fmt.Errorf("iam: storing %s: %w", path, err))
	}
	return rev, nil
}

// remove removes a document, and what it says from memory.
func (m *Manager) remove(ctx context.Context, path string, rev int64) error {
	if err := m.docs.Delete(ctx, path, rev); err != nil {
		return m.failed(ctx, path, fmt.Errorf("iam: deleting %s: %w", path, err))
	}
	m.follow(path, nil, 0, false)
	return nil
}

// sweep removes documents without power, some of them. A failure is no matter:
// they have none, and a later change or start comes back to them.
func (m *Manager) sweep(ctx context.Context) {
	for path, rev := range m.someOrphans() {
		if ctx.Err() != nil {
			return
		}
		if m.docs.Delete(ctx, path, rev) != nil {
			_, now, ok, err := m.docs.Get(ctx, path)
			if err != nil || ok && now == rev {
				return // the store has troubles of its own
			}
			if ok {
				m.setOrphan(path, now)
				continue
			}
		}
		m.setOrphan(path, 0)
	}
}

func (m *Manager) someOrphans() map[string]int64 {
	m.state.RLock()
	defer m.state.RUnlock()
	out := make(map[string]int64, min(len(m.orphans), sweepMost))
	for path, rev := range m.orphans {
		if len(out) == sweepMost {
			break
		}
		out[path] = rev
	}
	return out
}

// setOrphan notes the revision of a document without power, 0: it is gone.
func (m *Manager) setOrphan(path string, rev int64) {
	m.state.Lock()
	defer m.state.Unlock()
	if rev == 0 {
		delete(m.orphans, path)
	} else {
		m.orphans[path] = rev
	}
}

func (m *Manager) time() time.Time { return m.now().UTC().Truncate(time.Millisecond) }
