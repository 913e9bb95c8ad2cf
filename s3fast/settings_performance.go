package s3fast

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/engine"
)

// Types of buckets, and what can be chosen of their writes and listings (WEKA
// documentation, "Configure S3 Performance Buckets").
const (
	TypeStandard    = "STANDARD"
	TypePerformance = "PERFORMANCE"

	ETagMD5 = "md5" // the MD5 that S3 makes ETags of
	ETagUID = "uid" // a unique id: nothing is hashed

	IntegrityClient   = "client_defined" // what clients claim of a payload is verified and kept
	IntegrityDisabled = "disabled"       // and is ignored

	// Listings are sorted either way: the metadata is, and order costs nothing.
	ListSorted   = "sorted"
	ListUnsorted = "unsorted"
)

// Performance holds the choices for a bucket, or for buckets of a type. "" is: not
// chosen here.
type Performance struct {
	ETagAlg       string `json:"etag_alg,omitempty"`
	IntegrityMode string `json:"integrity_mode,omitempty"`
	Sorting       string `json:"sorting,omitempty"`
}

// ErrBadPerformance: not a choice that there is.
var ErrBadPerformance = errors.New("s3fast: no such setting of performance")

// Check judges choices. ErrBadPerformance, which says what there is.
func (p *Performance) Check() error {
	for _, c := range [...]struct{ name, value, one, other string }{
		{"ETag algorithm", p.ETagAlg, ETagMD5, ETagUID},
		{"integrity mode", p.IntegrityMode, IntegrityClient, IntegrityDisabled},
		{"sorting mode", p.Sorting, ListSorted, ListUnsorted},
	} {
		if c.value != "" && c.value != c.one && c.value != c.other {
			return fmt.Errorf("%w: %s %.64q is neither %s nor %s", ErrBadPerformance, c.name, c.value, c.one, c.other)
		}
	}
	return nil
}

// Over returns p with what it leaves open taken from q.
func (p Performance) Over(q Performance) Performance {
	if p.ETagAlg == "" {
		p.ETagAlg = q.ETagAlg
	}
	if p.IntegrityMode == "" {
		p.IntegrityMode = q.IntegrityMode
	}
	if p.Sorting == "" {
		p.Sorting = q.Sorting
	}
	return p
}

// DefaultPerformance is what holds for buckets of a type where nobody chose: S3's
// behaviour, and for buckets of type PERFORMANCE WEKA's defaults.
func DefaultPerformance(kind string) Performance {
	if kind == TypePerformance {
		return Performance{ETagAlg: ETagUID, IntegrityMode: IntegrityClient, Sorting: ListUnsorted}
	}
	return Performance{ETagAlg: ETagMD5, IntegrityMode: IntegrityClient, Sorting: ListSorted}
}

// PerformanceOf is what holds for buckets of a type that chose nothing themselves. A
// nil cluster chose nothing either.
func (c *Cluster) PerformanceOf(kind string) Performance {
	var chosen Performance
	switch {
	case c == nil:
	case kind == TypePerformance:
		chosen = c.PerformanceBuckets
	default:
		chosen = c.StandardBuckets
	}
	return chosen.Over(DefaultPerformance(kind))
}

// docPerformance is the document of a bucket of another type than STANDARD, or
// with choices of its own: JSON of bucketPerformance. It is no matter of access:
// one that cannot be read does not close the bucket, whose writes are then
// verified, and have MD5 ETags.
const docPerformance = "performance"

// bucketPerformance is a bucket's type and choices.
type bucketPerformance struct {
	Type string `json:"type,omitempty"` // "": STANDARD
	Performance
}

func (p *bucketPerformance) kind() string {
	if p.Type == "" {
		return TypeStandard
	}
	return p.Type
}

// inForce returns what holds; c is the cluster.
func (p *bucketPerformance) inForce(c *Cluster) Performance {
	return p.Over(c.PerformanceOf(p.kind()))
}

// decodePerformance reads docPerformance. With an error, the result is what is
// done nevertheless.
func decodePerformance(value []byte) (bucketPerformance, error) {
	var p bucketPerformance
	err := decodeSetting(value, &p)
	if err == nil && p.Type != "" && p.Type != TypePerformance {
		err = fmt.Errorf("%w: type %.64q", ErrBadPerformance, p.Type)
	}
	if err == nil {
		err = p.Check()
	}
	if err != nil {
		return bucketPerformance{Performance: DefaultPerformance(TypeStandard)}, err
	}
	return p, nil
}

// BucketPerformance tells what is chosen for a bucket.
type BucketPerformance struct {
	Type    string      // TypeStandard or TypePerformance
	Own     Performance // the bucket's own choices
	InForce Performance // what holds: nothing in it is ""
}

// BucketPerformance returns what is chosen for a bucket.
func (s *Server) BucketPerformance(ctx context.Context, bucket string) (BucketPerformance, error) {
	_, set, err := s.bucketAndSettings(ctx, bucket)
	if err != nil {
		return BucketPerformance{}, err
	}
	p := &set.performance
	return BucketPerformance{Type: p.kind(), Own: p.Performance, InForce: p.inForce(s.cfg.Cluster())}, nil
}

// SetBucketType makes a bucket one of TypeStandard or TypePerformance; its own
// choices stay. ErrBadPerformance.
func (s *Server) SetBucketType(ctx context.Context, bucket, kind string) error {
	switch kind {
	case TypePerformance:
	case TypeStandard:
		kind = ""
	default:
		return fmt.Errorf("%w: type %.64q is neither %s nor %s", ErrBadPerformance, kind, TypeStandard, TypePerformance)
	}
	return s.changePerformance(ctx, bucket, func(p *bucketPerformance) { p.Type = kind })
}

// ChangeBucketPerformance changes a bucket's own choices: change is given them, and
// may be called more than once. They hold for what is written by requests that
// begin after it returns; what is there stays as it is. ErrBadPerformance.
func (s *Server) ChangeBucketPerformance(ctx context.Context, bucket string, change func(own *Performance)) error {
	return s.changePerformance(ctx, bucket, func(p *bucketPerformance) { change(&p.Performance) })
}

// changesMost bounds how often a change begins anew because of others.
const changesMost = 20

func (s *Server) changePerformance(ctx context.Context, bucket string, change func(p *bucketPerformance)) error {
	b, err := s.cfg.Engine.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		doc, err := s.cfg.Engine.Docs(bucket).Get(ctx, docPerformance)
		if err != nil && engine.KindOf(err) != engine.NoDoc {
			return err
		}
		var p bucketPerformance
		if err == nil {
			// One that cannot be read is replaced by what was in force.
			p, _ = decodePerformance(doc.Value)
		}
		change(&p)
		if err := p.Check(); err != nil {
			return err
		}
		var value []byte // nil: no document
		if p != (bucketPerformance{}) {
			if value, err = json.Marshal(p); err != nil {
				return err
			}
		}
		if err = s.changeSettingAt(ctx, &b, docPerformance, value, doc.Rev); engine.KindOf(err) != engine.Conflict || try == changesMost {
			return err
		}
	}
}
