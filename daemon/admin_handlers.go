package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast"
	"github.com/sluicehq/sluice/s3fast/iam"
)

// rootOwner owns buckets that an administrator creates.
const rootOwner = "root"

func adminStatus(d *daemon, r *http.Request) (any, error) {
	st := d.engine.Status()
	buckets, err := d.engine.ListBuckets(r.Context(), "", 1<<30)
	if err != nil {
		return nil, err
	}
	out := api.Status{
		Version:   buildVersion(drive.FormatVersion),
		Started:   d.started.UTC().Truncate(time.Second),
		Ready:     d.ready.get() && d.engine.Err() == nil,
		Cluster:   d.clusters.current.Load(),
		Listen:    d.addresses(),
		TLS:       d.cfg.TLS,
		MetaBytes: st.MetaBytes,
		Garbage:   st.Garbage,
		Buckets:   len(buckets),
		Users:     d.iam.CountUsers(),
		Parity:    d.describeParity(),
		Warnings:  d.warnings(time.Now()),
	}
	if d.audit.hook.Enabled() {
		state := d.auditState()
		out.Audit = &state
	}
	out.MetaCopies, out.MetaWanted = d.metaCopies(), d.wantedCopies()
	out.Drives = d.drives(&st)
	out.Warnings = append(out.Warnings, d.driveWarnings(out.Drives, out.MetaCopies)...)
	return out, nil
}

func adminCreateCluster(d *daemon, r *http.Request) (any, error) {
	var in api.CreateCluster
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	// Once the metadata is encrypted, no cluster on it is less than that.
	in.Encrypted = in.Encrypted || d.keys.store.Encrypted()
	return d.clusters.create(r.Context(), in)
}

func adminUpdateCluster(d *daemon, r *http.Request) (any, error) {
	var in api.UpdateCluster
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return d.clusters.update(r.Context(), in)
}

func adminDestroyCluster(d *daemon, r *http.Request) (any, error) {
	return nil, d.clusters.destroy(r.Context())
}

func adminBuckets(d *daemon, r *http.Request) (any, error) {
	buckets, err := d.engine.ListBuckets(r.Context(), "", 1<<30)
	if err != nil {
		return nil, err
	}
	out := make([]api.Bucket, 0, len(buckets))
	for _, b := range buckets {
		out = append(out, apiBucket(b))
	}
	if r.URL.Query().Get("details") == "true" {
		return d.describeBuckets(r.Context(), out)
	}
	return out, nil
}

func apiBucket(b meta.Bucket) api.Bucket {
	return api.Bucket{Name: b.Name, Owner: b.Owner, Objects: b.Objects, Bytes: b.Bytes, Created: time.Unix(0, b.Created).UTC()}
}

func adminCreateBucket(d *daemon, r *http.Request) (any, error) {
	var in api.CreateBucket
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if d.clusters.current.Load() == nil {
		return nil, errNoCluster
	}
	if err := s3fast.CheckBucketName(in.Name); err != nil {
		return nil, refuse(api.CodeUsage, "bucket name %q: %v", in.Name, err)
	}
	if _, ok := s3fast.PresetPolicy(in.Policy, in.Name); !ok && in.Policy != "" {
		return nil, refuse(api.CodeUsage, "%.64q is no bucket policy: one of none, download, upload, public", in.Policy)
	}
	if in.Parity != "" {
		if _, err := d.checkBucketParity(in.Parity); err != nil {
			return nil, err
		}
	}
	if err := checkNewPerformance(&in); err != nil {
		return nil, err
	}
	b, err := d.engine.CreateBucket(r.Context(), in.Name, rootOwner, d.cfg.Region)
	if err != nil {
		return nil, err
	}
	if err := d.setUpBucket(r.Context(), in); err != nil {
		// The bucket is empty, and not what was asked for.
		return nil, errors.Join(err, d.engine.DeleteBucket(r.Context(), in.Name))
	}
	return apiBucket(b), nil
}

// setUpBucket gives a new bucket the settings that it was created with.
func (d *daemon) setUpBucket(ctx context.Context, in api.CreateBucket) error {
	if in.Encrypted {
		if err := d.s3.SetBucketEncryption(ctx, in.Name, "AES256", ""); err != nil {
			return err
		}
	}
	if in.Parity != "" && in.Parity != api.ParityDefault {
		if err := d.setBucketParity(ctx, in.Name, in.Parity); err != nil {
			return err
		}
	}
	if err := d.setUpPerformance(ctx, &in); err != nil {
		return err
	}
	if in.Policy == "" || in.Policy == s3fast.PresetNone {
		return nil
	}
	return d.setBucketPolicy(ctx, in.Name, api.SetBucketPolicy{Preset: in.Policy})
}

func adminDestroyBucket(d *daemon, r *http.Request) (any, error) {
	bucket := r.PathValue("name")
	return nil, ofBucket(bucket, d.engine.DeleteBucket(r.Context(), bucket))
}

func adminUsers(d *daemon, _ *http.Request) (any, error) {
	users := d.iam.Users()
	out := make([]api.User, 0, len(users))
	for _, u := range users {
		out = append(out, apiUser(u))
	}
	return out, nil
}

func apiUser(u iam.User) api.User {
	return api.User{
		Name: u.Name, Role: string(u.Role), Policy: u.Policy, Policies: u.Policies, Groups: u.Groups,
		Disabled: u.Disabled, Created: u.Created, Modified: u.Modified,
	}
}

