package iam

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func openAt(t testing.TB, docs Docs, c *clock) *Manager {
	t.Helper()
	m, err := Open(ctx, docs, seal.NewKey([32]byte{1}), c.now)
	must(t, err)
	return m
}

func TestAccessKeys(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	addPolicies(t, m)
	add(t, m, "u", S3)
	add(t, m, "root", ClusterAdmin)
	must(t, m.Attach(ctx, "reads", "u"))
	first, err := m.AddAccessKey(ctx, "u")
	must(t, err)
	second, err := m.AddAccessKey(ctx, "u")
	must(t, err)
	_, err = m.AddAccessKey(ctx, "u")
	want(t, err, ErrLimit)
	_, err = m.AddAccessKey(ctx, "root")
	want(t, err, ErrNotS3User)
	_, err = m.AddAccessKey(ctx, "nobody")
	want(t, err, ErrNoUser)
	_, err = m.AccessKeys("nobody")
	want(t, err, ErrNoUser)
	for _, k := range []KeyPair{first, second} {
		if !isKey(keyPrefix, k.AccessKey) || len(k.SecretKey) != 40 {
			t.Fatalf("%+v", k)
		}
		wantRights(t, m, k.AccessKey, "r")
		if s, _ := m.Secret(k.AccessKey); s != k.SecretKey {
			t.Fatalf("secret %q", s)
		}
		id, _ := m.Identity(k.AccessKey)
		if id.Kind != KindUser || id.Name != "u" || id.AccessKey != k.AccessKey || id.Principal.ARN != "arn:aws:iam::000000000000:user/u" {
			t.Fatalf("%+v", id)
		}
		for path, doc := range docs.docs {
			if strings.Contains(string(doc.value), k.SecretKey) {
				t.Fatalf("%s holds a secret in the clear", path)
			}
		}
		_, err := m.AddUser(ctx, k.AccessKey, S3, pass) // would take the key's requests
		want(t, err, ErrUserExists)
	}
	must(t, m.SetAccessKey(ctx, first.AccessKey, false))
	wantRights(t, m, first.AccessKey, "-")
	want(t, m.Refused(first.AccessKey), ErrDisabled)
	wantRights(t, m, second.AccessKey, "r")
	wantRights(t, m, "u", "r")
	m = open(t, docs)
	wantRights(t, m, first.AccessKey, "-")
	must(t, m.SetAccessKey(ctx, first.AccessKey, true))
	wantRights(t, m, first.AccessKey, "r")
	must(t, m.RemoveAccessKey(ctx, first.AccessKey))
	wantRights(t, m, first.AccessKey, "-")
	want(t, m.RemoveAccessKey(ctx, first.AccessKey), ErrNoAccessKey)
	want(t, m.SetAccessKey(ctx, "u", false), ErrNoAccessKey)
	must(t, m.Attach(ctx, "writes", "u"))
	wantRights(t, m, second.AccessKey, "w")
	keys, err := m.AccessKeys("u")
	must(t, err)
	if len(keys) != 1 || keys[0].ID != second.AccessKey || keys[0].Disabled {
		t.Fatalf("%+v", keys)
	}
	// A user that stops being s3 loses its keys for good.
	_, err = m.SetRole(ctx, "u", Regular)
	must(t, err)
	wantRights(t, m, second.AccessKey, "-")
	_, err = m.SetRoleAndPassword(ctx, "u", S3, pass)
	must(t, err)
	wantRights(t, m, second.AccessKey, "-")
	wantRights(t, m, "u", "")
	_, err = m.AddUser(ctx, "ASIAABCDEFGHIJKLMNOP", S3, pass)
	want(t, err, ErrBadName)
	_, err = m.AddUser(ctx, webRole, S3, pass)
	want(t, err, ErrBadName)
}

