package engine

import (
	"context"

	"github.com/sluicehq/sluice/engine/meta"
)

// Docs keeps named opaque documents with revisions; see meta.PutDoc.
type Docs struct {
	e      *Engine
	bucket string
}

// Docs returns the cluster's configuration documents (bucket ""), or a bucket's.
func (e *Engine) Docs(bucket string) *Docs { return &Docs{e, bucket} }

// begin enters the gate and finds the documents' owner: the zero bucket for the
// cluster.
func (d *Docs) begin() (b meta.Bucket, err error) {
	if err := d.e.gate.enter(); err != nil {
		return b, err
	}
	if d.bucket != "" {
		if b, err = d.e.bucket(d.bucket); err != nil {
			d.e.gate.leave()
		}
	}
	return b, err
}

// Get reads a document: kind NoDoc when there is none.
func (d *Docs) Get(ctx context.Context, path string) (meta.Doc, error) {
	b, err := d.begin()
	if err != nil {
		return meta.Doc{}, wrap("get document", err)
	}
	defer d.e.gate.leave()
	doc, err := meta.GetDoc(d.e.store, b.Slot, b.ID, path)
	return doc, wrap("get document", err)
}

// List returns the documents under prefix, in order of path.
func (d *Docs) List(ctx context.Context, prefix string) (docs []meta.Doc, err error) {
	b, err := d.begin()
	if err != nil {
		return nil, wrap("list documents", err)
	}
	defer d.e.gate.leave()
	err = meta.ListDocs(d.e.store, b.Slot, b.ID, prefix, func(doc meta.Doc) bool {
		docs = append(docs, doc)
		return true
	})
	return docs, wrap("list documents", err)
}

// Put stores a document and returns its new revision. It works at the metadata
// reserve too: configuration is small, and may be what an operator must change.
func (d *Docs) Put(ctx context.Context, path string, value []byte, ifRev int64) (int64, error) {
	b, err := d.begin()
	if err != nil {
		return 0, wrap("put document", err)
	}
	defer d.e.gate.leave()
	cmd := &meta.PutDoc{Bucket: b.ID, Slot: b.Slot, Path: path, Value: value, IfRev: ifRev}
	if err := d.e.mutate(ctx, b.Slot, cmd); err != nil {
		d.e.buckets.forgetOn(err, d.bucket)
		return 0, wrap("put document", err)
	}
	return cmd.Rev, nil
}

// Delete removes a document.
func (d *Docs) Delete(ctx context.Context, path string, ifRev int64) error {
	b, err := d.begin()
	if err != nil {
		return wrap("delete document", err)
	}
	defer d.e.gate.leave()
	cmd := &meta.DeleteDoc{Bucket: b.ID, Slot: b.Slot, Path: path, IfRev: ifRev}
	err = d.e.mutate(ctx, b.Slot, cmd)
	d.e.buckets.forgetOn(err, d.bucket)
	return wrap("delete document", err)
}
