package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// memDocs is a document store in memory. fail, when set, is asked before each
// operation: lost makes a write happen and report an error all the same.
type memDocs struct {
	mu   sync.Mutex
	docs map[string]memDoc
	fail func(op, path string) (err error, lost bool)
}

type memDoc struct {
	value []byte
	rev   int64
}

var errConflict = errors.New("conflict")

func newDocs() *memDocs { return &memDocs{docs: map[string]memDoc{}} }

func (d *memDocs) ask(op, path string) (error, bool) {
	if d.fail == nil {
		return nil, false
	}
	return d.fail(op, path)
}

func (d *memDocs) Get(_ context.Context, path string) ([]byte, int64, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err, _ := d.ask("get", path); err != nil {
		return nil, 0, false, err
	}
	v, ok := d.docs[path]
	return v.value, v.rev, ok, nil
}

func (d *memDocs) List(_ context.Context, prefix string, fn func(string, []byte, int64) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err, _ := d.ask("list", prefix); err != nil {
		return err
	}
	for path, v := range d.docs {
		if strings.HasPrefix(path, prefix) {
			if err := fn(path, v.value, v.rev); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *memDocs) Put(_ context.Context, path string, value []byte, ifRev int64) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, lost := d.ask("put", path)
	if err != nil && !lost {
		return 0, err
	}
	rev := d.docs[path].rev
	if ifRev >= 0 && rev != ifRev {
		return 0, errConflict
	}
	d.docs[path] = memDoc{append([]byte(nil), value...), rev + 1}
	return rev + 1, err
}

func (d *memDocs) Delete(_ context.Context, path string, ifRev int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, lost := d.ask("delete", path)
	if err != nil && !lost {
		return err
	}
	if v, ok := d.docs[path]; !ok || ifRev >= 0 && v.rev != ifRev {
		return errConflict
	}
	delete(d.docs, path)
	return err
}

const (
	pass   = "Passw0rd"
	custom = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::a/*"}}`
	wider  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::a/*"}}`
)

var ctx = context.Background()

func open(t testing.TB, docs Docs) *Manager {
	t.Helper()
	m, err := Open(ctx, docs, seal.NewKey([32]byte{1}), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func add(t testing.TB, m *Manager, name string, role Role) {
	t.Helper()
	_, err := m.AddUser(ctx, name, role, pass)
	must(t, err)
}

func allowed(m *Manager, user, action string) bool {
	id, ok := m.Identity(user)
	return ok && id.Allows(action, "arn:aws:s3:::a/b")
}

func TestLifeAndRestart(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	add(t, m, "alice", "S3")
	add(t, m, "root", ClusterAdmin)
	if s, ok := m.Secret("alice"); !ok || s != pass {
		t.Fatalf("Secret = %q, %v", s, ok)
	}
	if _, ok := m.Secret("root"); ok {
		t.Fatal("an administrator has an S3 secret")
	}
	if allowed(m, "alice", "s3:GetObject") {
		t.Fatal("a user without a policy may read")
	}
	_, err := m.AddPolicy(ctx, "mine", []byte(custom), false)
	must(t, err)
	must(t, m.Attach(ctx, "mine", "alice"))
	must(t, m.Attach(ctx, "mine", "alice"))
	if !allowed(m, "alice", "s3:GetObject") || allowed(m, "alice", "s3:PutObject") {
		t.Fatal("policy is not in force")
	}
	_, err = m.AddPolicy(ctx, "mine", []byte(wider), true)
	must(t, err)
	if !allowed(m, "alice", "s3:PutObject") {
		t.Fatal("the replaced policy is not in force")
	}
	for path, doc := range docs.docs {
		if strings.Contains(string(doc.value), pass) {
			t.Fatalf("%s holds a password in the clear", path)
		}
	}

	m = open(t, docs)
	if s, _ := m.Secret("alice"); s != pass || !allowed(m, "alice", "s3:PutObject") {
		t.Fatal("state was lost by a restart")
	}
	if !m.CheckPassword("root", pass) || m.CheckPassword("root", pass+"x") || m.CheckPassword("nobody", pass) ||
		!m.CheckPassword("alice", pass) || m.CheckPassword("alice", "") || m.CheckPassword("root", strings.Repeat("a", 1000)) {
		t.Fatal("CheckPassword")
	}
	info, err := m.Policy("mine")
	must(t, err)
	if len(info.Users) != 1 || info.Users[0] != "alice" || info.Document != wider || info.Predefined {
		t.Fatalf("Policy = %+v", info)
	}
	if all := m.Policies(); len(all) != 4 || all[0].Name != "mine" || !all[1].Predefined {
		t.Fatalf("Policies = %+v", all)
	}
	if us := m.Users(); len(us) != 2 || us[0].Name != "alice" || us[0].Policy != "mine" || us[1].Role != ClusterAdmin {
		t.Fatalf("Users = %+v", us)
	}
	want(t, m.RemovePolicy(ctx, "mine"), ErrPolicyInUse)
	want(t, m.Detach(ctx, "readonly", "alice"), ErrNotAttached)
	must(t, m.Detach(ctx, "", "alice"))
	if allowed(m, "alice", "s3:GetObject") {
		t.Fatal("detached policy is in force")
	}
	want(t, m.Detach(ctx, "", "alice"), ErrNotAttached)
	must(t, m.RemovePolicy(ctx, "mine"))
	must(t, m.DeleteUser(ctx, "alice"))
	if _, ok := m.Secret("alice"); ok {
		t.Fatal("a deleted user signs")
	}
	add(t, m, "alice", S3)
	if len(open(t, docs).Users()) != 2 {
		t.Fatal("users after all")
	}
}

func TestRefusals(t *testing.T) {
	m := open(t, newDocs())
	add(t, m, "alice", S3)
	add(t, m, "root", OrgAdmin)
	for _, name := range []string{"", "a/b", "a b", "ä", strings.Repeat("a", 65), "a\x00"} {
		_, err := m.AddUser(ctx, name, S3, pass)
		want(t, err, ErrBadName)
	}
	for _, bad := range []string{"", "Short1a", "alllower1", "ALLUPPER1", "NoDigitsHere", "Tab\tTab12", "Bad\xff12345a", "A1" + strings.Repeat("a", 127)} {
		_, err := m.AddUser(ctx, "bob", S3, bad)
		want(t, err, ErrBadPassword)
		want(t, m.SetPassword(ctx, "alice", bad), ErrBadPassword)
	}
	for _, good := range []string{"Abcdefg1", "Abcdefg!", "Ab cdefg", "Äbcdefg1", "A1" + strings.Repeat("a", 126)} {
		must(t, m.SetPassword(ctx, "alice", good))
		if s, _ := m.Secret("alice"); s != good {
			t.Fatalf("secret %q", s)
		}
	}
	_, err := m.AddUser(ctx, "alice", S3, pass)
	want(t, err, ErrUserExists)
	_, err = m.AddUser(ctx, "bob", "king", pass)
	want(t, err, ErrBadRole)
	want(t, m.DeleteUser(ctx, "bob"), ErrNoUser)
	want(t, m.SetPassword(ctx, "bob", pass), ErrNoUser)
	_, err = m.User("bob")
	want(t, err, ErrNoUser)
	want(t, m.Attach(ctx, "nothing", "alice"), ErrNoPolicy)
	want(t, m.Attach(ctx, "readonly", "bob"), ErrNoUser)
	want(t, m.Attach(ctx, "readonly", "root"), ErrNotS3User)
	want(t, m.RemovePolicy(ctx, "readonly"), ErrPredefined)
	want(t, m.RemovePolicy(ctx, "nothing"), ErrNoPolicy)
	_, err = m.Policy("nothing")
	want(t, err, ErrNoPolicy)
	_, err = m.AddPolicy(ctx, "readwrite", []byte(custom), true)
	want(t, err, ErrPredefined)
	_, err = m.AddPolicy(ctx, strings.Repeat("p", 129), []byte(custom), false)
	want(t, err, ErrBadName)
	_, err = m.AddPolicy(ctx, "p", []byte(`{}`), false)
	want(t, err, policy.ErrMalformed)
	_, err = m.AddPolicy(ctx, strings.Repeat("p", 128), []byte(custom), false)
	must(t, err)
	_, err = m.AddPolicy(ctx, strings.Repeat("p", 128), []byte(custom), false)
	want(t, err, ErrPolicyExists)
}

func TestRoles(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	add(t, m, "u", S3)
	must(t, m.Attach(ctx, "readwrite", "u"))
	u, err := m.SetRole(ctx, "u", "Regular")
	must(t, err)
	if u.Role != Regular || u.Policy != "" || !m.CheckPassword("u", pass) {
		t.Fatalf("%+v", u)
	}
	if _, ok := m.Identity("u"); ok || allowed(m, "u", "s3:GetObject") {
		t.Fatal("no S3 user any more, but an identity")
	}
	if info, _ := m.Policy("readwrite"); len(info.Users) != 0 {
		t.Fatal("policy is still attached")
	}
	_, err = m.SetRole(ctx, "u", S3)
	want(t, err, ErrNeedPassword)
	_, err = m.SetRole(ctx, "u", ReadOnly)
	must(t, err)
	if !open(t, docs).CheckPassword("u", pass) {
		t.Fatal("password lost")
	}
	_, err = m.SetRoleAndPassword(ctx, "u", S3, "Another1")
	must(t, err)
	if s, ok := m.Secret("u"); !ok || s != "Another1" {
		t.Fatal("secret after becoming s3")
	}
	_, err = m.SetRole(ctx, "u", "x")
	want(t, err, ErrBadRole)
}

var errDisk = errors.New("disk")

func TestFailures(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	add(t, m, "alice", S3)
	must(t, m.Attach(ctx, "readwrite", "alice"))
	set := func(get, lost bool) {
		docs.fail = func(op, path string) (error, bool) {
			if op == "get" && !get {
				return nil, false
			}
			return errDisk, lost
		}
	}
	set(false, false) // writes fail and do not happen
	want(t, m.Detach(ctx, "", "alice"), errDisk)
	want(t, m.DeleteUser(ctx, "alice"), errDisk)
	want(t, m.SetPassword(ctx, "alice", "Another1"), errDisk)
	_, err := m.AddUser(ctx, "bob", S3, pass)
	want(t, err, errDisk)
	if s, _ := m.Secret("alice"); s != pass || !allowed(m, "alice", "s3:PutObject") || len(m.Users()) != 1 {
		t.Fatal("a failed change is in force")
	}
	set(false, true) // writes happen and report failure
	want(t, m.Detach(ctx, "", "alice"), errDisk)
	if allowed(m, "alice", "s3:GetObject") {
		t.Fatal("memory does not follow the store")
	}
	set(true, true) // and the store cannot be read either
	want(t, m.SetPassword(ctx, "alice", "Another1"), errDisk)
	_, err = m.AddPolicy(ctx, "p", []byte(custom), false)
	want(t, err, errDisk)
	docs.fail = nil
	must(t, m.Attach(ctx, "readonly", "alice")) // reads back first
	if s, _ := m.Secret("alice"); s != "Another1" || !allowed(m, "alice", "s3:GetObject") {
		t.Fatal("unknown state was not read back")
	}
	set(false, true)
	want(t, m.DeleteUser(ctx, "alice"), errDisk)
	docs.fail = nil
	if _, ok := m.Secret("alice"); ok {
		t.Fatal("deleted in the store, alive in memory")
	}
	add(t, m, "alice", S3)
	// Another writer changed the document: the revision check refuses, the next
	// try works on what is stored.
	v := docs.docs["users/alice"]
	docs.docs["users/alice"] = memDoc{v.value, v.rev + 1}
	want(t, m.Attach(ctx, "readonly", "alice"), errConflict)
	must(t, m.Attach(ctx, "readonly", "alice"))
	docs.fail = func(op, _ string) (error, bool) { return errDisk, false }
	_, err = Open(ctx, docs, seal.NewKey([32]byte{1}), time.Now)
	want(t, err, errDisk)
}

func TestConcurrent(t *testing.T) {
	m := open(t, newDocs())
	add(t, m, "alice", S3)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if s, ok := m.Secret("alice"); !ok || s != pass {
					t.Error("secret flickered")
					return
				}
				allowed(m, "alice", "s3:GetObject")
				m.Policies()
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("u%d-%d", w, i)
				_, err := m.AddUser(ctx, name, S3, pass)
				err = errors.Join(err, m.Attach(ctx, "readwrite", name), m.Attach(ctx, "readonly", "alice"))
				if err != nil || !allowed(m, name, "s3:PutObject") {
					t.Errorf("%s: %v", name, err)
				}
				if err := errors.Join(m.Detach(ctx, "readwrite", name)); err != nil || allowed(m, name, "s3:GetObject") {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if n := len(m.Users()); n != 201 || m.users.count.Load() != 201 {
		t.Fatalf("%d users", n)
	}
}

func TestGeneratePassword(t *testing.T) {
	seen := map[string]bool{}
	for range 2000 {
		p := GeneratePassword()
		if len(p) != 40 || checkPassword(p) != nil || seen[p] {
			t.Fatalf("%q", p)
		}
		seen[p] = true
	}
}
