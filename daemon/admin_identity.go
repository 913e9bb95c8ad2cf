package main

import (
	"net/http"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/s3fast/iam"
)

// identityRoutes are the admin routes of groups, access keys, service accounts
// and sessions.
func identityRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/users/{name}":                  adminUser,
		"PUT /v1/users/{name}/enabled":          adminEnableUser,
		"GET /v1/users/{name}/keys":             adminKeys,
		"POST /v1/users/{name}/keys":            adminAddKey,
		"PUT /v1/keys/{key}/enabled":            adminEnableKey,
		"DELETE /v1/keys/{key}":                 adminRemoveKey,
		"GET /v1/groups":                        adminGroups,
		"POST /v1/groups":                       adminCreateGroup,
		"GET /v1/groups/{name}":                 adminGroup,
		"DELETE /v1/groups/{name}":              adminRemoveGroup,
		"PATCH /v1/groups/{name}/members":       adminMembers,
		"GET /v1/service-accounts":              adminAccounts,
		"POST /v1/service-accounts":             adminCreateAccount,
		"GET /v1/service-accounts/{id}":         adminAccount,
		"DELETE /v1/service-accounts/{id}":      adminRemoveAccount,
		"PUT /v1/service-accounts/{id}/enabled": adminEnableAccount,
		"PUT /v1/service-accounts/{id}/policy":  adminAccountPolicy,
		"POST /v1/service-accounts/{id}/keys":   adminRotateAccount,
		"POST /v1/sts/assume-role":              adminAssumeRole,
		"POST /v1/sts/revoke":                   adminRevoke,
		"GET /v1/oidc":                          adminProviders,
		"PUT /v1/oidc/{name}":                   adminSetProvider,
		"DELETE /v1/oidc/{name}":                adminRemoveProvider,
	}
}

func adminUser(d *daemon, r *http.Request) (any, error) {
	u, err := d.iam.User(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return apiUser(u), nil
}

func adminEnableUser(d *daemon, r *http.Request) (any, error) {
	var in api.SetEnabled
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	u, err := d.iam.SetEnabled(r.Context(), r.PathValue("name"), in.Enabled)
	if err != nil {
		return nil, err
	}
	return apiUser(u), nil
}

func apiKeys(owner string, keys []iam.AccessKey) []api.AccessKey {
	out := make([]api.AccessKey, 0, len(keys))
	for _, k := range keys {
		out = append(out, api.AccessKey{AccessKey: k.ID, Owner: owner, Enabled: !k.Disabled, Created: k.Created})
	}
	return out
}

// createdKey finds a new key among the owner's.
func createdKey(pair iam.KeyPair, owner string, keys []iam.AccessKey) api.CreatedKey {
	out := api.CreatedKey{AccessKey: api.AccessKey{AccessKey: pair.AccessKey, Owner: owner, Enabled: true}, SecretKey: pair.SecretKey}
	for _, k := range keys {
		if k.ID == pair.AccessKey {
			out.Created = k.Created
		}
	}
	return out
}

func adminKeys(d *daemon, r *http.Request) (any, error) {
	name := r.PathValue("name")
	keys, err := d.iam.AccessKeys(name)
	if err != nil {
		return nil, err
	}
	return apiKeys(name, keys), nil
}

func adminAddKey(d *daemon, r *http.Request) (any, error) {
	name := r.PathValue("name")
	pair, err := d.iam.AddAccessKey(r.Context(), name)
	if err != nil {
		return nil, err
	}
	keys, err := d.iam.AccessKeys(name)
	if err != nil {
		return nil, err
	}
	return createdKey(pair, name, keys), nil
}

func adminEnableKey(d *daemon, r *http.Request) (any, error) {
	var in api.SetEnabled
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return nil, d.iam.SetAccessKey(r.Context(), r.PathValue("key"), in.Enabled)
}

func adminRemoveKey(d *daemon, r *http.Request) (any, error) {
	return nil, d.iam.RemoveAccessKey(r.Context(), r.PathValue("key"))
}

func apiGroup(g iam.Group) api.Group {
	return api.Group{Name: g.Name, Policies: g.Policies, Members: g.Members, Created: g.Created}
}

func adminGroups(d *daemon, _ *http.Request) (any, error) {
	groups := d.iam.Groups()
	out := make([]api.Group, 0, len(groups))
	for _, g := range groups {
		out = append(out, apiGroup(g))
	}
	return out, nil
}

func adminGroup(d *daemon, r *http.Request) (any, error) {
	g, err := d.iam.Group(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return apiGroup(g), nil
}

func adminCreateGroup(d *daemon, r *http.Request) (any, error) {
	var in api.CreateGroup
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	g, err := d.iam.AddGroup(r.Context(), in.Name)
	if err != nil {
		return nil, err
	}
	return apiGroup(g), nil
}

// adminRemoveGroup takes the members out first: a group with members is not
// removed by package iam.
func adminRemoveGroup(d *daemon, r *http.Request) (any, error) {
	name := r.PathValue("name")
	g, err := d.iam.Group(name)
	if err != nil {
		return nil, err
	}
	for _, m := range g.Members {
		if err := d.iam.RemoveMember(r.Context(), name, m); err != nil {
			return nil, err
		}
	}
	return nil, d.iam.RemoveGroup(r.Context(), name)
}

// adminMembers changes members one by one; each change is in force on its own.
func adminMembers(d *daemon, r *http.Request) (any, error) {
	var in api.ChangeMembers
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	for _, u := range in.Add {
		if err := d.iam.AddMember(r.Context(), name, u); err != nil {
			return nil, err
		}
	}
	for _, u := range in.Remove {
		if err := d.iam.RemoveMember(r.Context(), name, u); err != nil {
			return nil, err
		}
	}
	return adminGroup(d, r)
}
