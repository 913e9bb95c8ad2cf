package iam

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

func (d *memDocs) clone() *memDocs {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := newDocs()
	for path, doc := range d.docs {
		c.docs[path] = doc
	}
	return c
}

// edit replaces text in a document.
func (d *memDocs) edit(t testing.TB, path, old, text string) {
	t.Helper()
	before := string(d.docs[path].value)
	after := strings.Replace(before, old, text, 1)
	if after == before {
		t.Fatalf("%s holds no %s: %s", path, old, before)
	}
	d.docs[path] = memDoc{[]byte(after), d.docs[path].rev}
}

func TestVersion1(t *testing.T) {
	docs := newDocs()
	for path, text := range fixtureDocs1 {
		docs.docs[path] = memDoc{[]byte(text), 1}
	}
	m := open(t, docs)
	if d := m.Damaged(); len(d) != 0 {
		t.Fatal(d)
	}
	u, err := m.User("alice")
	must(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	if u.Role != S3 || u.Policy != "mine" || !slices.Equal(u.Policies, []string{"mine"}) || len(u.Groups) != 0 || u.Disabled || !u.Created.Equal(at) {
		t.Fatalf("%+v", u)
	}
	if s, _ := m.Secret("alice"); s != "Passw0rd" || !m.CheckPassword("root", "Passw0rd") {
		t.Fatal("passwords")
	}
	wantRights(t, m, "alice", "r")
	before, _ := m.Identity("alice")
	session := assume(t, m, "alice", "")
	_, pair, err := m.AddServiceAccount(ctx, "alice", NewServiceAccount{})
	must(t, err)
	must(t, m.AttachMore(ctx, "readwrite", "alice")) // stored as version 2 from here on
	if text := string(docs.docs["users/alice"].value); !strings.Contains(text, `"v":2`) || strings.Contains(text, `"policy"`) {
		t.Fatal(text)
	}
	m = open(t, docs)
	after, _ := m.Identity("alice")
	if before.UserID != after.UserID {
		t.Fatalf("the id changes from %s to %s", before.UserID, after.UserID)
	}
	wantRights(t, m, "alice", "rw")
	wantRights(t, m, pair.AccessKey, "rw")
	wantSession(t, m, session, "rw")
}

func TestWrongKey(t *testing.T) {
	for name, make := range map[string]func(m *Manager){
		"user": func(m *Manager) { add(t, m, "alice", S3) },
		"session key": func(m *Manager) {
			_, err := m.AssumeWebIdentity(ctx, WebIdentity{}, AssumeRole{Name: "web"})
			must(t, err)
		},
	} {
		docs := newDocs()
		make(open(t, docs))
		_, err := Open(ctx, docs, seal.NewKey([32]byte{2}), time.Now)
		want(t, err, seal.ErrOpen)
		if !strings.Contains(err.Error(), "key file") {
			t.Errorf("%s: unclear: %v", name, err)
		}
	}
	old := newDocs()
	old.docs["users/alice"] = memDoc{[]byte(fixtureDocs1["users/alice"]), 1}
	_, err := Open(ctx, old, seal.NewKey([32]byte{2}), time.Now)
	want(t, err, seal.ErrOpen)
	old.docs["users/bob"] = memDoc{[]byte(strings.Replace(fixtureDocs1["users/alice"], "alice", "bob", 1)), 1}
	m := open(t, old) // one box opens: this is the key, and the other document is damaged
	if d := m.Damaged(); len(d) != 1 || !strings.HasPrefix(d[0], "users/bob: ") {
		t.Fatal(d)
	}
}

// damagedRig is a store with one of everything.
func damagedRig(t *testing.T) (docs *memDocs, account ServiceAccount, keys map[string]string) {
	docs = newDocs()
	m := open(t, docs)
	addPolicies(t, m)
	for _, name := range []string{"alice", "bob", "carol"} {
		add(t, m, name, S3)
		must(t, m.Attach(ctx, "readwrite", name))
	}
	add(t, m, "root", ClusterAdmin)
	_, err := m.AddGroup(ctx, "g")
	must(t, err)
	must(t, m.AttachGroup(ctx, "reads", "g"))
	must(t, m.AddMember(ctx, "g", "bob"))
	must(t, m.AttachMore(ctx, "writes", "carol"))
	key, err := m.AddAccessKey(ctx, "alice")
	must(t, err)
	account, pair, err := m.AddServiceAccount(ctx, "alice", NewServiceAccount{Policy: []byte(reads)})
	must(t, err)
	must(t, m.RotateSessionKey(ctx))
	return docs, account, map[string]string{"alice": "alice", "bob": "bob", "carol": "carol", "key": key.AccessKey, "account": pair.AccessKey}
}

func TestDamage(t *testing.T) {
	good, account, keys := damagedRig(t)
	acct := accountDocs + account.ID
	all := map[string]string{"alice": "rw", "bob": "rw", "carol": "rw", "key": "rw", "account": "r"}
	except := func(changes ...string) map[string]string {
		out := map[string]string{}
		for k, v := range all {
			out[k] = v
		}
		for i := 0; i < len(changes); i += 2 {
			out[changes[i]] = changes[i+1]
		}
		return out
	}
	noAlice, noAccount := except("alice", "-", "key", "-", "account", "-"), except("account", "-")
	box := string(good.docs["users/alice"].value)
	box = box[strings.Index(box, `"secret":"`):][:40]
	for _, c := range []struct {
		path, old, new string
		want           map[string]string
	}{
		{"users/alice", `"v":2`, `"v":3`, noAlice},
		{"users/alice", `"v":2`, `"v":1`, noAlice},
		{"users/alice", `"v":2`, `"v":2,"mfa":true`, noAlice},
		{"users/alice", `"v":2`, `"v":2,"policy":"reads"`, noAlice},
		{"users/alice", `"alice"`, `"bob"`, noAlice},
		{"users/alice", `"s3"`, `"regular"`, noAlice},
		{"users/alice", `"s3"`, `"S3"`, noAlice},
		{"users/alice", `"s3","id":"`, `"s3","id":"x`, noAlice},
		{"users/alice", `["readwrite"]`, `["readwrite","readwrite"]`, noAlice},
		{"users/alice", `["readwrite"]`, `["read/write"]`, noAlice},
		{"users/alice", `"keys":[{"id":"AK`, `"keys":[{"id":"BK`, noAlice},
		{"users/alice", `}`, `} {}`, noAlice},
		{"users/alice", box, strings.Repeat("A", 1) + box, noAlice},
		{"users/root", `m=19456`, `m=99999999`, all},
		{"users/root", `"clusteradmin"`, `"s3"`, all},
		{"users/root", `"clusteradmin"`, `"clusteradmin","groups":["g"]`, all},
		{"policies/writes", `"writes"`, `"readonly"`, except("carol", "")},
		{"policies/writes", `s3:PutObject`, `nonsense`, except("carol", "")},
		{"policies/writes", `"v":1`, `"v":0`, except("carol", "")},
		{"policies/reads", `"v":1`, `"v":0`, except("bob", "")},
		{"groups/g", `"v":1`, `"v":7`, except("bob", "")},
		{"groups/g", `"g"`, `"h"`, except("bob", "")},
		{"groups/g", `["reads"]`, `["reads","reads"]`, except("bob", "")},
		{acct, `"v":1`, `"v":7`, noAccount},
		{acct, account.ID, "SAABCDEFGHIJKLMNOPQR", noAccount},
		{acct, `s3:GetObject`, `nonsense`, noAccount},
		{acct, `"owner":"alice"`, `"owner":"a/b"`, noAccount},
		{masterDoc, `"v":1`, `"v":7`, all},
	} {
		docs := good.clone()
		docs.edit(t, c.path, c.old, c.new)
		before := docs.docs[c.path]
		m := open(t, docs)
		if d := m.Damaged(); len(d) != 1 || !strings.HasPrefix(d[0], c.path+": ") {
			t.Fatalf("%s, %s for %s: Damaged = %q", c.path, c.new, c.old, d)
		}
		for name, rights := range c.want {
			wantRights(t, m, keys[name], rights)
		}
		// No change writes over it.
		for _, err := range []error{
			second(m.AddUser(ctx, strings.TrimPrefix(c.path, userDocs), S3, pass)),
			m.Attach(ctx, "readonly", strings.TrimPrefix(c.path, userDocs)),
			second(m.AddPolicy(ctx, strings.TrimPrefix(c.path, policyDocs), []byte(reads), true)),
			second(m.AddGroup(ctx, strings.TrimPrefix(c.path, groupDocs))),
			m.AttachGroup(ctx, "readonly", strings.TrimPrefix(c.path, groupDocs)),
			second(m.AddServiceAccountKey(ctx, strings.TrimPrefix(c.path, accountDocs))),
		} {
			if err == nil {
				t.Fatalf("%s: a change of a damaged document succeeds", c.path)
			}
		}
		if now := docs.docs[c.path]; now.rev != before.rev || string(now.value) != string(before.value) {
			t.Fatalf("%s was written over", c.path)
		}
		// Repaired, all is as it was.
		docs.docs[c.path] = good.docs[c.path]
		m = open(t, docs)
		for name, rights := range all {
			wantRights(t, m, keys[name], rights)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A document that is gone, though others name it, widens nothing either.
func TestMissing(t *testing.T) {
	docs, _, keys := damagedRig(t)
	delete(docs.docs, "groups/g")
	delete(docs.docs, "policies/writes")
	m := open(t, docs)
	wantRights(t, m, keys["bob"], "")
	wantRights(t, m, keys["carol"], "")
	must(t, m.RemoveMember(ctx, "g", "bob"))
	must(t, m.Detach(ctx, "writes", "carol"))
	wantRights(t, m, keys["bob"], "rw")
	wantRights(t, m, keys["carol"], "rw")
}

func TestRemoveDamaged(t *testing.T) {
	docs, account, keys := damagedRig(t)
	for _, path := range []string{"users/alice", "policies/writes", "groups/g", accountDocs + account.ID, masterDoc} {
		docs.docs[path] = memDoc{[]byte("garbage"), 5}
	}
	m := open(t, docs)
	if d := m.Damaged(); len(d) != 5 {
		t.Fatal(d)
	}
	_, err := m.AssumeRole(ctx, "bob", AssumeRole{Name: "job"})
	want(t, err, ErrCorrupt)
	must(t, m.RotateSessionKey(ctx))
	wantSession(t, m, assume(t, m, "carol", ""), "")
	want(t, m.RemovePolicy(ctx, "writes"), ErrPolicyInUse)
	must(t, m.Detach(ctx, "writes", "carol"))
	must(t, m.RemovePolicy(ctx, "writes"))
	want(t, m.RemoveGroup(ctx, "g"), ErrGroupInUse)
	must(t, m.RemoveMember(ctx, "g", "bob"))
	must(t, m.RemoveGroup(ctx, "g"))
	must(t, m.RemoveServiceAccount(ctx, account.ID))
	must(t, m.DeleteUser(ctx, "alice"))
	if d := m.Damaged(); len(d) != 0 {
		t.Fatal(d)
	}
	add(t, m, "alice", S3)
	for _, k := range []string{keys["key"], keys["account"]} {
		wantRights(t, m, k, "-")
		wantRights(t, open(t, docs), k, "-")
	}
}

// The owner of a service account is damaged and then deleted, or repaired.
func TestDamagedOwner(t *testing.T) {
	docs, account, keys := damagedRig(t)
	good := docs.docs["users/alice"]
	docs.docs["users/alice"] = memDoc{[]byte("garbage"), good.rev}
	m := open(t, docs)
	wantRights(t, m, keys["account"], "-")
	must(t, m.Attach(ctx, "readonly", "bob")) // clears nothing away
	if _, err := m.ServiceAccount(account.ID); err != nil || len(m.ServiceAccounts("alice")) != 1 {
		t.Fatal("a service account of a damaged user is gone")
	}
	must(t, m.RemoveAccessKey(ctx, keys["account"]))
	_, err := m.AddServiceAccountKey(ctx, account.ID)
	must(t, err)
	docs.docs["users/alice"] = good
	m = open(t, docs)
	a, err := m.ServiceAccount(account.ID)
	must(t, err)
	wantRights(t, m, a.Keys[0].ID, "r")
	docs.docs["users/alice"] = memDoc{[]byte("garbage"), good.rev}
	m = open(t, docs)
	must(t, m.DeleteUser(ctx, "alice"))
	if len(m.ServiceAccounts("")) != 0 || docs.docs[accountDocs+account.ID].value != nil {
		t.Fatal("service accounts of a deleted user")
	}
}

// A document that is damaged while the program runs is found when it is read
// back, and does not stand in the way of other changes.
func TestDamagedWhileRunning(t *testing.T) {
	docs, account, keys := damagedRig(t)
	m := open(t, docs)
	for path, change := range map[string]func() error{
		"users/alice":            func() error { return m.Attach(ctx, "readonly", "alice") },
		"policies/writes":        func() error { return second(m.AddPolicy(ctx, "writes", []byte(reads), true)) },
		"groups/g":               func() error { return m.AttachGroup(ctx, "readonly", "g") },
		accountDocs + account.ID: func() error { return second(m.AddServiceAccountKey(ctx, account.ID)) },
		masterDoc:                func() error { return m.RotateSessionKey(ctx) },
	} {
		docs.docs[path] = memDoc{[]byte("garbage"), 99}
		want(t, change(), errConflict)
	}
	if d := m.Damaged(); len(d) != 5 {
		t.Fatal(d)
	}
	for name, rights := range map[string]string{"alice": "-", "key": "-", "account": "-", "bob": "", "carol": ""} {
		wantRights(t, m, keys[name], rights)
	}
	must(t, m.SetPassword(ctx, "root", "Another1"))
}

// DeleteUser with a store that fails, or whose answer is lost, at each step, and
// a crash after it: either the user is as before, or nothing of it has power.
func TestDeleteUserFailsAnywhere(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for step := range 12 {
			t.Run(fmt.Sprint(step, lost), func(t *testing.T) {
				docs := newDocs()
				m := open(t, docs)
				add(t, m, "u", S3)
				must(t, m.Attach(ctx, "readwrite", "u"))
				_, err := m.AddGroup(ctx, "g")
				must(t, err)
				must(t, m.AddMember(ctx, "g", "u"))
				key, err := m.AddAccessKey(ctx, "u")
				must(t, err)
				all := []string{"u", key.AccessKey}
				for range 3 {
					_, pair, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{})
					must(t, err)
					all = append(all, pair.AccessKey)
				}
				session, derived := assume(t, m, "u", ""), assume(t, m, all[3], "")
				check := func(m *Manager, alive bool) {
					t.Helper()
					want := "-"
					if alive {
						want = "rw"
					}
					for _, k := range all {
						wantRights(t, m, k, want)
					}
					wantSession(t, m, session, want)
					wantSession(t, m, derived, want)
				}

				n := 0 // the store fails from this step on: it crashed
				docs.fail = func(string, string) (error, bool) {
					if n++; n > step {
						return errDisk, lost && n == step+1
					}
					return nil, false
				}
				err = m.DeleteUser(ctx, "u")
				docs.fail = nil
				_, stored := docs.docs["users/u"]
				if err == nil && stored {
					t.Fatal("deleted, but stored")
				}
				check(open(t, docs), stored)
				if err == nil {
					check(m, false)
				}
				must(t, second(m.AddUser(ctx, "other", S3, pass))) // whoever goes on reads back first
				check(m, stored)
				if stored {
					must(t, m.DeleteUser(ctx, "u"))
				}
				check(m, false)
				add(t, m, "u", S3)
				must(t, m.Attach(ctx, "readwrite", "u"))
				all, m = all[1:], open(t, docs)
				check(m, false)
				must(t, m.SetPassword(ctx, "u", "Another1"))
				for path := range docs.docs {
					if strings.HasPrefix(path, accountDocs) {
						t.Fatalf("%s is left behind", path)
					}
				}
				if g, _ := m.Group("g"); len(g.Members) != 0 {
					t.Fatalf("%+v", g)
				}
			})
		}
	}
}

// A store that cannot delete does not hold up changes, which need not succeed in
// clearing away.
func TestSweepFails(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	add(t, m, "u", S3)
	for range 5 {
		_, _, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{})
		must(t, err)
	}
	asked := 0
	docs.fail = func(op, path string) (error, bool) {
		if op == "delete" && strings.HasPrefix(path, accountDocs) {
			asked++
			return errDisk, false
		}
		return nil, false
	}
	must(t, m.DeleteUser(ctx, "u"))
	add(t, m, "u", S3)
	if asked != 2 || len(m.ServiceAccounts("")) != 0 {
		t.Fatalf("asked %d times", asked)
	}
	docs.fail = nil
	for path, doc := range docs.docs { // and one has another revision than was known
		if strings.HasPrefix(path, accountDocs) {
			docs.docs[path] = memDoc{doc.value, doc.rev + 1}
			break
		}
	}
	must(t, m.Attach(ctx, "readonly", "u"))
	must(t, m.Attach(ctx, "readwrite", "u"))
	if len(docs.docs) != 1 {
		t.Fatalf("%d documents left", len(docs.docs))
	}
}

func TestStoreFailsAtOpen(t *testing.T) {
	docs, _, _ := damagedRig(t)
	for _, prefix := range []string{userDocs, policyDocs, groupDocs, accountDocs, masterDoc} {
		docs.fail = func(_, path string) (error, bool) {
			if path == prefix {
				return errDisk, false
			}
			return nil, false
		}
		_, err := Open(ctx, docs, seal.NewKey([32]byte{1}), time.Now)
		if !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", prefix, err)
		}
	}
}
