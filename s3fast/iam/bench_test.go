package iam

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

// many is the number of users, and of service accounts, of the benchmarks.
const many = 100_000

// crowd fills a store with n users, each with a policy, every other in a group,
// and a service account of each.
func crowd(b testing.TB, n int) (docs *memDocs, users, keys []string) {
	docs = newDocs()
	m := open(b, docs)
	addPolicies(b, m)
	_, err := m.AddGroup(ctx, "staff")
	must(b, err)
	must(b, m.AttachGroup(ctx, "writes", "staff"))
	put := func(path string, value []byte, err error) {
		must(b, err)
		docs.docs[path] = memDoc{value, 1}
	}
	at := m.time()
	for i := range n {
		u := &userEntry{
			User: User{Name: fmt.Sprintf("user%06d", i), Role: S3, Policies: []string{"reads"}, Created: at, Modified: at},
			id:   randomBase32(idLen), secret: GeneratePassword(),
		}
		if i%2 == 1 {
			u.Groups = []string{"staff"}
		}
		value, err := encodeUser(u, m.key)
		put(userDocs+u.Name, value, err)
		key := secretKey{AccessKey{ID: randomKey(keyPrefix), Created: at}, GeneratePassword()}
		a := &accountEntry{
			ServiceAccount: ServiceAccount{ID: randomKey(accountPrefix), Owner: u.Name, Name: "job", Created: at, Modified: at},
			ownerID:        u.id, keys: []secretKey{key},
		}
		if i%10 == 0 {
			must(b, a.setPolicy([]byte(reads)))
		}
		value, err = encodeAccount(a, m.key)
		put(accountDocs+a.ID, value, err)
		users, keys = append(users, u.Name), append(keys, key.ID)
	}
	return docs, users, keys
}

func heap() uint64 {
	runtime.GC()
	var st runtime.MemStats
	runtime.ReadMemStats(&st)
	return st.HeapAlloc
}

// BenchmarkOpen tells, besides the time, the memory of what it opened.
func BenchmarkOpen(b *testing.B) {
	docs, _, _ := crowd(b, many)
	before := heap()
	var m *Manager
	for b.Loop() {
		m = open(b, docs)
	}
	b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
	runtime.KeepAlive(m)
}

// shuffled returns n of names at random, one after the other in memory, as if each
// had just arrived with a request.
func shuffled(names []string, n int) []string {
	var text strings.Builder
	order := rand.New(rand.NewPCG(1, 2)).Perm(len(names))[:n]
	for _, i := range order {
		text.WriteString(names[i])
	}
	out, rest := make([]string, n), text.String()
	for k, i := range order {
		out[k], rest = rest[:len(names[i])], rest[len(names[i]):]
	}
	return out
}

// BenchmarkLookup is what a request asks: Secret and Identity, of 10 identities
// in all, and of 100,000 users and 100,000 service accounts, of which 1,000 or all
// send requests. The last is the price of memory that no cache holds.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, many} {
		docs, users, keys := crowd(b, n)
		m := open(b, docs)
		docs.docs = nil
		for name, names := range map[string][]string{"user": users, "serviceaccount": keys} {
			for _, active := range []int{10, 1000, many} {
				if active > n {
					continue
				}
				names := shuffled(names, active)
				b.Run(fmt.Sprint(name, "/", n, "/active=", active), func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						name := names[i%len(names)]
						_, ok := m.Secret(name)
						_, ok2 := m.Identity(name)
						if !ok || !ok2 {
							b.Fatal(name)
						}
					}
				})
			}
		}
	}
}

// BenchmarkSession is what a request with temporary credentials asks: Secret and
// Session, from the cache and without.
func BenchmarkSession(b *testing.B) {
	docs, users, _ := crowd(b, many)
	m := open(b, docs)
	c := assume(b, m, users[77], reads)
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Secret(c.AccessKey)
			if _, err := m.Session(c.AccessKey, c.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("opened", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.open(c.AccessKey, c.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("refused", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.Session(c.AccessKey, c.Token[:len(c.Token)-2]+"AA"); err == nil {
				b.Fatal("opened")
			}
		}
	})
	b.Run("assume", func(b *testing.B) {
		for b.Loop() {
			assume(b, m, users[77], reads)
		}
	})
}

// BenchmarkChange is one change among many identities, on a store that takes no
// time.
func BenchmarkChange(b *testing.B) {
	docs, users, keys := crowd(b, many)
	m := open(b, docs)
	for name, change := range map[string]func(i int) error{
		"password":  func(i int) error { return m.SetPassword(ctx, users[i%many], pass) },
		"accesskey": func(i int) error { return m.SetAccessKey(ctx, keys[i%many], i/many%2 == 0) },
		"serviceaccount": func(i int) error {
			_, _, err := m.AddServiceAccount(ctx, users[i%many], NewServiceAccount{})
			return err
		},
		"policy-of-all": func(i int) error {
			_, err := m.AddPolicy(ctx, "reads", []byte(reads), true)
			return err
		},
		"policy-of-group": func(i int) error {
			_, err := m.AddPolicy(ctx, "writes", []byte(writes), true)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				must(b, change(i))
			}
		})
	}
}

// What requests ask does not allocate, for all kinds of identities.
func TestLookupsDoNotAllocate(t *testing.T) {
	docs, users, keys := crowd(t, 2000)
	m := open(t, docs)
	c := assume(t, m, users[7], "")
	never := m.now().Add(time.Hour)
	_, pair, err := m.AddServiceAccount(ctx, users[3], NewServiceAccount{Expires: never})
	must(t, err)
	web, err := m.AssumeWebIdentity(ctx, WebIdentity{Policies: []string{"reads"}}, AssumeRole{Name: "web"})
	must(t, err)
	for name, fn := range map[string]func(){
		"user":            func() { m.Secret(users[9]); m.Identity(users[9]) },
		"unknown":         func() { m.Secret("nobody"); m.Identity("nobody"); m.Refused("nobody") },
		"service account": func() { m.Secret(keys[9]); m.Identity(keys[9]) },
		"expiring":        func() { m.Secret(pair.AccessKey); m.Identity(pair.AccessKey) },
		"session":         func() { m.Secret(c.AccessKey); m.Session(c.AccessKey, c.Token) },
		"web identity":    func() { m.Secret(web.AccessKey); m.Session(web.AccessKey, web.Token) },
		"decision":        func() { allowed(m, users[9], "s3:PutObject") },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
