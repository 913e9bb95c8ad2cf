package engine

import (
	"context"

	"github.com/sluicehq/sluice/engine/meta"
)

// DeleteRequest names an object to delete.
type DeleteRequest struct {
	Bucket, Key string
	If          meta.Condition
	IfSize      int64 // -1: any
	IfMTime     int64 // 0: any
}

// Delete removes an object; removing what does not exist succeeds, unless a
// condition says otherwise. existed tells.
func (e *Engine) Delete(ctx context.Context, req DeleteRequest) (existed bool, err error) {
	existed, err = e.remove(ctx, &req)
	return existed, wrap("delete", err)
}

func (e *Engine) remove(ctx context.Context, req *DeleteRequest) (bool, error) {
	if err := checkKey(req.Key); err != nil {
		return false, err
	}
	if err := e.gate.enter(); err != nil {
		return false, err
	}
	defer e.gate.leave()
	b, err := e.bucket(req.Bucket)
	if err != nil {
		return false, err
	}
	cmd := &meta.DeleteObject{Bucket: b, Key: req.Key, If: req.If, IfSize: req.IfSize, IfMTime: req.IfMTime, Due: e.due(e.now())}
	if err := e.mutate(ctx, b.Slot, cmd); err != nil {
		e.buckets.forgetOn(err, req.Bucket)
		return false, err
	}
	if cmd.Existed {
		e.purger.notice()
	}
	return cmd.Existed, nil
}
