package main

import (
	"net/http"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/s3fast/iam"
)

func apiAccount(s iam.ServiceAccount) api.ServiceAccount {
	return api.ServiceAccount{
		ID: s.ID, Owner: s.Owner, Name: s.Name, Policy: s.Policy, Enabled: !s.Disabled,
		Expires: s.Expires, Created: s.Created, Modified: s.Modified, Keys: apiKeys(s.ID, s.Keys),
	}
}

func adminAccounts(d *daemon, r *http.Request) (any, error) {
	owner := r.URL.Query().Get("owner")
	if owner != "" {
		if _, err := d.iam.User(owner); err != nil {
			return nil, err
		}
	}
	list := d.iam.ServiceAccounts(owner)
	out := make([]api.ServiceAccount, 0, len(list))
	for _, s := range list {
		out = append(out, apiAccount(s))
	}
	return out, nil
}

func adminAccount(d *daemon, r *http.Request) (any, error) {
	s, err := d.iam.ServiceAccount(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return apiAccount(s), nil
}

func adminCreateAccount(d *daemon, r *http.Request) (any, error) {
	var in api.CreateServiceAccount
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	owner, err := theUser(d, in.Owner)
	if err != nil {
		return nil, err
	}
	s, pair, err := d.iam.AddServiceAccount(r.Context(), owner, iam.NewServiceAccount{
		Name: in.Name, Policy: document(in.Policy), Expires: in.Expires,
	})
	if err != nil {
		return nil, err
	}
	return api.CreatedServiceAccount{ServiceAccount: apiAccount(s), AccessKey: pair.AccessKey, SecretKey: pair.SecretKey}, nil
}

// document is the policy document of a request: none when it is left out.
func document(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}

func adminRemoveAccount(d *daemon, r *http.Request) (any, error) {
	return nil, d.iam.RemoveServiceAccount(r.Context(), r.PathValue("id"))
}

func adminEnableAccount(d *daemon, r *http.Request) (any, error) {
	var in api.SetEnabled
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return changeAccount(d, r, iam.ServiceAccountChange{Enabled: &in.Enabled})
}

func adminAccountPolicy(d *daemon, r *http.Request) (any, error) {
	var in api.PolicyDocument
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	doc := document(in.Document)
	return changeAccount(d, r, iam.ServiceAccountChange{Policy: &doc})
}

func changeAccount(d *daemon, r *http.Request, c iam.ServiceAccountChange) (any, error) {
	s, err := d.iam.UpdateServiceAccount(r.Context(), r.PathValue("id"), c)
	if err != nil {
		return nil, err
	}
	return apiAccount(s), nil
}

func adminRotateAccount(d *daemon, r *http.Request) (any, error) {
	id := r.PathValue("id")
	pair, err := d.iam.AddServiceAccountKey(r.Context(), id)
	if err != nil {
		return nil, err
	}
	s, err := d.iam.ServiceAccount(id)
	if err != nil {
		return nil, err
	}
	return createdKey(pair, s.ID, s.Keys), nil
}

// adminSession names the sessions that are made at the admin socket without a
// name of their own.
const adminSession = "ctl"

func adminAssumeRole(d *daemon, r *http.Request) (any, error) {
	var in api.AssumeRole
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	key, err := theUser(d, in.AccessKey)
	if err != nil {
		return nil, err
	}
	if in.Session == "" {
		in.Session = adminSession
	}
	if in.Seconds < 0 || in.Seconds > int64(iam.MaxSession/time.Second) {
		return nil, iam.ErrBadDuration
	}
	c, err := d.iam.AssumeRole(r.Context(), key, iam.AssumeRole{
		Name: in.Session, Duration: time.Duration(in.Seconds) * time.Second, Policy: document(in.Policy),
	})
	if err != nil {
		return nil, err
	}
	return api.Credentials{AccessKey: c.AccessKey, SecretKey: c.SecretKey, SessionToken: c.Token, Expires: c.Expires, ARN: c.ARN}, nil
}

// adminRevoke ends the sessions of a user, or, without one, all there are.
func adminRevoke(d *daemon, r *http.Request) (any, error) {
	var in api.AttachPolicy
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.User == "" {
		return nil, d.iam.RotateSessionKey(r.Context())
	}
	return nil, d.iam.RevokeSessions(r.Context(), in.User)
}
