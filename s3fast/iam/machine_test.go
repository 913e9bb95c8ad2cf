package iam

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/seal"
)

// machine drives a manager and the model side by side.
type machine struct {
	t    *rapid.T
	docs *memDocs
	clk  *clock
	m    *Manager
	model
	// mode is how the store fails during a change: "fails" writes nothing, "lost"
	// writes and reports an error all the same, "dead" and "dead lost" cannot be
	// read either.
	mode string
}

func (x *machine) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(x.t, label)
}

func (x *machine) user() string   { return x.pick("user", "u", "v", "w") }
func (x *machine) group() string  { return x.pick("group", "g", "h") }
func (x *machine) policy() string { return x.pick("policy", "p", "q", "d") }
func (x *machine) doc() string    { return x.pick("document", reads, writes, denies) }

func (x *machine) account() string {
	ids := slices.Sorted(maps.Keys(x.accounts))
	return x.pick("account", append(ids, "SAABCDEFGHIJKLMNOPQR")...)
}

func (x *machine) key() string {
	return x.pick("key", append([]string{"AKABCDEFGHIJKLMNOPQR"}, x.all...)...)
}

// did takes the outcome of a change: refusal is the error that the model expects,
// nil when the change is one; apply makes it in the model.
func (x *machine) did(err, refusal error, apply func()) {
	x.t.Helper()
	if strings.HasPrefix(x.mode, "dead") { // the next change reads back
		x.docs.fail = nil
		if err := x.m.begin(ctx); err != nil {
			x.t.Fatal(err)
		}
		x.m.end(ctx)
	}
	switch {
	case refusal != nil:
		if !errors.Is(err, refusal) {
			x.t.Fatalf("got %v, want %v", err, refusal)
		}
	case err == nil:
		apply()
	case !errors.Is(err, errDisk):
		x.t.Fatalf("unexpected: %v", err)
	case strings.HasSuffix(x.mode, "lost"): // it happened all the same
		apply()
	}
}

// fault arms the store for the next change.
func (x *machine) fault() {
	x.mode = x.pick("store", "", "", "", "", "fails", "lost", "dead", "dead lost")
	x.docs.fail = func(op, _ string) (error, bool) {
		if x.mode == "" || op == "get" && !strings.HasPrefix(x.mode, "dead") {
			return nil, false
		}
		return errDisk, strings.HasSuffix(x.mode, "lost")
	}
}

func (x *machine) healthy() { x.mode, x.docs.fail = "", nil }

