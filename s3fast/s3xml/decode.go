package s3xml

import (
	"strconv"
	"strings"
	"time"
)

// Limits of request documents. The sizes leave room for every character of the
// longest names written as a reference.
const (
	MaxParts    = 10000 // parts of CompleteMultipartUpload
	MaxDeletes  = 1000  // keys of DeleteObjects
	MaxTags     = 50    // tags of a bucket (an object: 10, for the caller to check)
	MaxComplete = 8 << 20
	MaxDelete   = 16 << 20
	MaxTagging  = 256 << 10
	MaxCreate   = 64 << 10
	textMax     = 16 << 10 // bytes of any one element's text
	shortMax    = 256      // of numbers, times, checksums
)

// CompletedPart is a part named by CompleteMultipartUpload. Checksums.Type is
// never set.
type CompletedPart struct {
	PartNumber int    // 0…2³¹-1: the caller checks the range
	ETag       string // quotes cut off
	Checksums  Checksums
	// OtherChecksum is the element name of a checksum that Checksums has no
	// field for ("ChecksumSHA512"), or "".
	OtherChecksum string
}

// DecodeCompleteMultipartUpload decodes a CompleteMultipartUpload document of
// 1…MaxParts parts, in the order of the document, which the caller checks.
// ErrMalformed.
func DecodeCompleteMultipartUpload(body []byte) ([]CompletedPart, error) {
	var parts []CompletedPart
	err := document(body, MaxComplete, "CompleteMultipartUpload", func(p *parser) error {
		return p.children(func(name string) error {
			if name != "Part" {
				return malformed("unexpected element")
			}
			if len(parts) == MaxParts {
				return malformed("more than %d parts", MaxParts)
			}
			part, err := p.completedPart()
			parts = append(parts, part)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, malformed("no parts")
	}
	return parts, nil
}

func (p *parser) completedPart() (CompletedPart, error) {
	var part CompletedPart
	var number string
	seen := seenSet{}
	err := p.children(func(name string) error {
		if err := seen.add(name); err != nil {
			return err
		}
		text, err := p.text(shortMax)
		if err != nil {
			return err
		}
		text = strings.TrimSpace(text)
		switch name {
		case "PartNumber":
			number = text
		case "ETag":
			part.ETag = unquote(text)
		case "ChecksumCRC32":
			part.Checksums.CRC32 = text
		case "ChecksumCRC32C":
			part.Checksums.CRC32C = text
		case "ChecksumCRC64NVME":
			part.Checksums.CRC64NVME = text
		case "ChecksumSHA1":
			part.Checksums.SHA1 = text
		case "ChecksumSHA256":
			part.Checksums.SHA256 = text
		case "ChecksumSHA512", "ChecksumMD5", "ChecksumXXHASH64", "ChecksumXXHASH3", "ChecksumXXHASH128":
			part.OtherChecksum = name
		default:
			return malformed("unexpected element in Part")
		}
		return nil
	})
	if err != nil {
		return part, err
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return part, malformed("PartNumber missing or not a number")
	}
	if part.ETag == "" {
		return part, malformed("Part without ETag")
	}
	part.PartNumber = int(n)
	return part, nil
}

// unquote cuts off the quotes of an entity tag.
func unquote(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}

// seenSet notices an element given twice.
type seenSet map[string]bool

func (s seenSet) add(name string) error {
	if s[name] {
		return malformed("element repeated")
	}
	if len(s) == 16 {
		return malformed("too many elements")
	}
	s[name] = true
	return nil
}

// DeleteObject is an object named by DeleteObjects, with its conditions.
type DeleteObject struct {
	Key          string // not empty; the caller checks its length
	VersionID    string // "" when absent
	ETag         string // If-Match condition, quotes cut off, may be "*"; "" when absent
	LastModified time.Time
	Size         int64 // bytes; valid if HasSize
	HasSize      bool
	HasModified  bool // LastModified is valid
}

// Delete is a DeleteObjects request.
type Delete struct {
	Quiet   bool
	Objects []DeleteObject
}

// DecodeDelete decodes a Delete document of 1…MaxDeletes objects. Keys may hold
// any character: control characters come as references or as they are.
// ErrMalformed.
func DecodeDelete(body []byte) (*Delete, error) {
	d := &Delete{}
	quiet := false
	err := document(body, MaxDelete, "Delete", func(p *parser) error {
		return p.children(func(name string) error {
			switch {
			case name == "Quiet" && !quiet:
				quiet = true
				return p.boolean(&d.Quiet)
			case name == "Object" && len(d.Objects) < MaxDeletes:
				o, err := p.deleteObject()
				d.Objects = append(d.Objects, o)
				return err
			case name == "Object":
				return malformed("more than %d objects", MaxDeletes)
			}
			return malformed("unexpected element in Delete")
		})
	})
	if err != nil {
		return nil, err
	}
	if len(d.Objects) == 0 {
		return nil, malformed("no objects")
	}
	return d, nil
}

func (p *parser) boolean(v *bool) error {
	text, err := p.text(shortMax)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1":
		*v = true
	case "false", "0", "":
		*v = false
	default:
		return malformed("not a boolean")
	}
	return nil
}

func (p *parser) deleteObject() (DeleteObject, error) {
	var o DeleteObject
	seen := seenSet{}
	err := p.children(func(name string) error {
		if err := seen.add(name); err != nil {
			return err
		}
		text, err := p.text(textMax)
		if err != nil {
			return err
		}
		switch name {
		case "Key":
			o.Key = text
		case "VersionId":
			o.VersionID = strings.TrimSpace(text)
		case "ETag":
			o.ETag = unquote(strings.TrimSpace(text))
		case "Size":
			size, err := strconv.ParseUint(strings.TrimSpace(text), 10, 63)
			if err != nil {
				return malformed("Size is not a number")
			}
			o.Size, o.HasSize = int64(size), true
		case "LastModifiedTime":
			o.LastModified, o.HasModified = parseTime(strings.TrimSpace(text))
			if !o.HasModified {
				return malformed("LastModifiedTime is not a time")
			}
		default:
			return malformed("unexpected element in Object")
		}
		return nil
	})
	if err == nil && o.Key == "" {
		err = malformed("Object without Key")
	}
	return o, err
}

// parseTime accepts the HTTP date that SDKs send and the ISO 8601 of the API
// Reference.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC1123Z, time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// CreateBucket is a CreateBucketConfiguration. The flags tell of elements that
// ask for things beyond LocationConstraint, for the caller to refuse.
type CreateBucket struct {
	LocationConstraint string // "" when absent
	HasLocation        bool   // Location: directory buckets
	HasBucket          bool   // Bucket: directory buckets
	Tags               []Tag
}

// DecodeCreateBucket decodes a CreateBucketConfiguration document. (A request
// without a body has none.) ErrMalformed.
func DecodeCreateBucket(body []byte) (*CreateBucket, error) {
	c := &CreateBucket{}
	err := document(body, MaxCreate, "CreateBucketConfiguration", func(p *parser) error {
		seen := seenSet{}
		return p.children(func(name string) error {
			if err := seen.add(name); err != nil {
				return err
			}
			var err error
			switch name {
			case "LocationConstraint":
				c.LocationConstraint, err = p.text(shortMax)
				c.LocationConstraint = strings.TrimSpace(c.LocationConstraint)
			case "Location":
				c.HasLocation = true
				err = p.nameAndType()
			case "Bucket":
				c.HasBucket = true
				err = p.nameAndType()
			case "Tags":
				c.Tags, err = p.tags()
			default:
				err = malformed("unexpected element in CreateBucketConfiguration")
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// nameAndType reads the flat content of Location and Bucket.
func (p *parser) nameAndType() error {
	return p.children(func(string) error {
		_, err := p.text(shortMax)
		return err
	})
}

// DecodeTagging decodes a Tagging document of 0…MaxTags tags. Lengths,
// characters and doublets are for the caller to check (InvalidTag).
// ErrMalformed.
func DecodeTagging(body []byte) ([]Tag, error) {
	var tags []Tag
	found := false
	err := document(body, MaxTagging, "Tagging", func(p *parser) error {
		return p.children(func(name string) error {
			if name != "TagSet" || found {
				return malformed("unexpected element in Tagging")
			}
			found = true
			var err error
			tags, err = p.tags()
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, malformed("no TagSet")
	}
	return tags, nil
}

// tags reads a list of Tag elements.
func (p *parser) tags() ([]Tag, error) {
	var tags []Tag
	err := p.children(func(name string) error {
		if name != "Tag" {
			return malformed("unexpected element in TagSet")
		}
		if len(tags) == MaxTags {
			return malformed("more than %d tags", MaxTags)
		}
		var tag Tag
		seen := seenSet{}
		err := p.children(func(name string) error {
			if err := seen.add(name); err != nil {
				return err
			}
			var err error
			switch name {
			case "Key":
				tag.Key, err = p.text(textMax)
			case "Value":
				tag.Value, err = p.text(textMax)
			default:
				err = malformed("unexpected element in Tag")
			}
			return err
		})
		if err == nil && (!seen["Key"] || !seen["Value"]) {
			err = malformed("Tag without Key or Value")
		}
		tags = append(tags, tag)
		return err
	})
	return tags, err
}
