package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

var exportKey = seal.NewKey([32]byte{7})

// exporting returns a manager with one of everything, and the access keys that sign.
func exporting(t testing.TB) (*Manager, map[string]string) {
	t.Helper()
	m := open(t, newDocs())
	_, err := m.AddPolicy(ctx, "mine", []byte(custom), false)
	must(t, err)
	_, err = m.AddPolicy(ctx, "other", []byte(wider), false)
	must(t, err)
	_, err = m.AddGroup(ctx, "g")
	must(t, err)
	must(t, m.AttachGroup(ctx, "other", "g"))
	for name, role := range map[string]Role{"alice": S3, "bob": S3, "off": S3, "admin": ClusterAdmin, "looker": ReadOnly} {
		_, err = m.AddUser(ctx, name, role, pass+name)
		must(t, err)
	}
	must(t, m.Attach(ctx, "mine", "alice"))
	must(t, m.AttachMore(ctx, "readonly", "alice"))
	must(t, m.AddMember(ctx, "g", "bob"))
	_, err = m.SetEnabled(ctx, "off", false)
	must(t, err)
	key, err := m.AddAccessKey(ctx, "alice")
	must(t, err)
	acc, accKey, err := m.AddServiceAccount(ctx, "bob", NewServiceAccount{
		Name: "of \"bob\" & <co>", Policy: []byte(custom), Expires: time.Now().Add(time.Hour),
	})
	must(t, err)
	more, err := m.AddServiceAccountKey(ctx, acc.ID)
	must(t, err)
	return m, map[string]string{
		"alice": pass + "alice", "bob": pass + "bob", key.AccessKey: key.SecretKey,
		accKey.AccessKey: accKey.SecretKey, more.AccessKey: more.SecretKey,
	}
}

func exported(t testing.TB, m *Manager, key *seal.Key) *Export {
	t.Helper()
	e, err := m.Export(ctx, key)
	must(t, err)
	text, err := json.Marshal(e)
	must(t, err)
	out := new(Export)
	must(t, json.Unmarshal(text, out))
	return out
}

// plain is all that an export says besides secrets.
func plain(t testing.TB, m *Manager) string {
	t.Helper()
	text, err := json.Marshal(exported(t, m, nil))
	must(t, err)
	return string(text)
}

func actions(changes []Change) map[Action]int {
	out := map[Action]int{}
	for _, c := range changes {
		out[c.Action]++
	}
	return out
}

func signs(t testing.TB, m *Manager, keys map[string]string) {
	t.Helper()
	for key, secret := range keys {
		if got, ok := m.Secret(key); !ok || got != secret {
			t.Errorf("%s: does not sign as before", key)
		}
	}
	for _, key := range []string{"off", "admin", "looker"} {
		if _, ok := m.Secret(key); ok {
			t.Errorf("%s signs", key)
		}
	}
}

func decides(t testing.TB, from, to *Manager, keys map[string]string) {
	t.Helper()
	for key := range keys {
		a, ok := from.Identity(key)
		b, ok2 := to.Identity(key)
		if !ok || !ok2 || a.Account != b.Account || a.Name != b.Name || a.UserID != b.UserID || a.Principal.ARN != b.Principal.ARN {
			t.Fatalf("%s: %+v, %+v", key, a, b)
		}
		for _, action := range []string{"s3:GetObject", "s3:PutObject", "s3:ListBucket"} {
			for _, resource := range []string{"arn:aws:s3:::a/k", "arn:aws:s3:::b/k", "arn:aws:s3:::a"} {
				if a.Allows(action, resource) != b.Allows(action, resource) {
					t.Errorf("%s: %s on %s is decided otherwise", key, action, resource)
				}
			}
		}
	}
}

