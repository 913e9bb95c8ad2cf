package s3xml

import "time"

// Bucket is one entry of ListBuckets.
type Bucket struct {
	Name         string
	CreationDate time.Time
	Region       string // BucketRegion; omitted when empty
}

// ListBuckets answers ListBuckets.
type ListBuckets struct {
	Owner             Owner
	Buckets           []Bucket
	ContinuationToken string // of the next page; omitted when empty
	Prefix            string // omitted when empty
}

// AppendListBuckets encodes a ListAllMyBucketsResult (API Reference, ListBuckets).
func AppendListBuckets(dst []byte, l *ListBuckets) []byte {
	dst = root(dst, "ListAllMyBucketsResult")
	dst = owner(dst, "Owner", &l.Owner)
	dst = append(dst, "<Buckets>"...)
	for i := range l.Buckets {
		b := &l.Buckets[i]
		dst = append(dst, "<Bucket>"...)
		dst = AppendElement(dst, "Name", b.Name)
		dst = instant(dst, "CreationDate", b.CreationDate)
		dst = optional(dst, "BucketRegion", b.Region)
		dst = append(dst, "</Bucket>"...)
	}
	dst = append(dst, "</Buckets>"...)
	dst = optional(dst, "ContinuationToken", l.ContinuationToken)
	dst = optional(dst, "Prefix", l.Prefix)
	return append(dst, "</ListAllMyBucketsResult>"...)
}

// AppendLocation encodes a LocationConstraint (API Reference,
// GetBucketLocation). us-east-1 is written empty, as S3 does.
func AppendLocation(dst []byte, region string) []byte {
	dst = root(dst, "LocationConstraint")
	if region != "us-east-1" {
		dst = AppendEscaped(dst, region)
	}
	return append(dst, "</LocationConstraint>"...)
}

// AppendVersioning encodes a VersioningConfiguration (API Reference,
// GetBucketVersioning). status is "Enabled", "Suspended", or "" for a bucket
// that never was versioned, which leaves Status out.
func AppendVersioning(dst []byte, status string) []byte {
	dst = root(dst, "VersioningConfiguration")
	dst = optional(dst, "Status", status)
	return append(dst, "</VersioningConfiguration>"...)
}

// Tag of a bucket or object.
type Tag struct{ Key, Value string }

// AppendTagging encodes a Tagging document (API Reference, GetObjectTagging).
func AppendTagging(dst []byte, tags []Tag) []byte {
	dst = root(dst, "Tagging")
	dst = append(dst, "<TagSet>"...)
	for i := range tags {
		dst = append(dst, "<Tag>"...)
		dst = AppendElement(dst, "Key", tags[i].Key)
		dst = AppendElement(dst, "Value", tags[i].Value)
		dst = append(dst, "</Tag>"...)
	}
	return append(dst, "</TagSet></Tagging>"...)
}

// AppendOwnerACL encodes the one AccessControlPolicy there is where ACLs are
// not in use: the owner has full control (API Reference, GetBucketAcl).
func AppendOwnerACL(dst []byte, o *Owner) []byte {
	dst = root(dst, "AccessControlPolicy")
	dst = owner(dst, "Owner", o)
	dst = append(dst, `<AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`...)
	dst = AppendElement(dst, "ID", o.ID)
	dst = optional(dst, "DisplayName", o.DisplayName)
	return append(dst, "</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"...)
}
