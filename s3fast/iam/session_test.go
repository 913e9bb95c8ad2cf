package iam

import (
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/policy"
)

// sessionRights tells what temporary credentials may, or "-" when they are none.
func sessionRights(m *Manager, c Credentials) string {
	id, err := m.Session(c.AccessKey, c.Token)
	switch {
	case err == nil:
		return rightsOf(id)
	case errors.Is(err, ErrBadToken), errors.Is(err, ErrExpiredToken):
		return "-"
	}
	return err.Error()
}

func wantSession(t testing.TB, m *Manager, c Credentials, want string) {
	t.Helper()
	for range 2 { // the second may come from the cache
		if got := sessionRights(m, c); got != want {
			t.Fatalf("session may %q, want %q", got, want)
		}
	}
}

func assume(t testing.TB, m *Manager, accessKey, inline string) Credentials {
	t.Helper()
	in := AssumeRole{Name: "job"}
	if inline != "" {
		in.Policy = []byte(inline)
	}
	c, err := m.AssumeRole(ctx, accessKey, in)
	must(t, err)
	return c
}

func TestSessions(t *testing.T) {
	docs, clk := newDocs(), newClock()
	m := openAt(t, docs, clk)
	addPolicies(t, m)
	add(t, m, "u", S3)
	add(t, m, "root", ClusterAdmin)
	must(t, m.Attach(ctx, "reads", "u"))
	must(t, m.AttachMore(ctx, "writes", "u"))
	if _, ok := m.Secret("ASIAABCDEFGHIJKLMNOP"); ok {
		t.Fatal("a secret without a session key")
	}
	c, n := assume(t, m, "u", ""), assume(t, m, "u", writes)
	wantSession(t, m, c, "rw")
	wantSession(t, m, n, "w")
	if s, ok := m.Secret(c.AccessKey); !ok || s != c.SecretKey || len(s) != 40 || !isKey(sessionPrefix, c.AccessKey) {
		t.Fatalf("secret %q", s)
	}
	if _, ok := m.Identity(c.AccessKey); ok {
		t.Fatal("temporary credentials are valid without a token")
	}
	id, err := m.Session(c.AccessKey, c.Token)
	must(t, err)
	user, _ := m.Identity("u")
	if id.Kind != KindSession || id.Name != "u" || id.Session != "job" || id.AccessKey != c.AccessKey ||
		id.Principal.ARN != "arn:aws:sts::000000000000:assumed-role/u/job" || id.Principal.ARN != c.ARN ||
		strings.Join(id.Principal.Parents, " ") != "arn:aws:iam::000000000000:role/u arn:aws:iam::000000000000:user/u" ||
		id.UserID != c.ID || c.ID != "AROA"+user.UserID[4:]+":job" || !id.Expires.Equal(c.Expires) || !c.Expires.Equal(clk.now().Add(time.Hour)) {
		t.Fatalf("%+v", id)
	}

	_, err = m.Session(n.AccessKey, c.Token)
	want(t, err, ErrBadToken)
	_, err = m.Session("u", c.Token)
	want(t, err, ErrBadToken)
	for _, token := range []string{"", "x", c.Token + "A", c.Token[1:], c.Token[:40] + "\n" + c.Token[40:], strings.Repeat("A", 1<<20)} {
		_, err = m.Session(c.AccessKey, token)
		want(t, err, ErrBadToken)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(c.Token)
	for i := range raw {
		raw[i] ^= 1
		_, err = m.Session(c.AccessKey, base64.RawURLEncoding.EncodeToString(raw))
		want(t, err, ErrBadToken)
		raw[i] ^= 1
	}

	m = openAt(t, docs, clk) // nothing of them is stored, but the key
	wantSession(t, m, c, "rw")
	wantSession(t, m, n, "w")
	clk.add(time.Hour - time.Second)
	wantSession(t, m, c, "rw")
	clk.add(time.Second)
	_, err = m.Session(c.AccessKey, c.Token)
	want(t, err, ErrExpiredToken)
	_, err = openAt(t, docs, clk).Session(c.AccessKey, c.Token)
	want(t, err, ErrExpiredToken)

	for _, bad := range []struct {
		accessKey string
		in        AssumeRole
		want      error
	}{
		{"u", AssumeRole{Name: "x"}, ErrBadName},
		{"u", AssumeRole{Name: "a b"}, ErrBadName},
		{"u", AssumeRole{Name: strings.Repeat("x", 65)}, ErrBadName},
		{"u", AssumeRole{Name: "job", Duration: MinSession - 1}, ErrBadDuration},
		{"u", AssumeRole{Name: "job", Duration: MaxSession + 1}, ErrBadDuration},
		{"u", AssumeRole{Name: "job", Duration: -1}, ErrBadDuration},
		{"u", AssumeRole{Name: "job", Policy: []byte("{}")}, policy.ErrMalformed},
		{"u", AssumeRole{Name: "job", Policy: []byte{}}, policy.ErrMalformed},
		{"u", AssumeRole{Name: "job", Policy: []byte(reads + strings.Repeat(" ", MaxSessionPolicy))}, policy.ErrMalformed},
		{"nobody", AssumeRole{Name: "job"}, ErrNoUser},
		{"root", AssumeRole{Name: "job"}, ErrNotS3User},
		{c.AccessKey, AssumeRole{Name: "job"}, ErrMayNotAssume},
	} {
		_, err := m.AssumeRole(ctx, bad.accessKey, bad.in)
		want(t, err, bad.want)
	}
}

// A bucket policy's grant to a session of the user is not had by a session of its
// service account, whatever name that chooses; nor does a grant to the user widen
// what the service account's policy allows.
func TestServiceAccountSessionsStayNarrow(t *testing.T) {
	m := open(t, newDocs())
	add(t, m, "u", S3)
	must(t, m.Attach(ctx, "readwrite", "u"))
	_, pair, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{Policy: []byte(reads)})
	must(t, err)
	user, acct := assume(t, m, "u", writes), assume(t, m, pair.AccessKey, "")
	if acct.ARN != user.ARN {
		t.Fatalf("%+v", acct)
	}
	for grantee, want := range map[string][2]policy.Decision{
		"sts::000000000000:assumed-role/u/job": {policy.Allow, policy.DefaultDeny},
		"iam::000000000000:role/u":             {policy.DefaultDeny, policy.DefaultDeny},
		"iam::000000000000:user/u":             {policy.DefaultDeny, policy.DefaultDeny},
	} {
		bucket, err := policy.ParseBucket([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:`+
			grantee+`"},"Action":"s3:DeleteObject","Resource":"arn:aws:s3:::a/*"}}`), "a")
		must(t, err)
		for i, c := range []Credentials{user, acct} {
			id, err := m.Session(c.AccessKey, c.Token)
			must(t, err)
			r := policy.Request{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::a/b", Principal: id.Principal}
			if got := policy.Decide(&r, &policy.Input{Identity: id.Policies, Narrow: id.Narrow, Bucket: bucket}); got != want[i] {
				t.Errorf("granted to %s, %s: %v, want %v", grantee, id.Principal.ARN, got, want[i])
			}
		}
	}
}

func TestKnown(t *testing.T) {
	m := open(t, newDocs())
	add(t, m, "u", S3)
	key, err := m.AddAccessKey(ctx, "u")
	must(t, err)
	c := assume(t, m, "u", "")
	for _, k := range []string{"nobody", c.AccessKey} {
		if m.Known(k) {
			t.Errorf("%s is known", k)
		}
	}
	_, err = m.Session(c.AccessKey, c.Token)
	must(t, err)
	for _, k := range []string{"u", key.AccessKey, c.AccessKey} {
		if !m.Known(k) {
			t.Errorf("%s is not known", k)
		}
	}
}

// The largest session that a user may ask for fits.
func TestLargestToken(t *testing.T) {
	m := open(t, newDocs())
	name := strings.Repeat("u", 64)
	add(t, m, name, S3)
	must(t, m.Attach(ctx, "readwrite", name))
	_, pair, err := m.AddServiceAccount(ctx, name, NewServiceAccount{})
	must(t, err)
	c, err := m.AssumeRole(ctx, pair.AccessKey, AssumeRole{
		Name: strings.Repeat("s", 64), Duration: MaxSession,
		Policy: []byte(reads + strings.Repeat(" ", MaxSessionPolicy-len(reads))),
	})
	must(t, err)
	if len(c.Token) > MaxToken {
		t.Fatalf("token of %d bytes", len(c.Token))
	}
	wantSession(t, m, c, "r")
}

// Each change below is in force with the next use of a session that the cache
// holds.
func TestSessionsFollowChanges(t *testing.T) {
	no, yes, narrow := false, true, []byte(writes)
	type env struct {
		m    *Manager
		a    ServiceAccount
		pair KeyPair
		clk  *clock
	}
	cases := map[string]struct {
		change     func(e env) error
		user, acct string // what they may then
		undo       func(e env) error
	}{
		"policy attached": {func(e env) error { return e.m.AttachMore(ctx, "denies", "u") }, "w", "w",
			func(e env) error { return e.m.Detach(ctx, "denies", "u") }},
		"policies detached": {func(e env) error { return e.m.Detach(ctx, "", "u") }, "", "", nil},
		"policy changed": {func(e env) error {
			_, err := e.m.AddPolicy(ctx, "reads", []byte(denies), true)
			return err
		}, "w", "w", nil},
		"group joined": {func(e env) error { return e.m.AddMember(ctx, "g", "u") }, "w", "w",
			func(e env) error { return e.m.RemoveMember(ctx, "g", "u") }},
		"group's policy changed": {func(e env) error {
			return errors.Join(e.m.DetachGroup(ctx, "", "g"), e.m.AddMember(ctx, "g", "u"), e.m.AttachGroup(ctx, "denies", "g"))
		}, "w", "w", func(e env) error { return e.m.DetachGroup(ctx, "denies", "g") }},
		"user disabled": {func(e env) error { _, err := e.m.SetEnabled(ctx, "u", false); return err }, "-", "-",
			func(e env) error { _, err := e.m.SetEnabled(ctx, "u", true); return err }},
		"user deleted": {func(e env) error { return e.m.DeleteUser(ctx, "u") }, "-", "-", nil},
		"user made anew": {func(e env) error {
			err := e.m.DeleteUser(ctx, "u")
			_, err2 := e.m.AddUser(ctx, "u", S3, pass)
			return errors.Join(err, err2, e.m.Attach(ctx, "readwrite", "u"))
		}, "-", "-", nil},
		"role changed": {func(e env) error { _, err := e.m.SetRole(ctx, "u", Regular); return err }, "-", "-", nil},
		"role changed and back": {func(e env) error {
			_, err := e.m.SetRole(ctx, "u", Regular)
			_, err2 := e.m.SetRoleAndPassword(ctx, "u", S3, pass)
			return errors.Join(err, err2)
		}, "-", "-", nil},
		"sessions revoked": {func(e env) error { return e.m.RevokeSessions(ctx, "u") }, "-", "-", nil},
		"key rotated":      {func(e env) error { return e.m.RotateSessionKey(ctx) }, "-", "-", nil},
		"account disabled": {func(e env) error {
			_, err := e.m.UpdateServiceAccount(ctx, e.a.ID, ServiceAccountChange{Enabled: &no})
			return err
		}, "rw", "-", func(e env) error {
			_, err := e.m.UpdateServiceAccount(ctx, e.a.ID, ServiceAccountChange{Enabled: &yes})
			return err
		}},
		"account narrowed": {func(e env) error {
			_, err := e.m.UpdateServiceAccount(ctx, e.a.ID, ServiceAccountChange{Policy: &narrow})
			return err
		}, "rw", "w", nil},
		"account removed":       {func(e env) error { return e.m.RemoveServiceAccount(ctx, e.a.ID) }, "rw", "-", nil},
		"account's key removed": {func(e env) error { return e.m.RemoveAccessKey(ctx, e.pair.AccessKey) }, "rw", "rw", nil},
		"account expires": {func(e env) error {
			soon := e.clk.now().Add(time.Second)
			_, err := e.m.UpdateServiceAccount(ctx, e.a.ID, ServiceAccountChange{Expires: &soon})
			e.clk.add(time.Second)
			return err
		}, "rw", "-", nil},
		"nothing": {func(e env) error { e.m.Users(); return nil }, "rw", "rw", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			docs, clk := newDocs(), newClock()
			m := openAt(t, docs, clk)
			addPolicies(t, m)
			add(t, m, "u", S3)
			must(t, m.Attach(ctx, "reads", "u"))
			must(t, m.AttachMore(ctx, "writes", "u"))
			_, err := m.AddGroup(ctx, "g")
			must(t, err)
			must(t, m.AttachGroup(ctx, "denies", "g"))
			a, pair, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{})
			must(t, err)
			user, acct := assume(t, m, "u", ""), assume(t, m, pair.AccessKey, "")
			wantSession(t, m, user, "rw")
			wantSession(t, m, acct, "rw")
			e := env{m, a, pair, clk}
			must(t, c.change(e))
			wantSession(t, m, user, c.user)
			wantSession(t, m, acct, c.acct)
			m = openAt(t, docs, clk)
			wantSession(t, m, user, c.user)
			wantSession(t, m, acct, c.acct)
			if e.m = m; c.undo != nil {
				must(t, c.undo(e))
				wantSession(t, m, user, "rw")
				wantSession(t, m, acct, "rw")
			}
		})
	}
}

func TestWebIdentity(t *testing.T) {
	m := open(t, newDocs())
	addPolicies(t, m)
	who := WebIdentity{Issuer: "https://id.example.com", Subject: "alice", Audience: "sluice", Policies: []string{"reads", "writes"}}
	c, err := m.AssumeWebIdentity(ctx, who, AssumeRole{Name: "web", Policy: []byte(reads)})
	must(t, err)
	full, err := m.AssumeWebIdentity(ctx, who, AssumeRole{Name: "web"})
	must(t, err)
	wantSession(t, m, c, "r")
	wantSession(t, m, full, "rw")
	id, err := m.Session(c.AccessKey, c.Token)
	must(t, err)
	if id.Kind != KindSession || id.Name != "" || id.Web == nil || id.Web.Subject != "alice" || id.Web.Issuer != who.Issuer ||
		id.Principal.ARN != "arn:aws:sts::000000000000:assumed-role/web-identity/web" || id.UserID != c.ID {
		t.Fatalf("%+v", id)
	}
	if full.ID != c.ID {
		t.Fatal("the id of a subject changes")
	}
	_, err = m.AddPolicy(ctx, "writes", []byte(denies), true)
	must(t, err)
	wantSession(t, m, full, "")
	_, err = m.AddPolicy(ctx, "writes", []byte(writes), true)
	must(t, err)
	wantSession(t, m, full, "rw")
	must(t, m.RemovePolicy(ctx, "writes"))
	wantSession(t, m, full, "-")
	_, err = m.AssumeWebIdentity(ctx, who, AssumeRole{Name: "web"})
	want(t, err, ErrNoPolicy)
	_, err = m.AssumeWebIdentity(ctx, WebIdentity{Policies: []string{"reads", "reads"}}, AssumeRole{Name: "web"})
	want(t, err, ErrBadName)
	_, err = m.AssumeWebIdentity(ctx, who, AssumeRole{Name: "w"})
	want(t, err, ErrBadName)
	_, err = m.AssumeWebIdentity(ctx, WebIdentity{Subject: strings.Repeat("x", 4000)}, AssumeRole{Name: "web"})
	want(t, err, ErrTokenTooLarge)
	none, err := m.AssumeWebIdentity(ctx, WebIdentity{}, AssumeRole{Name: "web"})
	must(t, err)
	wantSession(t, m, none, "")
}

// A user of the reserved name, from before it was reserved, signs as ever, but
// gets no sessions.
func TestReservedRole(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	u := &userEntry{User: User{Name: webRole, Role: S3, Created: m.time(), Modified: m.time()}, id: randomBase32(idLen), secret: pass}
	must(t, m.storeUser(ctx, u))
	key, err := m.AddAccessKey(ctx, webRole)
	must(t, err)
	for _, k := range []string{webRole, key.AccessKey} {
		wantRights(t, m, k, "")
		_, err = m.AssumeRole(ctx, k, AssumeRole{Name: "job"})
		want(t, err, ErrMayNotAssume)
	}
}

// What version 1 made is understood forever.
func TestTokenFixture(t *testing.T) {
	k := newMasterKey([32]byte{1, 2, 3}, 1)
	const accessKey = "ASIAABCDEFGHIJKLMNOP"
	if got := k.secret(accessKey); got != fixtureSecret {
		t.Errorf("secret %q", got)
	}
	c, err := k.open(accessKey, fixtureToken)
	if err != nil {
		made, _ := k.seal(accessKey, &claims{
			kind: claimsUser, expires: time.UnixMilli(1_800_000_000_000), session: "job", inline: []byte(reads),
			user: "alice", userID: "ABCDEFGHIJKLMNOP", revoked: 3, account: "SAABCDEFGHIJKLMNOPQR",
		})
		t.Fatalf("%v; a token of now: %s", err, made)
	}
	if c.kind != claimsUser || c.expires.UnixMilli() != 1_800_000_000_000 || c.session != "job" || string(c.inline) != reads ||
		c.user != "alice" || c.userID != "ABCDEFGHIJKLMNOP" || c.revoked != 3 || c.account != "SAABCDEFGHIJKLMNOPQR" {
		t.Errorf("%+v", c)
	}
}

// The cache forgets rather than grows, and nothing is lost by it.
func TestSessionCacheIsBounded(t *testing.T) {
	m := open(t, newDocs())
	add(t, m, "u", S3)
	must(t, m.Attach(ctx, "readwrite", "u"))
	var all []Credentials
	for range 2 * sessionSets * sessionWays {
		c := assume(t, m, "u", "")
		all = append(all, c)
		if _, err := m.Session(c.AccessKey, c.Token); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for i := range m.sessions.slots {
		for j := range m.sessions.slots[i] {
			if m.sessions.slots[i][j].Load() != nil {
				n++
			}
		}
	}
	if n < sessionSets*sessionWays*9/10 {
		t.Errorf("%d of %d slots used", n, sessionSets*sessionWays)
	}
	for _, c := range all {
		if s, ok := m.Secret(c.AccessKey); !ok || s != c.SecretKey {
			t.Fatal("secret changes")
		}
		if got := sessionRights(m, c); got != "rw" {
			t.Fatal(got)
		}
	}
}

// While others use a session, each change is in force for whoever asks after it
// was answered, and no lookup ever misses what stays.
// A session policy of 2 KB may take a hundred times that when compiled: whoever may
// assume a role cannot fill the memory with thousands of them.
func TestHeavySessionsAreNotKept(t *testing.T) {
	m := openAt(t, newDocs(), newClock())
	addPolicies(t, m)
	add(t, m, "u", S3)
	must(t, m.Attach(ctx, "reads", "u"))
	heavy := assume(t, m, "u", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":[`+
		strings.Repeat(`"*",`, 400)+`"*"]}}}]}`)
	if _, err := m.Session(heavy.AccessKey, heavy.Token); err != nil {
		t.Fatal(err)
	}
	if m.sessions.get(heavy.AccessKey) != nil {
		t.Error("a session with a heavy policy is kept")
	}
	light := assume(t, m, "u", reads)
	wantSession(t, m, light, "r")
	if m.sessions.get(light.AccessKey) == nil {
		t.Error("a session with a light policy is not kept")
	}
}

func TestConcurrentSessions(t *testing.T) {
	m := open(t, newDocs())
	addPolicies(t, m)
	add(t, m, "u", S3)
	must(t, m.Attach(ctx, "reads", "u"))
	must(t, m.AttachMore(ctx, "writes", "u"))
	_, err := m.AddGroup(ctx, "g")
	must(t, err)
	must(t, m.AttachGroup(ctx, "denies", "g"))
	a, pair, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{})
	must(t, err)
	c := assume(t, m, pair.AccessKey, "")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				m.Session(c.AccessKey, c.Token)
				if s, ok := m.Secret(pair.AccessKey); !ok || s != pair.SecretKey {
					t.Error("the secret of a service account flickers")
					return
				}
			}
		})
	}
	for range 100 {
		must(t, m.AddMember(ctx, "g", "u"))
		wantSession(t, m, c, "w")
		wantRights(t, m, pair.AccessKey, "w")
		must(t, m.RemoveMember(ctx, "g", "u"))
		wantSession(t, m, c, "rw")
		_, err := m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Policy: &[]byte{}})
		want(t, err, policy.ErrMalformed)
		narrow := []byte(reads)
		_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Policy: &narrow})
		must(t, err)
		wantSession(t, m, c, "r")
		narrow = nil
		_, err = m.UpdateServiceAccount(ctx, a.ID, ServiceAccountChange{Policy: &narrow})
		must(t, err)
		other := assume(t, m, pair.AccessKey, "")
		wantSession(t, m, other, "rw")
	}
	must(t, m.RevokeSessions(ctx, "u"))
	wantSession(t, m, c, "-")
	close(stop)
	readers.Wait()
}