// What is imported signs, logs in and is decided as where it came from, under
// another cluster key, also after it was read back; a second time changes nothing.
func TestExportImport(t *testing.T) {
	from, keys := exporting(t)
	e := exported(t, from, exportKey)
	for _, doc := range e.Users {
		if bytes.Contains(doc, []byte("argon2")) {
			t.Errorf("a hash is not sealed: %s", doc)
		}
	}
	docs := newDocs()
	to, err := Open(ctx, docs, seal.NewKey([32]byte{2}), time.Now)
	must(t, err)
	dry, err := to.Import(ctx, e, ImportOptions{Key: exportKey, DryRun: true})
	must(t, err)
	if len(docs.docs) != 0 {
		t.Fatal("a dry run stored something")
	}
	did, err := to.Import(ctx, e, ImportOptions{Key: exportKey})
	must(t, err)
	if !slices.Equal(dry, did) || actions(did)[ActionAdd] != 9 || len(did) != 9 {
		t.Fatalf("did %v, said %v", did, dry)
	}
	again, err := Open(ctx, docs, seal.NewKey([32]byte{2}), time.Now)
	must(t, err)
	for _, m := range []*Manager{to, again} {
		signs(t, m, keys)
		decides(t, from, m, keys)
		if plain(t, from) != plain(t, m) || len(m.Damaged()) != 0 {
			t.Errorf("not the same: %v", m.Damaged())
		}
		if !m.CheckPassword("admin", pass+"admin") || !m.CheckPassword("looker", pass+"looker") {
			t.Error("a password is another")
		}
	}
	before := maps.Clone(docs.docs)
	did, err = again.Import(ctx, e, ImportOptions{Key: exportKey})
	must(t, err)
	if actions(did)[ActionKeep] != 9 {
		t.Errorf("again: %v", did)
	}
	for path, d := range docs.docs {
		if before[path].rev != d.rev {
			t.Errorf("%s was stored again", path)
		}
	}
}

// What is there and differs is a conflict, in which nothing is changed, unless it
// is to be replaced.
func TestImportConflict(t *testing.T) {
	from, keys := exporting(t)
	e := exported(t, from, exportKey)
	docs := newDocs()
	to := open(t, docs)
	_, err := to.AddUser(ctx, "alice", S3, "An0ther-one")
	must(t, err)
	_, err = to.AddPolicy(ctx, "mine", []byte(wider), false)
	must(t, err)
	_, _, err = to.AddServiceAccount(ctx, "alice", NewServiceAccount{})
	must(t, err)
	before := plain(t, to)
	did, err := to.Import(ctx, e, ImportOptions{Key: exportKey})
	must(t, err)
	if n := actions(did); n[ActionRefuse] != 2 || n[ActionAdd] != 7 {
		t.Errorf("%v", did)
	}
	if plain(t, to) != before {
		t.Error("changed in spite of conflicts")
	}
	did, err = to.Import(ctx, e, ImportOptions{Key: exportKey, Replace: true})
	must(t, err)
	if n := actions(did); n[ActionReplace] != 2 || n[ActionAdd] != 7 {
		t.Errorf("%v", did)
	}
	signs(t, to, keys)
	decides(t, from, to, keys)
	// The former alice's service account has no power and is cleared away.
	must(t, to.RevokeSessions(ctx, "bob"))
	if plain(t, to) == before || len(to.orphans) != 0 || len(docs.docs) != 9 {
		t.Errorf("%d documents, orphans %v", len(docs.docs), to.orphans)
	}
}

// A service account whose owner was made anew meanwhile comes back with its owner.
func TestImportOverOrphan(t *testing.T) {
	m, keys := exporting(t)
	e := exported(t, m, exportKey)
	must(t, m.RemoveMember(ctx, "g", "bob"))
	must(t, m.DeleteUser(ctx, "bob"))
	_, err := m.AddUser(ctx, "bob", S3, pass)
	must(t, err)
	_, err = m.Import(ctx, e, ImportOptions{Key: exportKey, Replace: true})
	must(t, err)
	for range 3 { // each clears away
		must(t, m.RevokeSessions(ctx, "alice"))
	}
	signs(t, m, keys)
	again, err := Open(ctx, m.docs, m.key, time.Now)
	must(t, err)
	signs(t, again, keys)
}

