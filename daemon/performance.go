package main

import (
	"context"
	"net/http"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
)

// performanceRoutes are the admin routes of how ETags are made, what is verified,
// and how listings are ordered.
func performanceRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/cluster/performance":          adminClusterPerformance,
		"POST /v1/cluster/performance/reset":   adminResetPerformance,
		"GET /v1/buckets/{name}/performance":   adminBucketPerformance,
		"PATCH /v1/buckets/{name}/performance": adminSetBucketPerformance,
	}
}

// choose returns old with what in names; api.PerformanceDefault removes a choice.
// s3fast.ErrBadPerformance.
func choose(old, in api.Performance) (api.Performance, error) {
	for _, c := range [...]struct{ into, from *string }{
		{&old.ETagAlg, &in.ETagAlg}, {&old.IntegrityMode, &in.IntegrityMode}, {&old.Sorting, &in.Sorting},
	} {
		switch *c.from {
		case "":
		case api.PerformanceDefault:
			*c.into = ""
		default:
			*c.into = *c.from
		}
	}
	frontend := s3fast.Performance(old)
	return old, frontend.Check()
}

// chosen is p for people: no choice is api.PerformanceDefault.
func chosen(p s3fast.Performance) api.Performance {
	const none = api.PerformanceDefault
	return api.Performance(p.Over(s3fast.Performance{ETagAlg: none, IntegrityMode: none, Sorting: none}))
}

func adminClusterPerformance(d *daemon, _ *http.Request) (any, error) {
	view := d.clusters.view()
	if view == nil {
		return nil, errNoCluster
	}
	return api.ClusterPerformance{
		Standard:    api.Performance(view.PerformanceOf(s3fast.TypeStandard)),
		Performance: api.Performance(view.PerformanceOf(s3fast.TypePerformance)),
	}, nil
}

func adminBucketPerformance(d *daemon, r *http.Request) (any, error) {
	bucket := r.PathValue("name")
	p, err := d.s3.BucketPerformance(r.Context(), bucket)
	if err != nil {
		return nil, ofBucket(bucket, err)
	}
	return api.BucketPerformance{Bucket: bucket, Type: p.Type, Performance: api.Performance(p.InForce), Settings: chosen(p.Own)}, nil
}

func adminSetBucketPerformance(d *daemon, r *http.Request) (any, error) {
	var in api.Performance
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if err := d.setBucketPerformance(r.Context(), r.PathValue("name"), in); err != nil {
		return nil, err
	}
	return adminBucketPerformance(d, r)
}

// setBucketPerformance changes what in names of a bucket's own choices.
func (d *daemon) setBucketPerformance(ctx context.Context, bucket string, in api.Performance) error {
	if _, err := choose(api.Performance{}, in); err != nil {
		return err
	}
	return ofBucket(bucket, d.s3.ChangeBucketPerformance(ctx, bucket, func(own *s3fast.Performance) {
		next, _ := choose(api.Performance(*own), in) // both were judged
		*own = s3fast.Performance(next)
	}))
}

// adminResetPerformance takes one choice of their own from all buckets of type
// PERFORMANCE.
func adminResetPerformance(d *daemon, r *http.Request) (any, error) {
	var in api.ResetPerformance
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	field := func(p *s3fast.Performance) *string {
		switch in.Setting {
		case api.SettingETagAlg:
			return &p.ETagAlg
		case api.SettingIntegrityMode:
			return &p.IntegrityMode
		case api.SettingSorting:
			return &p.Sorting
		}
		return nil
	}
	if field(new(s3fast.Performance)) == nil {
		return nil, refuse(api.CodeUsage, "%.64q is none of %s, %s and %s", in.Setting, api.SettingETagAlg, api.SettingIntegrityMode, api.SettingSorting)
	}
	buckets, err := d.engine.ListBuckets(r.Context(), "", 1<<30)
	if err != nil {
		return nil, err
	}
	out := api.PerformanceReset{Setting: in.Setting, Buckets: []string{}}
	for _, b := range buckets {
		p, err := d.s3.BucketPerformance(r.Context(), b.Name)
		if err == nil && (p.Type != s3fast.TypePerformance || *field(&p.Own) == "") {
			continue
		}
		if err == nil {
			err = d.s3.ChangeBucketPerformance(r.Context(), b.Name, func(own *s3fast.Performance) { *field(own) = "" })
		}
		switch {
		case engine.KindOf(err) == engine.NoBucket: // it has gone meanwhile
		case err != nil:
			return nil, ofBucket(b.Name, err)
		default:
			out.Buckets = append(out.Buckets, b.Name)
		}
	}
	return out, nil
}

// describeBuckets adds to buckets what BucketDetails tells of them.
func (d *daemon) describeBuckets(ctx context.Context, buckets []api.Bucket) ([]api.BucketDetails, error) {
	out := make([]api.BucketDetails, 0, len(buckets))
	for _, b := range buckets {
		p, err := d.s3.BucketPerformance(ctx, b.Name)
		if err != nil {
			if engine.KindOf(err) == engine.NoBucket {
				continue // it has gone meanwhile
			}
			return nil, err
		}
		out = append(out, api.BucketDetails{Bucket: b, Type: p.Type, Performance: api.Performance(p.InForce)})
	}
	return out, nil
}

// checkNewPerformance judges what a bucket is created with.
func checkNewPerformance(in *api.CreateBucket) error {
	switch in.Type {
	case "", api.BucketStandard, api.BucketPerformant:
	default:
		return refuse(api.CodeUsage, "bucket type %.64q is neither %s nor %s", in.Type, api.BucketStandard, api.BucketPerformant)
	}
	_, err := choose(api.Performance{}, in.Performance)
	return err
}

// setUpPerformance gives a new bucket its type and choices.
func (d *daemon) setUpPerformance(ctx context.Context, in *api.CreateBucket) error {
	if in.Type == api.BucketPerformant {
		if err := d.s3.SetBucketType(ctx, in.Name, s3fast.TypePerformance); err != nil {
			return err
		}
	}
	if in.Performance == (api.Performance{}) {
		return nil
	}
	return d.setBucketPerformance(ctx, in.Name, in.Performance)
}

// choices returns what a cluster's record holds for buckets of either type once
// standard and performance are chosen. s3fast.ErrBadPerformance.
func choices(old *api.Cluster, standard, performance api.Performance) (s, p api.Performance, err error) {
	if s, err = choose(old.Standard, standard); err == nil {
		p, err = choose(old.Performance, performance)
	}
	return s, p, err
}

// sameChoices refuses a request to create the cluster that is there with other
// choices than it has.
func sameChoices(old *api.Cluster, in *api.CreateCluster) error {
	s, p, err := choices(old, in.Standard, in.Performance)
	if err == nil && old.Name == in.Name && (s != old.Standard || p != old.Performance) {
		err = refuse(api.CodeConflict, "the S3 cluster %q exists with another ETag algorithm, integrity mode or sorting mode: change it with 'ctl cluster update'", old.Name)
	}
	return err
}
