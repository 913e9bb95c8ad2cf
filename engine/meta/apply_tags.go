package meta

import "fmt"

// maxTags bounds the tags of an object (Amazon S3 User Guide, "Categorizing your
// objects using tags"); maxTagBytes their names and values together: 10 of 128
// and 256 characters of at most four bytes each.
const (
	maxTags     = 10
	maxTagBytes = maxTags * (128 + 256) * 4
)

// SetTags replaces the tags of the current version of a key; everything else of
// its record stays, the time of modification too. Version names the version that
// the caller has looked at and was allowed to change: ErrConflict when another
// one has taken its place; the zero Version means whichever is current. Errors:
// ErrNoBucket, ErrNoObject, ErrConflict, ErrInvalid.
type SetTags struct {
	Bucket  Bucket
	Key     string
	Version Version
	Tags    []Header // none: the object has no tags any more
	Result  Object   // the record as it is now
}

// Apply implements Command.
func (c *SetTags) Apply(tx Tx) error {
	if err := checkKey(c.Key); err != nil {
		return err
	}
	if err := checkTags(c.Tags); err != nil {
		return err
	}
	if err := requireBucket(tx, &c.Bucket); err != nil {
		return err
	}
	cur, err := loadCurrent(tx, &c.Bucket, c.Key)
	if err != nil {
		return err
	}
	if !cur.exists {
		return ErrNoObject
	}
	if c.Version != (Version{}) && c.Version != cur.Version {
		return ErrConflict
	}
	o := cur.Object
	if o.Tags = c.Tags; len(o.Tags) == 0 {
		o.Tags = nil // as it will be decoded
	}
	c.Result = o
	head, record := headKey(&c.Bucket, c.Key), objectKey(&c.Bucket, c.Key, o.Version)
	full := encodeObject(&o)
	if len(full) > maxHead {
		tx.Put(record, full)
		tx.Put(head, encodePointer(&o))
		return nil
	}
	if !cur.full {
		tx.Delete(record)
	}
	tx.Put(head, full)
	return nil
}

func checkTags(tags []Header) error {
	size := 0
	for i := range tags {
		size += len(tags[i].Name) + len(tags[i].Value)
	}
	if len(tags) > maxTags || size > maxTagBytes {
		return fmt.Errorf("%w: %d tags of %d bytes", ErrInvalid, len(tags), size)
	}
	return nil
}
