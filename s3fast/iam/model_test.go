package iam

import (
	"strings"
	"time"
)

// The model: what the manager is told, in maps.
type model struct {
	users    map[string]*modelUser
	groups   map[string][]string // policies
	policies map[string]string   // documents
	accounts map[string]*modelAccount
	sessions []modelSession
	all      []string // access keys that ever were
	life     int      // counts users, so that each has a number of its own
	master   int      // session keys so far
}

type modelUser struct {
	life     int
	password string
	policies []string
	groups   []string
	disabled bool
	revoked  int
	keys     map[string]modelKey
}

type modelAccount struct {
	owner    string
	life     int // of the owner
	policy   string
	expires  time.Time
	disabled bool
	keys     map[string]modelKey
}

type modelKey struct {
	secret   string
	disabled bool
}

type modelSession struct {
	Credentials
	user                  string
	life, revoked, master int
	account, inline       string
}

// may evaluates documents of which each allows or denies one of two actions.
func may(docs []string) string {
	out := ""
	for right, action := range map[string]string{"r": "GetObject", "w": "PutObject"} {
		allow, deny := false, false
		for _, doc := range docs {
			if strings.Contains(doc, action) {
				deny = deny || strings.Contains(doc, "Deny")
				allow = allow || strings.Contains(doc, "Allow")
			}
		}
		if allow && !deny {
			out += right
		}
	}
	if out == "wr" {
		return "rw"
	}
	return out
}

func both(a, b string) (out string) {
	for _, right := range a {
		if strings.ContainsRune(b, right) {
			out += string(right)
		}
	}
	return out
}

func (o *model) rightsOf(u *modelUser) string {
	var docs []string
	for _, p := range u.policies {
		docs = append(docs, o.policies[p])
	}
	for _, g := range u.groups {
		for _, p := range o.groups[g] {
			docs = append(docs, o.policies[p])
		}
	}
	return may(docs)
}

// rights is what rights tells of an access key, with its secret.
func (o *model) rights(accessKey string, now time.Time) (rights, secret string) {
	if u := o.users[accessKey]; u != nil {
		if u.disabled {
			return "-", ""
		}
		return o.rightsOf(u), u.password
	}
	for _, u := range o.users {
		if k, ok := u.keys[accessKey]; ok && !u.disabled && !k.disabled {
			return o.rightsOf(u), k.secret
		}
	}
	for _, a := range o.accounts {
		if k, ok := a.keys[accessKey]; ok && !k.disabled {
			if rights = o.accountRights(a, now); rights == "-" {
				return rights, ""
			}
			return rights, k.secret
		}
	}
	return "-", ""
}

func (o *model) accountRights(a *modelAccount, now time.Time) string {
	u := o.users[a.owner]
	if u == nil || u.life != a.life || u.disabled || a.disabled || !a.expires.IsZero() && !now.Before(a.expires) {
		return "-"
	}
	out := o.rightsOf(u)
	if a.policy != "" {
		out = both(out, may([]string{a.policy}))
	}
	return out
}

func (o *model) sessionRights(s *modelSession, now time.Time) string {
	u := o.users[s.user]
	if u == nil || u.life != s.life || u.revoked != s.revoked || u.disabled || o.master != s.master || !now.Before(s.Expires) {
		return "-"
	}
	out := o.rightsOf(u)
	if s.account != "" {
		a := o.accounts[s.account]
		if a == nil {
			return "-"
		}
		if out = o.accountRights(a, now); out == "-" {
			return "-"
		}
	}
	if s.inline != "" {
		out = both(out, may([]string{s.inline}))
	}
	return out
}
