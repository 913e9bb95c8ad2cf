package iam

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

func FuzzDecodeUser(f *testing.F) {
	key := seal.NewKey([32]byte{1})
	u := &userEntry{
		User: User{Name: "alice", Role: S3, Policies: []string{"p"}, Groups: []string{"g"}}, secret: pass, id: randomBase32(idLen),
		keys: []secretKey{{AccessKey{ID: randomKey(keyPrefix)}, "secret"}},
	}
	doc, _ := encodeUser(u, key)
	f.Add(doc)
	f.Add([]byte(fixtureDocs1["users/alice"]))
	f.Add([]byte(strings.ReplaceAll(fixtureDocs1["users/root"], "root", "alice")))
	f.Add([]byte(`{"v":1,"name":"alice","role":"regular","hash":"$argon2id$"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		u, err := decodeUser("users/alice", value, 1, key)
		if err != nil {
			return
		}
		if u.Name != "alice" || (u.Role == S3) != (u.hash == "") || len(u.id) != idLen || len(u.Policies) > MaxAttached ||
			len(u.Groups) > MaxMemberships || len(u.keys) > MaxAccessKeys {
			t.Fatalf("%+v", u)
		}
		again, err := encodeUser(u, key)
		must(t, err)
		if _, err := decodeUser("users/alice", again, 1, key); err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
	})
}

func FuzzDecodePolicy(f *testing.F) {
	f.Add([]byte(fixtureDocs1["policies/mine"]))
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := decodePolicy("policies/mine", value, 1)
		if err != nil {
			return
		}
		again, err := encodePolicy(p)
		must(t, err)
		if q, err := decodePolicy("policies/mine", again, 1); err != nil || q.document != p.document || p.name != "mine" {
			t.Fatalf("%v", err)
		}
	})
}

func FuzzDecodeGroup(f *testing.F) {
	doc, _ := encodeGroup(&groupEntry{Group: Group{Name: "g", Policies: []string{"a", "b"}}})
	f.Add(doc)
	f.Fuzz(func(t *testing.T, value []byte) {
		g, err := decodeGroup("groups/g", value, 1)
		if err != nil {
			return
		}
		again, err := encodeGroup(g)
		must(t, err)
		if _, err := decodeGroup("groups/g", again, 1); err != nil || g.Name != "g" || len(g.Policies) > MaxAttached {
			t.Fatalf("%+v, %v", g, err)
		}
	})
}

func FuzzDecodeAccount(f *testing.F) {
	key := seal.NewKey([32]byte{1})
	const id = "SAABCDEFGHIJKLMNOPQR"
	a := &accountEntry{
		ServiceAccount: ServiceAccount{ID: id, Owner: "u", Name: "n", Policy: reads, Expires: time.Unix(1, 0).UTC()},
		ownerID:        randomBase32(idLen), keys: []secretKey{{AccessKey{ID: randomKey(keyPrefix)}, "secret"}},
	}
	doc, _ := encodeAccount(a, key)
	f.Add(doc)
	f.Fuzz(func(t *testing.T, value []byte) {
		a, err := decodeAccount(accountDocs+id, value, 1, key)
		if err != nil {
			return
		}
		if a.ID != id || len(a.keys) > MaxAccessKeys || (a.Policy == "") != (a.narrow == nil) {
			t.Fatalf("%+v", a)
		}
		again, err := encodeAccount(a, key)
		must(t, err)
		if _, err := decodeAccount(accountDocs+id, again, 1, key); err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
	})
}

func FuzzDecodeMaster(f *testing.F) {
	key := seal.NewKey([32]byte{1})
	doc, _ := encodeMaster([32]byte{7}, time.Unix(1, 0).UTC(), key)
	f.Add(doc)
	f.Add(bytes.Replace(doc, []byte(`"v":1`), []byte(`"v":2`), 1))
	f.Fuzz(func(t *testing.T, value []byte) {
		if k, err := decodeMaster(masterDoc, value, 1, key); err == nil && k.raw != [32]byte{7} {
			t.Fatal("a key out of nothing")
		}
	})
}

func FuzzClaims(f *testing.F) {
	for _, c := range []claims{
		{kind: claimsUser, session: "s", user: "u", userID: "ABCDEFGHIJKLMNOP", revoked: 1 << 40, account: "SAABCDEFGHIJKLMNOPQR", inline: []byte(reads)},
		{kind: claimsWeb, session: "s", web: WebIdentity{Issuer: "i", Subject: "s", Audience: "a", Policies: []string{"p", "q"}}},
	} {
		f.Add(c.encode())
	}
	f.Add([]byte{claimsWeb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeClaims(b)
		if err != nil {
			return
		}
		again, err := decodeClaims(c.encode())
		must(t, err)
		if !bytes.Equal(c.encode(), again.encode()) || len(c.inline) > MaxSessionPolicy || len(c.web.Policies) > MaxAttached {
			t.Fatalf("%+v, %+v", c, again)
		}
	})
}

// A token opens only if it was made: with the right key, nothing else does.
func FuzzSession(f *testing.F) {
	m := open(f, newDocs())
	add(f, m, "u", S3)
	must(f, m.Attach(ctx, "readwrite", "u"))
	c := assume(f, m, "u", reads)
	f.Add(c.AccessKey, c.Token)
	f.Add(c.AccessKey, c.Token[:len(c.Token)-1])
	f.Add("u", c.Token)
	f.Add("ASIAABCDEFGHIJKLMNOP", "")
	f.Fuzz(func(t *testing.T, accessKey, token string) {
		m.Secret(accessKey)
		m.Identity(accessKey)
		id, err := m.Session(accessKey, token)
		if made := accessKey == c.AccessKey && token == c.Token; made != (err == nil) || made && id.Name != "u" {
			t.Fatalf("%v, %+v", err, id)
		}
	})
}
