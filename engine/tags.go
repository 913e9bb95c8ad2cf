package engine

import (
	"context"

	"github.com/sluicehq/sluice/engine/meta"
)

// SetTags replaces the tags of an object, durably, and returns its record. The
// data is not touched and the time of modification stays. version is the one
// that the caller has looked at (Object.Version): kind Conflict when another has
// taken its place; the zero Version means whichever is current. Kinds: NoBucket,
// NoObject, Conflict, Unavailable, NoSpace, UnknownOutcome.
func (e *Engine) SetTags(ctx context.Context, bucket, key string, version meta.Version, tags []meta.Header) (meta.Object, error) {
	o, err := e.setTags(ctx, bucket, key, version, tags)
	return o, wrap("set tags", err)
}

func (e *Engine) setTags(ctx context.Context, bucket, key string, version meta.Version, tags []meta.Header) (o meta.Object, err error) {
	if err := checkKey(key); err != nil {
		return o, err
	}
	if err := e.gate.enter(); err != nil {
		return o, err
	}
	defer e.gate.leave()
	b, err := e.bucket(bucket)
	if err != nil {
		return o, err
	}
	if len(tags) > 0 { // taking tags away must work on a full drive
		if err := e.metaSpace.check(); err != nil {
			return o, err
		}
	}
	cmd := &meta.SetTags{Bucket: b, Key: key, Version: version, Tags: tags}
	if err := e.mutate(ctx, b.Slot, cmd); err != nil {
		e.buckets.forgetOn(err, bucket)
		return o, err
	}
	return cmd.Result, nil
}