// known is the refusal of changes of users that are not there.
func (x *machine) known(name string) error {
	if x.users[name] == nil {
		return ErrNoUser
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func when(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

func (x *machine) AddUser(*rapid.T) {
	x.fault()
	name := x.user()
	_, err := x.m.AddUser(ctx, name, S3, pass)
	x.did(err, when(x.users[name] != nil, ErrUserExists), func() {
		x.life++
		x.users[name] = &modelUser{life: x.life, password: pass, keys: map[string]modelKey{}}
	})
}

func (x *machine) DeleteUser(*rapid.T) {
	x.fault()
	name := x.user()
	x.did(x.m.DeleteUser(ctx, name), x.known(name), func() {
		delete(x.users, name)
		maps.DeleteFunc(x.accounts, func(_ string, a *modelAccount) bool { return a.owner == name })
	})
}

func (x *machine) ChangeUser(*rapid.T) {
	x.fault()
	name := x.user()
	u := x.users[name]
	switch x.pick("what", "password", "disable", "enable", "revoke", "role") {
	case "password":
		x.did(x.m.SetPassword(ctx, name, "Another1"), x.known(name), func() { u.password = "Another1" })
	case "disable":
		_, err := x.m.SetEnabled(ctx, name, false)
		x.did(err, x.known(name), func() { u.disabled = true })
	case "enable":
		_, err := x.m.SetEnabled(ctx, name, true)
		x.did(err, x.known(name), func() { u.disabled = false })
	case "revoke":
		x.did(x.m.RevokeSessions(ctx, name), x.known(name), func() { u.revoked++ })
	case "role":
		x.healthy() // two steps
		_, err := x.m.SetRole(ctx, name, Regular)
		_, err2 := x.m.SetRoleAndPassword(ctx, name, S3, pass)
		x.did(errors.Join(err, err2), x.known(name), func() {
			x.life++
			*u = modelUser{life: x.life, password: pass, disabled: u.disabled, revoked: u.revoked, keys: map[string]modelKey{}}
			maps.DeleteFunc(x.accounts, func(_ string, a *modelAccount) bool { return a.owner == name })
		})
	}
}

func (x *machine) Attach(*rapid.T) {
	x.fault()
	name, p := x.user(), x.policy()
	u := x.users[name]
	missing := when(x.policies[p] == "", ErrNoPolicy)
	switch x.pick("what", "attach", "more", "detach", "detach all") {
	case "attach":
		x.did(x.m.Attach(ctx, p, name), first(x.known(name), missing), func() { u.policies = []string{p} })
	case "more":
		x.did(x.m.AttachMore(ctx, p, name), first(x.known(name), missing), func() { u.policies = with(u.policies, p) })
	case "detach":
		x.did(x.m.Detach(ctx, p, name), first(x.known(name), when(u != nil && !slices.Contains(u.policies, p), ErrNotAttached)),
			func() { u.policies, _ = without(u.policies, p) })
	case "detach all":
		x.did(x.m.Detach(ctx, "", name), first(x.known(name), when(u != nil && len(u.policies) == 0, ErrNotAttached)),
			func() { u.policies = nil })
	}
}

func (x *machine) Policy(*rapid.T) {
	x.fault()
	p, doc := x.policy(), x.doc()
	if rapid.Bool().Draw(x.t, "remove") {
		used := false
		for _, u := range x.users {
			used = used || slices.Contains(u.policies, p)
		}
		for _, ps := range x.groups {
			used = used || slices.Contains(ps, p)
		}
		x.did(x.m.RemovePolicy(ctx, p), first(when(x.policies[p] == "", ErrNoPolicy), when(used, ErrPolicyInUse)),
			func() { delete(x.policies, p) })
		return
	}
	_, err := x.m.AddPolicy(ctx, p, []byte(doc), true)
	x.did(err, nil, func() { x.policies[p] = doc })
}

func (x *machine) Group(*rapid.T) {
	x.fault()
	g, name, p := x.group(), x.user(), x.policy()
	ps, there := x.groups[g]
	u := x.users[name]
	missing := when(!there, ErrNoGroup)
	isMember := u != nil && slices.Contains(u.groups, g)
	switch x.pick("what", "add", "remove", "join", "leave", "attach", "detach") {
	case "add":
		_, err := x.m.AddGroup(ctx, g)
		x.did(err, when(there, ErrGroupExists), func() { x.groups[g] = nil })
	case "remove":
		members := false
		for _, u := range x.users {
			members = members || slices.Contains(u.groups, g)
		}
		x.did(x.m.RemoveGroup(ctx, g), first(missing, when(members, ErrGroupInUse)), func() { delete(x.groups, g) })
	case "join":
		x.did(x.m.AddMember(ctx, g, name), first(x.known(name), missing), func() { u.groups = with(u.groups, g) })
	case "leave":
		x.did(x.m.RemoveMember(ctx, g, name), first(x.known(name), when(!isMember, ErrNotMember)),
			func() { u.groups, _ = without(u.groups, g) })
	case "attach":
		x.did(x.m.AttachGroup(ctx, p, g), first(missing, when(x.policies[p] == "", ErrNoPolicy)),
			func() { x.groups[g] = with(ps, p) })
	case "detach":
		x.did(x.m.DetachGroup(ctx, p, g), first(missing, when(!slices.Contains(ps, p), ErrNotAttached)),
			func() { x.groups[g], _ = without(ps, p) })
	}
}

// learn adds keys that the manager lists and the model does not know: those that
// were made by a change whose answer was lost.
func (x *machine) learn(keys map[string]modelKey, listed []AccessKey, secrets []secretKey) {
	for i, k := range listed {
		if _, ok := keys[k.ID]; !ok {
			keys[k.ID] = modelKey{secret: secrets[i].secret, disabled: k.Disabled}
			x.all = append(x.all, k.ID)
		}
	}
}

func (x *machine) AddKey(*rapid.T) {
	x.fault()
	name := x.user()
	u := x.users[name]
	_, err := x.m.AddAccessKey(ctx, name)
	x.did(err, first(x.known(name), when(u != nil && len(u.keys) == MaxAccessKeys, ErrLimit)), func() {
		e := x.m.users.get(name)
		x.learn(u.keys, viewKeys(e.keys), e.keys)
	})
}

func (x *machine) ChangeKey(*rapid.T) {
	x.fault()
	key := x.key()
	var keys map[string]modelKey
	for _, u := range x.users {
		if _, ok := u.keys[key]; ok {
			keys = u.keys
		}
	}
	for _, a := range x.accounts {
		if _, ok := a.keys[key]; ok {
			keys = a.keys
		}
	}
	missing := when(keys == nil, ErrNoAccessKey)
	switch what := x.pick("what", "disable", "enable", "remove"); what {
	case "remove":
		x.did(x.m.RemoveAccessKey(ctx, key), missing, func() { delete(keys, key) })
	default:
		x.did(x.m.SetAccessKey(ctx, key, what == "enable"), missing, func() {
			keys[key] = modelKey{keys[key].secret, what == "disable"}
		})
	}
}

func (x *machine) AddAccount(*rapid.T) {
	x.fault()
	name := x.user()
	in := NewServiceAccount{}
	if rapid.Bool().Draw(x.t, "narrow") {
		in.Policy = []byte(x.doc())
	}
	if rapid.Bool().Draw(x.t, "expires") {
		in.Expires = x.clk.now().Add(time.Duration(rapid.IntRange(1, 40).Draw(x.t, "minutes")) * time.Minute)
	}
	_, _, err := x.m.AddServiceAccount(ctx, name, in)
	x.did(err, x.known(name), func() {
		for _, a := range x.m.ServiceAccounts(name) {
			if x.accounts[a.ID] == nil {
				n := &modelAccount{
					owner: name, life: x.users[name].life, policy: string(in.Policy), expires: in.Expires, keys: map[string]modelKey{},
				}
				x.accounts[a.ID] = n
				x.learn(n.keys, a.Keys, x.m.accounts.get(a.ID).keys)
			}
		}
	})
}

func (x *machine) ChangeAccount(*rapid.T) {
	x.fault()
	id := x.account()
	a := x.accounts[id]
	missing := when(a == nil, ErrNoServiceAccount)
	switch x.pick("what", "key", "disable", "enable", "policy", "remove") {
	case "key":
		_, err := x.m.AddServiceAccountKey(ctx, id)
		x.did(err, first(missing, when(a != nil && len(a.keys) == MaxAccessKeys, ErrLimit)), func() {
			e := x.m.accounts.get(id)
			x.learn(a.keys, viewKeys(e.keys), e.keys)
		})
	case "disable":
		no := false
		_, err := x.m.UpdateServiceAccount(ctx, id, ServiceAccountChange{Enabled: &no})
		x.did(err, missing, func() { a.disabled = true })
	case "enable":
		yes := true
		_, err := x.m.UpdateServiceAccount(ctx, id, ServiceAccountChange{Enabled: &yes})
		x.did(err, missing, func() { a.disabled = false })
	case "policy":
		doc := []byte(x.doc())
		_, err := x.m.UpdateServiceAccount(ctx, id, ServiceAccountChange{Policy: &doc})
		x.did(err, missing, func() { a.policy = string(doc) })
	case "remove":
		x.did(x.m.RemoveServiceAccount(ctx, id), missing, func() { delete(x.accounts, id) })
	}
}

func (x *machine) Assume(*rapid.T) {
	x.healthy()
	key := x.key()
	if rapid.Bool().Draw(x.t, "by name") {
		key = x.user()
	}
	in := AssumeRole{Name: "job", Duration: MinSession}
	if rapid.Bool().Draw(x.t, "inline") {
		in.Policy = []byte(x.doc())
	}
	c, err := x.m.AssumeRole(ctx, key, in)
	if rights, _ := x.rights(key, x.clk.now()); rights == "-" {
		if err == nil {
			x.t.Fatalf("credentials for %s", key)
		}
		return
	}
	if err != nil {
		x.t.Fatal(err)
	}
	if x.master == 0 {
		x.master = 1
	}
	s := modelSession{Credentials: c, user: key, master: x.master, inline: string(in.Policy)}
	if x.users[key] == nil {
		k := x.m.keys.get(key)
		s.user, s.account = k.owner, k.account
	}
	s.life, s.revoked = x.users[s.user].life, x.users[s.user].revoked
	x.sessions = append(x.sessions, s)
}

func (x *machine) RotateSessionKey(*rapid.T) {
	x.fault()
	x.did(x.m.RotateSessionKey(ctx), nil, func() { x.master++ })
}

func (x *machine) Wait(*rapid.T) { x.clk.add(5 * time.Minute) }

func (x *machine) Reopen(*rapid.T) {
	x.healthy()
	m, err := Open(ctx, x.docs, seal.NewKey([32]byte{1}), x.clk.now)
	if err != nil {
		x.t.Fatal(err)
	}
	x.m = m
}

// Check compares all that can be asked.
func (x *machine) Check(t *rapid.T) {
	x.t = t
	now := x.clk.now()
	for _, key := range append([]string{"u", "v", "w"}, x.all...) {
		want, secret := x.rights(key, now)
		if got := rights(x.m, key); got != want {
			t.Fatalf("%s may %q, want %q", key, got, want)
		}
		if got, _ := x.m.Secret(key); got != secret {
			t.Fatalf("secret of %s is %q, want %q", key, got, secret)
		}
	}
	for i := range x.sessions {
		s := &x.sessions[i]
		if got, want := sessionRights(x.m, s.Credentials), x.sessionRights(s, now); got != want {
			t.Fatalf("session %+v may %q, want %q", s, got, want)
		}
	}
	x.checkLists(t)
}

func (x *machine) checkLists(t *rapid.T) {
	var want, got []string
	for name, u := range x.users {
		keys := slices.Sorted(maps.Keys(u.keys))
		want = append(want, fmt.Sprint("user ", name, u.policies, u.groups, u.disabled, keys))
	}
	for _, u := range x.m.Users() {
		listed, _ := x.m.AccessKeys(u.Name)
		var keys []string
		for _, k := range listed {
			keys = append(keys, k.ID)
		}
		slices.Sort(keys)
		got = append(got, fmt.Sprint("user ", u.Name, u.Policies, u.Groups, u.Disabled, keys))
	}
	for name, ps := range x.groups {
		var members []string
		for user, u := range x.users {
			if slices.Contains(u.groups, name) {
				members = append(members, user)
			}
		}
		slices.Sort(members)
		want = append(want, fmt.Sprint("group ", name, ps, members))
	}
	for _, g := range x.m.Groups() {
		got = append(got, fmt.Sprint("group ", g.Name, g.Policies, g.Members))
	}
	for id, a := range x.accounts {
		want = append(want, fmt.Sprint("account ", id, a.owner, a.policy, a.disabled, a.expires, len(a.keys)))
	}
	for _, a := range x.m.ServiceAccounts("") {
		got = append(got, fmt.Sprint("account ", a.ID, a.Owner, a.Policy, a.Disabled, a.Expires, len(a.Keys)))
	}
	for name, doc := range x.policies {
		want = append(want, fmt.Sprint("policy ", name, doc))
	}
	for _, p := range x.m.Policies() {
		if !p.Predefined {
			got = append(got, fmt.Sprint("policy ", p.Name, p.Document))
		}
	}
	sort.Strings(want)
	sort.Strings(got)
	if !slices.Equal(want, got) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

// Any sequence of changes, on a store that fails, loses answers, and is opened
// again, leaves what the model has.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &machine{t: t, docs: newDocs(), clk: newClock()}
		x.users, x.groups, x.policies = map[string]*modelUser{}, map[string][]string{}, map[string]string{}
		x.accounts = map[string]*modelAccount{}
		x.Reopen(t)
		actions := map[string]func(*rapid.T){"": x.Check}
		for name, fn := range map[string]func(*rapid.T){
			"AddUser": x.AddUser, "DeleteUser": x.DeleteUser, "ChangeUser": x.ChangeUser, "Attach": x.Attach,
			"Policy": x.Policy, "Group": x.Group, "Group2": x.Group, "AddKey": x.AddKey, "ChangeKey": x.ChangeKey,
			"AddAccount": x.AddAccount, "ChangeAccount": x.ChangeAccount, "Assume": x.Assume,
			"RotateSessionKey": x.RotateSessionKey, "Wait": x.Wait, "Reopen": x.Reopen,
		} {
			actions[name] = func(t *rapid.T) { x.t = t; fn(t) }
		}
		t.Repeat(actions)
	})
}