// An export without a key holds no secret, and nobody gets in on the strength of it.
func TestImportWithoutSecrets(t *testing.T) {
	from, keys := exporting(t)
	text := plain(t, from)
	for key, secret := range keys {
		if strings.Contains(text, secret) || strings.HasPrefix(key, keyPrefix) && strings.Contains(text, key) {
			t.Errorf("the secret of %s is in it", key)
		}
	}
	if strings.Contains(text, "argon2") || strings.Contains(text, `"secret"`) || strings.Contains(text, `"keys"`) {
		t.Error(text)
	}
	e := exported(t, from, nil)
	to := open(t, newDocs())
	did, err := to.Import(ctx, e, ImportOptions{})
	must(t, err)
	for _, c := range did {
		if c.Locked != (c.Kind == KindOfUser || c.Kind == KindOfAccount) {
			t.Errorf("%+v", c)
		}
	}
	if s, ok := to.Secret("alice"); !ok || len(s) != generatedPassword || to.CheckPassword("admin", pass+"admin") {
		t.Error("a secret came from nowhere")
	}
	must(t, to.SetPassword(ctx, "alice", pass+"alice"))
	acc := to.ServiceAccounts("bob")[0]
	if _, err := to.AddServiceAccountKey(ctx, acc.ID); err != nil || len(acc.Keys) != 0 {
		t.Errorf("%+v, %v", acc, err)
	}
	// Who is there keeps what it has.
	_, err = to.AddPolicy(ctx, "mine", []byte(wider), true)
	must(t, err)
	_, err = to.SetEnabled(ctx, "alice", false)
	must(t, err)
	did, err = to.Import(ctx, e, ImportOptions{Replace: true})
	must(t, err)
	if s, ok := to.Secret("alice"); !ok || s != pass+"alice" || actions(did)[ActionReplace] != 3 {
		t.Errorf("alice %q, %v", s, did)
	}
	if plain(t, to) != text {
		t.Error("not the same")
	}
}

