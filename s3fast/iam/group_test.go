package iam

import (
	"fmt"
	"slices"
	"testing"
)

const (
	reads  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::a/*"}}`
	writes = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::a/*"}}`
	denies = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::a/*"}}`
)

// addPolicies adds policies "reads", "writes" and "denies".
func addPolicies(t testing.TB, m *Manager) {
	t.Helper()
	for name, doc := range map[string]string{"reads": reads, "writes": writes, "denies": denies} {
		_, err := m.AddPolicy(ctx, name, []byte(doc), false)
		must(t, err)
	}
}

// rights tells what an access key may: some of "r", "w", or "-" for an unknown
// one.
func rights(m *Manager, accessKey string) string {
	id, ok := m.Identity(accessKey)
	if _, known := m.Secret(accessKey); known != ok {
		return "Secret and Identity do not agree"
	}
	if !ok {
		return "-"
	}
	return rightsOf(id)
}

func rightsOf(id *Identity) (out string) {
	if id.Allows("s3:GetObject", "arn:aws:s3:::a/b") {
		out += "r"
	}
	if id.Allows("s3:PutObject", "arn:aws:s3:::a/b") {
		out += "w"
	}
	return out
}

func wantRights(t testing.TB, m *Manager, accessKey, want string) {
	t.Helper()
	if got := rights(m, accessKey); got != want {
		t.Fatalf("%s may %q, want %q", accessKey, got, want)
	}
}

func TestSeveralPolicies(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	addPolicies(t, m)
	add(t, m, "u", S3)
	must(t, m.AttachMore(ctx, "reads", "u"))
	must(t, m.AttachMore(ctx, "writes", "u"))
	must(t, m.AttachMore(ctx, "writes", "u"))
	wantRights(t, m, "u", "rw")
	u, err := m.User("u")
	must(t, err)
	if u.Policy != "reads" || !slices.Equal(u.Policies, []string{"reads", "writes"}) {
		t.Fatalf("%+v", u)
	}
	u.Policies[0] = "writes" // the caller's own
	wantRights(t, open(t, docs), "u", "rw")
	must(t, m.AttachMore(ctx, "denies", "u"))
	wantRights(t, m, "u", "w")
	must(t, m.Detach(ctx, "denies", "u"))
	wantRights(t, m, "u", "rw")
	want(t, m.Detach(ctx, "denies", "u"), ErrNotAttached)
	must(t, m.Attach(ctx, "writes", "u"))
	wantRights(t, m, "u", "w")
	if u, _ := m.User("u"); u.Policy != "writes" || len(u.Policies) != 1 {
		t.Fatalf("%+v", u)
	}
	must(t, m.AttachMore(ctx, "reads", "u"))
	must(t, m.Detach(ctx, "", "u"))
	wantRights(t, m, "u", "")
	for i := range MaxAttached + 1 {
		name := fmt.Sprint("p", i)
		_, err := m.AddPolicy(ctx, name, []byte(reads), false)
		must(t, err)
		if err := m.AttachMore(ctx, name, "u"); i == MaxAttached {
			want(t, err, ErrLimit)
		} else {
			must(t, err)
		}
	}
}

func TestGroups(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	addPolicies(t, m)
	for _, name := range []string{"u", "v"} {
		add(t, m, name, S3)
	}
	add(t, m, "root", ClusterAdmin)
	_, err := m.AddGroup(ctx, "g/h")
	want(t, err, ErrBadName)
	_, err = m.AddGroup(ctx, "g")
	must(t, err)
	_, err = m.AddGroup(ctx, "g")
	want(t, err, ErrGroupExists)
	want(t, m.AddMember(ctx, "nothing", "u"), ErrNoGroup)
	want(t, m.AddMember(ctx, "g", "nobody"), ErrNoUser)
	want(t, m.AddMember(ctx, "g", "root"), ErrNotS3User)
	want(t, m.RemoveMember(ctx, "g", "u"), ErrNotMember)
	want(t, m.AttachGroup(ctx, "nothing", "g"), ErrNoPolicy)
	want(t, m.AttachGroup(ctx, "reads", "nothing"), ErrNoGroup)
	want(t, m.DetachGroup(ctx, "reads", "g"), ErrNotAttached)
	want(t, m.DetachGroup(ctx, "reads", "nothing"), ErrNoGroup)

	must(t, m.AddMember(ctx, "g", "u"))
	must(t, m.AddMember(ctx, "g", "u"))
	must(t, m.AddMember(ctx, "g", "v"))
	wantRights(t, m, "u", "")
	must(t, m.AttachGroup(ctx, "reads", "g"))
	must(t, m.AttachGroup(ctx, "reads", "g"))
	must(t, m.AttachMore(ctx, "writes", "v"))
	wantRights(t, m, "u", "r")
	wantRights(t, m, "v", "rw")
	_, err = m.AddPolicy(ctx, "reads", []byte(writes), true) // changes what all members may
	must(t, err)
	wantRights(t, m, "u", "w")
	wantRights(t, open(t, docs), "u", "w")

	g, err := m.Group("g")
	must(t, err)
	if !slices.Equal(g.Members, []string{"u", "v"}) || !slices.Equal(g.Policies, []string{"reads"}) {
		t.Fatalf("%+v", g)
	}
	p, _ := m.Policy("reads")
	if !slices.Equal(p.Groups, []string{"g"}) || len(p.Users) != 0 {
		t.Fatalf("%+v", p)
	}
	if gs := m.Groups(); len(gs) != 1 || gs[0].Name != "g" {
		t.Fatalf("%+v", gs)
	}
	want(t, m.RemovePolicy(ctx, "reads"), ErrPolicyInUse)
	want(t, m.RemoveGroup(ctx, "g"), ErrGroupInUse)
	must(t, m.DeleteUser(ctx, "v"))
	if g, _ := m.Group("g"); !slices.Equal(g.Members, []string{"u"}) {
		t.Fatalf("a deleted user is a member: %+v", g)
	}
	_, err = m.SetRole(ctx, "u", Regular)
	must(t, err)
	must(t, m.RemoveGroup(ctx, "g"))
	want(t, m.RemoveGroup(ctx, "g"), ErrNoGroup)
	_, err = m.Group("g")
	want(t, err, ErrNoGroup)
	must(t, m.RemovePolicy(ctx, "reads"))
}

func TestGroupLimits(t *testing.T) {
	m := open(t, newDocs())
	add(t, m, "u", S3)
	for i := range MaxMemberships + 1 {
		name := fmt.Sprint("g", i)
		_, err := m.AddGroup(ctx, name)
		must(t, err)
		if err := m.AddMember(ctx, name, "u"); i == MaxMemberships {
			want(t, err, ErrLimit)
		} else {
			must(t, err)
		}
	}
	must(t, m.RemoveMember(ctx, "g0", "u"))
	for i := range MaxAttached + 1 {
		name := fmt.Sprint("p", i)
		_, err := m.AddPolicy(ctx, name, []byte(reads), false)
		must(t, err)
		if err := m.AttachGroup(ctx, name, "g1"); i == MaxAttached {
			want(t, err, ErrLimit)
		} else {
			must(t, err)
		}
	}
	must(t, m.DetachGroup(ctx, "p3", "g1"))
	must(t, m.DetachGroup(ctx, "", "g1"))
	wantRights(t, m, "u", "")
}

func TestLastAdmin(t *testing.T) {
	docs := newDocs()
	m := open(t, docs)
	add(t, m, "root", ClusterAdmin)
	refused := func() {
		t.Helper()
		want(t, m.DeleteUser(ctx, "root"), ErrLastAdmin)
		_, err := m.SetRole(ctx, "root", Regular)
		want(t, err, ErrLastAdmin)
		_, err = m.SetRoleAndPassword(ctx, "root", S3, pass)
		want(t, err, ErrLastAdmin)
		_, err = m.SetEnabled(ctx, "root", false)
		want(t, err, ErrLastAdmin)
	}
	refused()
	add(t, m, "second", ClusterAdmin)
	_, err := m.SetEnabled(ctx, "second", false)
	must(t, err)
	if m.CheckPassword("second", pass) {
		t.Fatal("a disabled administrator logs in")
	}
	refused() // a disabled one does not count
	m = open(t, docs)
	refused()
	_, err = m.SetEnabled(ctx, "second", true)
	must(t, err)
	if !m.CheckPassword("second", pass) {
		t.Fatal("enabled again, the password is not right")
	}
	must(t, m.DeleteUser(ctx, "root"))
	want(t, m.DeleteUser(ctx, "second"), ErrLastAdmin)
}

func TestDisabled(t *testing.T) {
	m := open(t, newDocs())
	add(t, m, "u", S3)
	must(t, m.Attach(ctx, "readwrite", "u"))
	key, err := m.AddAccessKey(ctx, "u")
	must(t, err)
	_, pair, err := m.AddServiceAccount(ctx, "u", NewServiceAccount{})
	must(t, err)
	all := []string{"u", key.AccessKey, pair.AccessKey}
	for _, enabled := range []bool{false, false, true, true} {
		u, err := m.SetEnabled(ctx, "u", enabled)
		must(t, err)
		if u.Disabled == enabled || m.CheckPassword("u", pass) != enabled {
			t.Fatalf("%+v", u)
		}
		for _, k := range all {
			if enabled {
				wantRights(t, m, k, "rw")
				must(t, m.Refused(k))
			} else {
				wantRights(t, m, k, "-")
				want(t, m.Refused(k), ErrDisabled)
			}
		}
	}
	_, err = m.SetEnabled(ctx, "nobody", true)
	want(t, err, ErrNoUser)
	want(t, m.Refused("nobody"), ErrNoAccessKey)
	add(t, m, "root", ClusterAdmin)
	want(t, m.Refused("root"), ErrNotS3User)
}