func adminCreateUser(d *daemon, r *http.Request) (any, error) {
	var in api.CreateUser
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	role, err := iam.ParseRole(in.Role)
	if err != nil {
		return nil, err
	}
	var generated string
	if in.Password == "" {
		generated = iam.GeneratePassword()
		in.Password = generated
	}
	u, err := d.iam.AddUser(r.Context(), in.Name, role, in.Password)
	if err != nil {
		return nil, err
	}
	return api.CreatedUser{User: apiUser(u), Password: generated}, nil
}

func adminDeleteUser(d *daemon, r *http.Request) (any, error) {
	return nil, d.iam.DeleteUser(r.Context(), r.PathValue("name"))
}

func adminSetPassword(d *daemon, r *http.Request) (any, error) {
	var in api.SetPassword
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return nil, d.iam.SetPassword(r.Context(), r.PathValue("name"), in.Password)
}

func adminSetRole(d *daemon, r *http.Request) (any, error) {
	var in api.SetRole
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	role, err := iam.ParseRole(in.Role)
	if err != nil {
		return nil, err
	}
	u, err := d.iam.SetRole(r.Context(), r.PathValue("name"), role)
	if err != nil {
		return nil, err
	}
	return apiUser(u), nil
}

func adminPolicies(d *daemon, _ *http.Request) (any, error) {
	policies := d.iam.Policies()
	out := make([]api.Policy, 0, len(policies))
	for _, p := range policies {
		out = append(out, apiPolicy(p))
	}
	return out, nil
}

func apiPolicy(p iam.PolicyInfo) api.Policy {
	return api.Policy{
		Name: p.Name, Predefined: p.Predefined, Users: p.Users, Groups: p.Groups, Created: p.Created, Document: p.Document,
	}
}

func adminPolicy(d *daemon, r *http.Request) (any, error) {
	p, err := d.iam.Policy(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return apiPolicy(p), nil
}

func adminPutPolicy(d *daemon, r *http.Request) (any, error) {
	var in api.PutPolicy
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	p, err := d.iam.AddPolicy(r.Context(), in.Name, []byte(in.Document), in.Replace)
	if err != nil {
		return nil, err
	}
	return apiPolicy(p), nil
}

func adminRemovePolicy(d *daemon, r *http.Request) (any, error) {
	return nil, d.iam.RemovePolicy(r.Context(), r.PathValue("name"))
}

// theUser returns name, or the only S3 user there is when name is empty.
func theUser(d *daemon, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	found := 0
	for _, u := range d.iam.Users() {
		if u.Role == iam.S3 {
			name = u.Name
			found++
		}
	}
	switch found {
	case 0:
		return "", refuse(api.CodeNotFound, "no S3 user: add one with 'ctl user add NAME S3'")
	case 1:
		return name, nil
	}
	return "", refuse(api.CodeUsage, "name the user: there are %d S3 users", found)
}

func adminAttach(d *daemon, r *http.Request) (any, error) {
	var in api.AttachPolicy
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if in.Group != "" {
		if in.User != "" {
			return nil, refuse(api.CodeUsage, "name a user or a group, not both")
		}
		return api.Attachment{Policy: name, Group: in.Group}, d.iam.AttachGroup(r.Context(), name, in.Group)
	}
	user, err := theUser(d, in.User)
	if err != nil {
		return nil, err
	}
	attach := d.iam.Attach
	if in.Add {
		attach = d.iam.AttachMore
	}
	if err := attach(r.Context(), name, user); err != nil {
		return nil, err
	}
	return api.Attachment{Policy: name, User: user}, nil
}

// adminDetach detaches a policy; the name "-" stands for whichever a user has.
func adminDetach(d *daemon, r *http.Request) (any, error) {
	var in api.AttachPolicy
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if in.Group != "" {
		return api.Attachment{Policy: name, Group: in.Group}, d.iam.DetachGroup(r.Context(), name, in.Group)
	}
	user, err := theUser(d, in.User)
	if err != nil {
		return nil, err
	}
	u, err := d.iam.User(user)
	if err != nil {
		return nil, err
	}
	all := strings.Join(u.Policies, ",")
	if name == "-" {
		name = ""
	}
	if err := d.iam.Detach(r.Context(), name, user); err != nil {
		return nil, err
	}
	if name == "" {
		name = all
	}
	return api.Attachment{Policy: name, User: user}, nil
}

func adminTLS(d *daemon, _ *http.Request) (any, error) {
	if d.certs == nil {
		return nil, refuse(api.CodeNotFound, "TLS is off")
	}
	return d.certs.describe(d.cfg.TLS), nil
}

func adminSetTLS(d *daemon, r *http.Request) (any, error) {
	var in api.SetTLS
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if d.certs == nil {
		return nil, refuse(api.CodeConflict, "TLS is off")
	}
	if err := d.certs.set([]byte(in.Certificate), []byte(in.PrivateKey), time.Now()); err != nil {
		return nil, refuse(api.CodeUsage, "certificate: %v", err)
	}
	return d.certs.describe(d.cfg.TLS), nil
}

func adminUnsetTLS(d *daemon, _ *http.Request) (any, error) {
	if d.certs == nil {
		return nil, refuse(api.CodeConflict, "TLS is off")
	}
	if err := d.certs.unset(); err != nil {
		return nil, err
	}
	return d.certs.describe(d.cfg.TLS), nil
}
