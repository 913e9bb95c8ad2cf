package s3fast

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// Storage classes (Amazon S3 User Guide, "Understanding and managing Amazon S3
// storage classes"). Only those that say how well an object is protected against
// failures mean something here: the others promise a price or a delay, and are
// refused (InvalidStorageClass). Objects of class STANDARD are recorded without a
// class.
const (
	storageStandard = "STANDARD"
	storageReduced  = "REDUCED_REDUNDANCY"

	storageClassHeader = "x-amz-storage-class"
)

// docParity is the document of a bucket that has a parity of its own: the number
// of drives that may fail, one decimal digit, 0 to layout.MaxParity. It is no
// matter of access: one that cannot be read does not close the bucket, whose
// objects then get the cluster's parity.
const docParity = "parity"

// ErrBadParity: not a bucket's parity.
var ErrBadParity = fmt.Errorf("s3fast: a bucket's parity is 0 to %d", layout.MaxParity)

// checkStorageClass judges the class that a request asks for.
func checkStorageClass(value string) error {
	if value != storageStandard && value != storageReduced {
		return s3err.InvalidStorageClass.With("StorageClassRequested", value)
	}
	return nil
}

// storageClass is the class to be recorded of a new object: the one the request
// asks for, which refuseUnbuilt has judged.
func (r *request) storageClass() string {
	class, _ := r.headers.get(storageClassHeader)
	class = strings.TrimSpace(class)
	if class == storageStandard {
		return ""
	}
	return class
}

// shownClass is what listings tell of a recorded class.
func shownClass(class string) string {
	if class == "" {
		return storageStandard
	}
	return class
}

// parityOf is the parity, as engine.PutRequest has it, of what is now written as
// an object of the class.
func (r *request) parityOf(class string) (int, error) {
	set, err := r.s.settingsOf(r.context(), &r.b)
	if err != nil {
		return 0, err
	}
	if class != storageReduced {
		return set.parity, nil
	}
	all := set.parity
	if all == engine.ParityDefault {
		all, _ = r.s.cfg.Engine.Protection()
	}
	return reducedParity(set.parity, all), nil
}

// reducedParity is what class REDUCED_REDUNDANCY makes of a parity of all drives
// that standard asks for: one less, but not the last one.
func reducedParity(standard, all int) int {
	if all <= 1 {
		return standard
	}
	return all - 1
}

// decodeParity reads the document docParity into a parity of the engine.
func decodeParity(value []byte) (int, error) {
	if len(value) != 1 || value[0] < '0' || value[0] > '0'+layout.MaxParity {
		return engine.ParityDefault, ErrBadParity
	}
	if value[0] == '0' {
		return engine.ParityNone, nil
	}
	return int(value[0] - '0'), nil
}

// CheckParityDocument judges the document of a bucket's parity. ErrBadParity.
func CheckParityDocument(value []byte) error {
	_, err := decodeParity(value)
	return err
}

// BucketParity returns the parity of a bucket's new objects: engine.ParityDefault,
// engine.ParityNone, or a number. ErrBadParity when what is stored cannot be read.
func (s *Server) BucketParity(ctx context.Context, bucket string) (int, error) {
	if _, err := s.cfg.Engine.Bucket(ctx, bucket); err != nil {
		return 0, err
	}
	doc, err := s.cfg.Engine.Docs(bucket).Get(ctx, docParity)
	switch {
	case engine.KindOf(err) == engine.NoDoc:
		return engine.ParityDefault, nil
	case err != nil:
		return 0, err
	}
	return decodeParity(doc.Value)
}

// SetBucketParity changes the parity of a bucket's new objects, given as
// BucketParity returns it. What is there stays as it is. ErrBadParity.
func (s *Server) SetBucketParity(ctx context.Context, bucket string, parity int) error {
	b, err := s.cfg.Engine.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	var value []byte
	switch {
	case parity == engine.ParityDefault:
	case parity == engine.ParityNone:
		value = []byte{'0'}
	case parity > 0 && parity <= layout.MaxParity:
		value = []byte{'0' + byte(parity)}
	default:
		return ErrBadParity
	}
	return s.changeSetting(ctx, &b, docParity, value)
}
