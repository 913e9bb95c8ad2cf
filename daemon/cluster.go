package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
)

// configFS is the reserved configuration namespace. It exists from the moment
// the first drive is formatted and holds all cluster-wide configuration.
const configFS = ".config_fs"

// clusters keeps the cluster's record and the frontend's view of it.
type clusters struct {
	docs    *engine.Docs
	region  string
	encrypt func(ctx context.Context) error // prepares an encrypted cluster
	engine  *engine.Engine                  // takes the parity; nil in tests
	mu      sync.Mutex                      // serializes changes
	current atomic.Pointer[api.Cluster]
	s3      atomic.Pointer[s3fast.Cluster]
}

func openClusters(ctx context.Context, docs *engine.Docs, region string, encrypt func(context.Context) error) (*clusters, error) {
	c := &clusters{docs: docs, region: region, encrypt: encrypt}
	found, err := docs.Get(ctx, docCluster)
	if engine.KindOf(err) == engine.NoDoc {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	rec := new(api.Cluster)
	if err := json.Unmarshal(found.Value, rec); err != nil {
		return nil, fmt.Errorf("%s: %w", docCluster, err)
	}
	c.publish(rec)
	return c, nil
}

// view is the frontend's: nil while there is no cluster.
func (c *clusters) view() *s3fast.Cluster { return c.s3.Load() }

func (c *clusters) publish(rec *api.Cluster) {
	if rec != nil {
		rec.Region = c.region // before anybody reads it
	}
	c.current.Store(rec)
	c.useParity(rec)
	if rec == nil {
		c.s3.Store(nil)
		return
	}
	c.s3.Store(&s3fast.Cluster{Name: rec.Name, Domains: rec.Domains, Encrypted: rec.Encrypted,
		StandardBuckets: s3fast.Performance(rec.Standard), PerformanceBuckets: s3fast.Performance(rec.Performance)})
}

// create makes the cluster. The same request again returns what is there.
func (c *clusters) create(ctx context.Context, in api.CreateCluster) (api.Cluster, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := checkClusterName(in.Name); err != nil {
		return api.Cluster{}, err
	}
	if in.ConfigFS != configFS {
		return api.Cluster{}, refuse(api.CodeUsage, "configuration filesystem %q does not exist: the one made when the drives were formatted is %q", in.ConfigFS, configFS)
	}
	domains, err := checkDomains(in.Domains)
	if err != nil {
		return api.Cluster{}, err
	}
	parity, err := c.checkParity(in.Parity)
	if err != nil {
		return api.Cluster{}, err
	}
	standard, performance, err := choices(&api.Cluster{}, in.Standard, in.Performance)
	if err != nil {
		return api.Cluster{}, err
	}
	if old := c.current.Load(); old != nil {
		if err := sameChoices(old, &in); err != nil {
			return api.Cluster{}, err
		}
		if in.Parity != "" && old.Name == in.Name && old.Parity != parity {
			return api.Cluster{}, refuse(api.CodeConflict, "the S3 cluster %q exists with another parity: change it with 'ctl cluster update --parity %s'", old.Name, in.Parity)
		}
		if old.Name == in.Name && (len(domains) == 0 || slices.Equal(domains, old.Domains)) {
			if in.Encrypted && !old.Encrypted {
				return api.Cluster{}, refuse(api.CodeConflict, "the S3 cluster %q exists and is not encrypted: that is chosen when it is created", old.Name)
			}
			return *old, nil
		}
		return api.Cluster{}, refuse(api.CodeExists, "the S3 cluster %q exists already", old.Name)
	}
	id, err := c.docs.Get(ctx, docIdentity)
	if err != nil {
		return api.Cluster{}, err
	}
	var ident identityDoc
	if err := json.Unmarshal(id.Value, &ident); err != nil {
		return api.Cluster{}, err
	}
	if in.Encrypted {
		if err := c.encrypt(ctx); err != nil {
			return api.Cluster{}, err
		}
	}
	rec := api.Cluster{Name: in.Name, ConfigFS: configFS, ID: ident.ID, Domains: domains, Encrypted: in.Encrypted, Parity: parity,
		Standard: standard, Performance: performance, Created: time.Now().UTC().Truncate(time.Second)}
	return c.save(ctx, rec)
}

// update changes what in names.
func (c *clusters) update(ctx context.Context, in api.UpdateCluster) (api.Cluster, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load()
	if old == nil {
		return api.Cluster{}, errNoCluster
	}
	rec := *old
	if in.Domains != nil {
		domains, err := checkDomains(*in.Domains)
		if err != nil {
			return api.Cluster{}, err
		}
		rec.Domains = domains
	}
	if in.Parity != nil {
		parity, err := c.checkParity(*in.Parity)
		if err != nil {
			return api.Cluster{}, err
		}
		rec.Parity = parity
	}
	var err error
	if rec.Standard, rec.Performance, err = choices(old, in.Standard, in.Performance); err != nil {
		return api.Cluster{}, err
	}
	return c.save(ctx, rec)
}

// destroy ends the S3 service. Buckets, objects, users and policies stay.
func (c *clusters) destroy(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Load() == nil {
		return errNoCluster
	}
	if err := c.docs.Delete(ctx, docCluster, -1); err != nil {
		return err
	}
	c.publish(nil)
	return nil
}

func (c *clusters) save(ctx context.Context, rec api.Cluster) (api.Cluster, error) {
	value, err := json.Marshal(rec)
	if err != nil {
		return rec, err
	}
	if _, err := c.docs.Put(ctx, docCluster, value, -1); err != nil {
		return rec, err
	}
	c.publish(&rec)
	return rec, nil
}