func TestImportRefusals(t *testing.T) {
	from, keys := exporting(t)
	var aliceKey string
	for key := range keys {
		if id, ok := from.Identity(key); ok && id.Name == "alice" && key != "alice" {
			aliceKey = key
		}
	}
	doc := func(s string) []json.RawMessage { return []json.RawMessage{json.RawMessage(s)} }
	for name, c := range map[string]struct {
		before func(m *Manager)
		change func(e *Export)
		key    *seal.Key
		want   error
	}{
		"another key":      {key: seal.NewKey([32]byte{9}), want: seal.ErrOpen},
		"not JSON":         {change: func(e *Export) { e.Users = doc("{") }, want: ErrImport},
		"newer version":    {change: func(e *Export) { e.Groups = doc(`{"v":2,"name":"g"}`) }, want: ErrCorrupt},
		"unknown field":    {change: func(e *Export) { e.Groups = doc(`{"v":1,"name":"g","x":1}`) }, want: ErrCorrupt},
		"bad name":         {change: func(e *Export) { e.Groups = doc(`{"v":1,"name":"../g"}`) }, want: ErrCorrupt},
		"no policy":        {change: func(e *Export) { e.Policies = nil }, want: ErrImport},
		"no group":         {change: func(e *Export) { e.Groups = nil }, want: ErrImport},
		"no owner":         {change: func(e *Export) { e.Users = nil }, want: ErrImport},
		"twice a user":     {change: func(e *Export) { e.Users = append(e.Users, e.Users[0]) }, want: ErrImport},
		"twice a policy":   {change: func(e *Export) { e.Policies = append(e.Policies, e.Policies[0]) }, want: ErrImport},
		"twice a group":    {change: func(e *Export) { e.Groups = append(e.Groups, e.Groups[0]) }, want: ErrImport},
		"twice an account": {change: func(e *Export) { e.ServiceAccounts = append(e.ServiceAccounts, e.ServiceAccounts[0]) }, want: ErrImport},
		"predefined":       {change: func(e *Export) { e.Policies = doc(`{"v":1,"name":"readonly","document":"{}"}`) }, want: ErrImport},
		"key of another": {before: func(m *Manager) {
			_, err := m.AddUser(ctx, "thief", S3, pass)
			must(t, err)
			u := *m.users.get("thief")
			u.keys = []secretKey{{AccessKey{ID: aliceKey}, "x"}}
			must(t, m.storeUser(ctx, &u))
		}, want: ErrImport},
		"last admin": {before: func(m *Manager) {
			_, err := m.AddUser(ctx, "looker", ClusterAdmin, pass)
			must(t, err)
		}, change: func(e *Export) {
			e.Users = slices.DeleteFunc(e.Users, func(d json.RawMessage) bool { return bytes.Contains(d, []byte(`"admin"`)) })
		}, want: ErrLastAdmin},
		"damaged there": {before: func(m *Manager) {
			_, err := m.docs.Put(ctx, "users/alice", []byte("{"), -1)
			must(t, err)
			must(t, m.resync(ctx, "users/alice"))
		}, want: ErrCorrupt},
	} {
		docs := newDocs()
		to := open(t, docs)
		if c.before != nil {
			c.before(to)
		}
		e, key := exported(t, from, exportKey), exportKey
		if c.change != nil {
			c.change(e)
		}
		if c.key != nil {
			key = c.key
		}
		before := maps.Clone(docs.docs)
		if _, err := to.Import(ctx, e, ImportOptions{Key: key, Replace: true}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if len(docs.docs) != len(before) {
			t.Errorf("%s: something was stored", name)
		}
	}
	e := exported(t, from, exportKey)
	if _, err := open(t, newDocs()).Import(ctx, e, ImportOptions{}); !errors.Is(err, ErrImport) {
		t.Errorf("secrets where there should be none: %v", err)
	}
}

// A store that fails at any point leaves what the same import again completes.
func TestImportInterrupted(t *testing.T) {
	from, keys := exporting(t)
	e := exported(t, from, exportKey)
	for at := range 9 {
		for _, lost := range []bool{false, true} {
			docs, n := newDocs(), 0
			to := open(t, docs)
			docs.fail = func(op, _ string) (error, bool) {
				if op == "put" {
					if n++; n == at+1 {
						return errors.New("no"), lost
					}
				}
				return nil, false
			}
			did, err := to.Import(ctx, e, ImportOptions{Key: exportKey})
			if err == nil || len(did) != at {
				t.Fatalf("put %d: %d done, %v", at, len(did), err)
			}
			if _, err = to.Import(ctx, e, ImportOptions{Key: exportKey}); err != nil {
				t.Fatalf("put %d: again: %v", at, err)
			}
			signs(t, to, keys)
			if plain(t, from) != plain(t, to) {
				t.Errorf("put %d: not the same", at)
			}
		}
	}
}

// Whatever is imported can be read again.
func FuzzImport(f *testing.F) {
	from, _ := exporting(f)
	for _, key := range []*seal.Key{nil, exportKey} {
		text, err := json.Marshal(exported(f, from, key))
		must(f, err)
		f.Add(text, key != nil)
	}
	f.Add([]byte(`{"users":[{"v":1,"name":"a","role":"s3"}]}`), false)
	f.Add([]byte(`{"policies":[null],"groups":[{}],"users":[1],"service_accounts":["x"]}`), true)
	f.Fuzz(func(t *testing.T, text []byte, sealed bool) {
		e := new(Export)
		if json.Unmarshal(text, e) != nil {
			return
		}
		opts := ImportOptions{Replace: true}
		if sealed {
			opts.Key = exportKey
		}
		docs := newDocs()
		m := open(t, docs)
		did, err := m.Import(ctx, e, opts)
		if err != nil {
			if len(docs.docs) > 0 {
				t.Fatalf("refused, and yet stored: %v", err)
			}
			return
		}
		again := open(t, docs)
		if len(again.Damaged()) > 0 || len(again.orphans) > 0 || len(docs.docs) != len(did) {
			t.Fatalf("%v; %v; %d documents, %v", again.Damaged(), again.orphans, len(docs.docs), did)
		}
		if a, b := fmt.Sprint(plain(t, m)), plain(t, again); a != b {
			t.Fatalf("%s\n%s", a, b)
		}
	})
}