func TestServiceAccounts(t *testing.T) {
	docs, clk := newDocs(), newClock()
	m := openAt(t, docs, clk)
	addPolicies(t, m)
	add(t, m, "u", S3)
	add(t, m, "root", ClusterAdmin)
	must(t, m.Attach(ctx, "reads", "u"))
	must(t, m.AttachMore(ctx, "writes", "u"))
	hour := clk.now().Add(time.Hour)
	a, pair, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{Name: "backup job", Policy: []byte(reads), Expires: hour})
	must(t, err)
	if a.Owner != "u" || a.Name != "backup job" || a.Policy != reads || !a.Expires.Equal(hour) || len(a.Keys) != 1 || a.Keys[0].ID != pair.AccessKey {
		t.Fatalf("%+v", a)
	}
	wantRights(t, m, pair.AccessKey, "r")
	id, _ := m.Identity(pair.AccessKey)
	if id.Kind != KindServiceAccount || id.Name != "u" || id.Account != a.ID || id.Principal.ARN != "arn:aws:iam::000000000000:user/u" ||
		id.AccessKey != pair.AccessKey || len(id.Narrow) != 1 {
		t.Fatalf("%+v", id)
	}
	other, err := m.AddServiceAccountKey(ctx, a.ID)
	must(t, err)
	_, err = m.AddServiceAccountKey(ctx, pair.AccessKey)
	want(t, err, ErrLimit)
	wantRights(t, m, other.AccessKey, "r")
	wantRights(t, m, pair.AccessKey, "r")
	must(t, m.RemoveAccessKey(ctx, pair.AccessKey))
	wantRights(t, m, pair.AccessKey, "-")
	wantRights(t, m, other.AccessKey, "r")
	m = openAt(t, docs, clk)
	if s, _ := m.Secret(other.AccessKey); s != other.SecretKey {
		t.Fatal("secret lost")
	}
	if by, err := m.ServiceAccount(other.AccessKey); err != nil || by.ID != a.ID {
		t.Fatalf("%+v, %v", by, err)
	}

	both, none := []byte(strings.Replace(reads, `"s3:GetObject"`, `["s3:GetObject","s3:PutObject"]`, 1)), []byte(nil)
	for _, c := range []struct {
		policy *[]byte
		want   string
	}{{&both, "rw"}, {&none, "rw"}} {
		_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Policy: c.policy})
		must(t, err)
		wantRights(t, m, other.AccessKey, c.want)
	}
	must(t, m.Attach(ctx, "writes", "u")) // the owner's rights bound it
	wantRights(t, m, other.AccessKey, "w")
	no, yes := false, true
	_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Enabled: &no})
	must(t, err)
	wantRights(t, m, other.AccessKey, "-")
	_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Enabled: &yes})
	must(t, err)
	wantRights(t, m, other.AccessKey, "w")
	clk.add(time.Hour - time.Nanosecond)
	wantRights(t, m, other.AccessKey, "w")
	clk.add(time.Nanosecond)
	wantRights(t, m, other.AccessKey, "-")
	want(t, m.Refused(other.AccessKey), ErrExpired)
	past, never := clk.now(), time.Time{}
	_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Expires: &past})
	want(t, err, ErrBadExpiry)
	_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Expires: &never})
	must(t, err)
	wantRights(t, m, other.AccessKey, "w")

	bad := "a\nb"
	_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Name: &bad})
	want(t, err, ErrBadName)
	empty := []byte{}
	_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Policy: &empty})
	want(t, err, policy.ErrMalformed)
	for _, c := range []struct {
		owner string
		in    NewServiceAccount
		want  error
	}{
		{"nobody", NewServiceAccount{}, ErrNoUser},
		{"root", NewServiceAccount{}, ErrNotS3User},
		{"u", NewServiceAccount{Name: strings.Repeat("x", 257)}, ErrBadName},
		{"u", NewServiceAccount{Policy: []byte("{}")}, policy.ErrMalformed},
		{"u", NewServiceAccount{Policy: []byte{}}, policy.ErrMalformed},
		{"u", NewServiceAccount{Expires: clk.now()}, ErrBadExpiry},
		{"u", NewServiceAccount{Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, ErrBadExpiry},
	} {
		_, _, err := m.AddServiceAccount(ctx, c.owner, c.in)
		want(t, err, c.want)
	}
	must(t, m.RemoveServiceAccount(ctx, other.AccessKey))
	wantRights(t, m, other.AccessKey, "-")
	want(t, m.RemoveServiceAccount(ctx, a.ID), ErrNoServiceAccount)
	_, err = m.AddServiceAccountKey(ctx, a.ID)
	want(t, err, ErrNoServiceAccount)
	_, err = m.ServiceAccount("u")
	want(t, err, ErrNoServiceAccount)
}

func TestManyServiceAccounts(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	add(t, m, "u", S3)
	add(t, m, "v", S3)
	must(t, m.Attach(ctx, "readwrite", "u"))
	var keys []string
	for i := range 2*sweepMost + 10 {
		_, pair, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{Name: fmt.Sprint(i)})
		must(t, err)
		keys = append(keys, pair.AccessKey)
	}
	_, kept, err := m.AddServiceAccount(ctx, "v", NewServiceAccount{})
	must(t, err)
	if len(m.ServiceAccounts("u")) != len(keys) || len(m.ServiceAccounts("")) != len(keys)+1 || len(m.ServiceAccounts("w")) != 0 {
		t.Fatal("ServiceAccounts")
	}
	must(t, m.DeleteUser(ctx, "u"))
	add(t, m, "u", S3) // another one
	must(t, m.Attach(ctx, "readwrite", "u"))
	for _, k := range keys {
		wantRights(t, m, k, "-")
	}
	if len(m.ServiceAccounts("u")) != 0 {
		t.Fatal("a new user has the old one's service accounts")
	}
	m = open(t, docs)
	for _, k := range keys {
		wantRights(t, m, k, "-")
	}
	// Changes have cleared away all that was left.
	must(t, m.Attach(ctx, "readonly", "u"))
	if n := len(docs.docs); n != 3 {
		t.Fatalf("%d documents", n)
	}
	wantRights(t, m, kept.AccessKey, "")
}
