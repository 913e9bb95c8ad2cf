package meta

import (
	"encoding/binary"
	"fmt"
)

// requireBucket fails with ErrNoBucket once the bucket has been deleted. The
// marker is in the bucket's own slot, so the check is atomic with the command.
func requireBucket(r Reader, b *Bucket) error {
	_, ok, err := r.Get(existsKey(b))
	if err != nil {
		return err
	}
	if !ok {
		return ErrNoBucket
	}
	return nil
}

// empty reports whether no key begins with prefix.
func empty(r Reader, prefix []byte) (bool, error) {
	it := r.Iter(prefix, successor(prefix))
	found := it.Next()
	err := it.Err()
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return !found, err
}

// keysWith returns all keys that begin with prefix.
func keysWith(r Reader, prefix []byte) ([][]byte, error) {
	var keys [][]byte
	it := r.Iter(prefix, successor(prefix))
	for it.Next() {
		keys = append(keys, append([]byte(nil), it.Key()...))
	}
	err := it.Err()
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return keys, err
}

// Apply implements Command.
func (c *CreateBucket) Apply(tx Tx) error {
	name := c.Bucket.Name
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: bucket name of %d bytes", ErrInvalid, len(name))
	}
	old, err := GetBucket(tx, name)
	if err == nil {
		c.Result = old
		return ErrBucketExists
	}
	if err != ErrNoBucket {
		return err
	}
	var last uint64
	v, ok, err := tx.Get(bucketSeqKey())
	if err != nil {
		return err
	}
	if ok {
		if len(v) != 8 {
			return fmt.Errorf("%w: bucket counter", ErrBadRecord)
		}
		last = binary.BigEndian.Uint64(v)
	}
	b := c.Bucket
	b.ID = BucketID(last + 1)
	b.Slot = Slot(1 + last%bucketSlots)
	b.Slots = 1
	b.Objects, b.Bytes = 0, 0
	tx.Put(bucketSeqKey(), binary.BigEndian.AppendUint64(nil, last+1))
	tx.Put(bucketNameKey(name), encodeBucket(&b))
	tx.Put(existsKey(&b), append([]byte{recordVersion}, name...))
	c.Result = b
	return nil
}

// Apply implements Command.
func (c *DeleteBucket) Apply(tx Tx) error {
	b, err := GetBucket(tx, c.Name)
	if err != nil {
		return err
	}
	for _, t := range []byte{typeHead, typeObject, typeUpload} {
		ok, err := empty(tx, bucketKey(b.Slot, t, b.ID, 0))
		if err != nil {
			return err
		}
		if !ok {
			return ErrBucketNotEmpty
		}
	}
	docs, err := keysWith(tx, bucketKey(b.Slot, typeDoc, b.ID, 0))
	if err != nil {
		return err
	}
	for _, k := range docs {
		tx.Delete(k)
	}
	tx.Delete(bucketNameKey(c.Name))
	tx.Delete(existsKey(&b))
	tx.Delete(counterKey(&b, counterObjects))
	tx.Delete(counterKey(&b, counterBytes))
	return nil
}

// checkDoc checks a document's path and that its bucket exists.
func checkDoc(r Reader, s Slot, b BucketID, path string) error {
	if path == "" || len(path) > maxDocPath {
		return fmt.Errorf("%w: document path of %d bytes", ErrInvalid, len(path))
	}
	if b == 0 {
		if s != 0 {
			return fmt.Errorf("%w: cluster document outside slot 0", ErrInvalid)
		}
		return nil
	}
	return requireBucket(r, &Bucket{ID: b, Slot: s})
}

// revision returns a document's present revision, 0 when there is none.
func revision(r Reader, s Slot, b BucketID, path string) (int64, error) {
	v, ok, err := r.Get(docKey(s, b, path))
	if err != nil || !ok {
		return 0, err
	}
	rev, _, err := decodeDoc(v)
	return rev, err
}

// Apply implements Command.
func (c *PutDoc) Apply(tx Tx) error {
	if len(c.Value) > maxDoc {
		return fmt.Errorf("%w: document of %d bytes", ErrInvalid, len(c.Value))
	}
	if err := checkDoc(tx, c.Slot, c.Bucket, c.Path); err != nil {
		return err
	}
	rev, err := revision(tx, c.Slot, c.Bucket, c.Path)
	if err != nil {
		return err
	}
	if c.IfRev >= 0 && c.IfRev != rev {
		return ErrConflict
	}
	c.Rev = rev + 1
	tx.Put(docKey(c.Slot, c.Bucket, c.Path), encodeDoc(c.Rev, c.Value))
	return nil
}

// Apply implements Command.
func (c *DeleteDoc) Apply(tx Tx) error {
	if err := checkDoc(tx, c.Slot, c.Bucket, c.Path); err != nil {
		return err
	}
	rev, err := revision(tx, c.Slot, c.Bucket, c.Path)
	if err != nil {
		return err
	}
	if rev == 0 {
		return ErrNoDoc
	}
	if c.IfRev >= 0 && c.IfRev != rev {
		return ErrConflict
	}
	tx.Delete(docKey(c.Slot, c.Bucket, c.Path))
	return nil
}
