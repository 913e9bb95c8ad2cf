package iam

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/sluicehq/sluice/engine/seal"
)

// ErrImport: what is to be imported is malformed or does not fit together, or not
// to what is there.
var ErrImport = errors.New("iam: not importable")

// Kinds of what is imported.
const (
	KindOfPolicy  = "policy"
	KindOfGroup   = "group"
	KindOfUser    = "user"
	KindOfAccount = "service-account"
)

// Action is what an import does with a document.
type Action string

// Actions.
const (
	ActionAdd     Action = "add"
	ActionReplace Action = "replace"
	ActionKeep    Action = "unchanged" // the same is there
	ActionRefuse  Action = "conflict"  // another is there, and it is not to be replaced
)

// Change is what an import does with one document.
type Change struct {
	Kind   string
	Name   string // or id
	Action Action
	// Locked: there was no secret for it; nobody knows the password that a new user
	// has now, and a new service account has no keys.
	Locked bool
}

// ImportOptions of Import.
type ImportOptions struct {
	Key     *seal.Key // of the export; nil: it has no secrets
	Replace bool      // what is there and differs
	DryRun  bool      // change nothing
}

// Import adds what an export holds. Nothing is ever removed, and what is there and
// differs is replaced only when opts say so: else it is a conflict, and nothing is
// changed. All is checked before the first change: every document by itself, that
// what they name is there, and that no access key gets a second owner. Each
// document is then stored by itself, policies first, so that nobody has more rights
// meanwhile than afterwards; one that cannot be stored ends the import with those
// before it in force, and the same import again goes on from there.
//
// It returns what was, or would be, done. ErrImport, ErrCorrupt, ErrLimit,
// ErrLastAdmin, seal.ErrOpen.
func (m *Manager) Import(ctx context.Context, in *Export, opts ImportOptions) ([]Change, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.end(ctx)
	x := newImporter(m, opts)
	if err := x.read(in); err != nil {
		return nil, err
	}
	if err := x.check(); err != nil {
		return nil, err
	}
	if opts.DryRun || slices.ContainsFunc(x.changes, func(c Change) bool { return c.Action == ActionRefuse }) {
		return x.changes, nil
	}
	for i, store := range x.stores {
		if x.changes[i].Action == ActionKeep {
			continue
		}
		if err := store(ctx); err != nil {
			return x.changes[:i], err
		}
	}
	return x.changes, nil
}

// sameKeys compares access keys with their secrets.
func sameKeys(a, b []secretKey) bool {
	return slices.EqualFunc(a, b, func(a, b secretKey) bool {
		return a.ID == b.ID && a.secret == b.secret && a.Disabled == b.Disabled && a.Created.Equal(b.Created)
	})
}

// sameDocument compares what documents say besides secrets.
func sameDocument[V any](a, b *V, encode func(*V, *seal.Key) ([]byte, error)) bool {
	x, err := encode(a, nil)
	y, err2 := encode(b, nil)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}
