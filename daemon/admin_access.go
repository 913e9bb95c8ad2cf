package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// accessRoutes are the admin routes of bucket policies and the policy simulator.
func accessRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/buckets/{name}/policy":    adminBucketPolicy,
		"PUT /v1/buckets/{name}/policy":    adminSetBucketPolicy,
		"DELETE /v1/buckets/{name}/policy": adminResetBucketPolicy,
		"POST /v1/policies/simulate":       adminSimulate,
	}
}

func adminBucketPolicy(d *daemon, r *http.Request) (any, error) {
	bucket := r.PathValue("name")
	doc, _, err := d.s3.BucketPolicy(r.Context(), bucket)
	if err != nil {
		return nil, ofBucket(bucket, err)
	}
	set, err := d.s3.BucketSettings(r.Context(), bucket)
	if err != nil {
		return nil, err
	}
	return api.BucketPolicy{Bucket: bucket, Policy: set.Policy, Public: set.Public, Document: string(doc)}, nil
}

func adminSetBucketPolicy(d *daemon, r *http.Request) (any, error) {
	var in api.SetBucketPolicy
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if (in.Preset == "") == (in.Document == "") {
		return nil, refuse(api.CodeUsage, "a bucket policy needs a preset or a document, not both")
	}
	if err := d.setBucketPolicy(r.Context(), r.PathValue("name"), in); err != nil {
		return nil, err
	}
	return adminBucketPolicy(d, r)
}

func (d *daemon) setBucketPolicy(ctx context.Context, bucket string, in api.SetBucketPolicy) error {
	doc := []byte(in.Document)
	if in.Preset != "" {
		var ok bool
		if doc, ok = s3fast.PresetPolicy(in.Preset, bucket); !ok {
			return refuse(api.CodeUsage, "%.64q is no bucket policy: one of none, download, upload, public", in.Preset)
		}
		if doc == nil {
			return ofBucket(bucket, d.s3.DeleteBucketPolicy(ctx, bucket))
		}
	}
	err := d.s3.SetBucketPolicy(ctx, bucket, doc)
	if errors.Is(err, s3fast.ErrPublicPolicyBlocked) {
		return refuse(api.CodeConflict, "the public access block of bucket %s refuses public policies", bucket)
	}
	return ofBucket(bucket, err)
}

// ofBucket names the bucket where it is not there.
func ofBucket(bucket string, err error) error {
	if err != nil && engine.KindOf(err) == engine.NoBucket {
		return refuse(api.CodeNotFound, "no such bucket: %.64q", bucket)
	}
	return err
}

func adminResetBucketPolicy(d *daemon, r *http.Request) (any, error) {
	bucket := r.PathValue("name")
	return nil, ofBucket(bucket, d.s3.DeleteBucketPolicy(r.Context(), bucket))
}

// values are the condition keys of a simulated request.
type values map[string][]string

// Lookup implements policy.Context.
func (v values) Lookup(key string) []string { return v[key] }

// newValues puts the names of condition keys in lower case up to a slash, as
// policy.Context has them.
func newValues(in map[string][]string) values {
	out := make(values, len(in))
	for key, vals := range in {
		name, rest, ok := strings.Cut(key, "/")
		name = strings.ToLower(name)
		if ok {
			name += "/" + rest
		}
		out[name] = vals
	}
	return out
}

// resourceARN completes what people type: "bucket/key" as well as an ARN.
func resourceARN(text string) string {
	if strings.HasPrefix(text, "arn:") {
		return text
	}
	return "arn:aws:s3:::" + text
}

func adminSimulate(d *daemon, r *http.Request) (any, error) {
	var in api.Simulate
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.Action == "" || in.Resource == "" {
		return nil, refuse(api.CodeUsage, "name an action and a resource")
	}
	if !strings.Contains(in.Action, ":") {
		in.Action = "s3:" + in.Action
	}
	req := policy.Request{Action: in.Action, Resource: resourceARN(in.Resource), Context: newValues(in.Context)}
	input := policy.Input{}
	if err := d.simulated(&in, &req, &input); err != nil {
		return nil, err
	}
	if err := d.simulatedBucket(r.Context(), &in, &req, &input); err != nil {
		return nil, err
	}
	e := policy.Explain(&req, &input)
	out := api.Simulation{
		Decision: e.Decision.String(), Allowed: e.Decision == policy.Allow, Reason: e.Reason,
		Action: req.Action, Resource: req.Resource, Principal: req.Principal.ARN,
		Statements: []api.SimulatedStatement{},
	}
	if in.Anonymous {
		out.Principal = "anonymous"
	}
	for _, s := range e.Statements {
		out.Statements = append(out.Statements, api.SimulatedStatement(s))
	}
	return out, nil
}

// simulated finds who asks, and the identity policies.
func (d *daemon) simulated(in *api.Simulate, req *policy.Request, input *policy.Input) error {
	switch {
	case in.Anonymous:
		req.Principal = policy.Principal{Anonymous: true}
		return nil
	case in.User == "" && in.Document != "":
		// A policy that nobody has yet: of somebody of this account.
		req.Principal = policy.Principal{Account: iam.AccountID, ARN: "arn:aws:iam::" + iam.AccountID + ":user/simulated"}
	default:
		name, err := theUser(d, in.User)
		if err != nil {
			return err
		}
		id, ok := d.iam.Identity(name)
		if !ok {
			if err := d.iam.Refused(name); err != nil {
				return fmt.Errorf("%w: %.64q", err, name)
			}
			return refuse(api.CodeNotFound, "no such user or access key: %.64q", name)
		}
		req.Principal, input.Identity, input.Narrow = id.Principal, id.Policies, id.Narrow
		input.Names = d.iam.NamesOf(id.Policies)
		if v := req.Context.(values); v["aws:username"] == nil && id.Name != "" {
			v["aws:username"] = []string{id.Name}
		}
	}
	if in.Document == "" {
		return nil
	}
	p, err := policy.Parse([]byte(in.Document))
	if err != nil {
		return err
	}
	input.Identity, input.Names = policy.Set{p}, nil
	return nil
}

// simulatedBucket finds the policy of the bucket that the resource names. A
// bucket that does not exist has none.
func (d *daemon) simulatedBucket(ctx context.Context, in *api.Simulate, req *policy.Request, input *policy.Input) error {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(req.Resource, "arn:aws:s3:::"), "/")
	doc := []byte(in.BucketPolicy)
	if len(doc) == 0 {
		stored, ok, err := d.s3.BucketPolicy(ctx, bucket)
		switch kind := engine.KindOf(err); {
		case kind == engine.NoBucket || kind == engine.InvalidName || err == nil && !ok:
			return nil
		case err != nil:
			return err
		}
		doc = stored
		set, err := d.s3.BucketSettings(ctx, bucket)
		if err != nil {
			return err
		}
		for _, on := range set.PublicAccessBlock {
			input.RestrictPublic = input.RestrictPublic || on == "RestrictPublicBuckets"
		}
	}
	p, err := policy.ParseBucket(doc, bucket)
	if err != nil {
		return err
	}
	input.Bucket = p
	return nil
}
