package s3xml

import (
	"strconv"
	"time"
)

// Helpers shared by the encoders. They take and return the buffer, as append.

func open(dst []byte, name string) []byte {
	dst = append(dst, '<')
	dst = append(dst, name...)
	return append(dst, '>')
}

func closeTag(dst []byte, name string) []byte {
	dst = append(dst, '<', '/')
	dst = append(dst, name...)
	return append(dst, '>')
}

// root begins a document.
func root(dst []byte, name string) []byte {
	dst = append(dst, Header...)
	dst = append(dst, '<')
	dst = append(dst, name...)
	return append(dst, ` xmlns="`+Namespace+`">`...)
}

// optional is AppendElement unless text is empty.
func optional(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	return AppendElement(dst, name, text)
}

// encoded is AppendElement, url-encoded if url is set.
func encoded(dst []byte, name, text string, url bool) []byte {
	dst = open(dst, name)
	if url {
		dst = AppendURLEncoded(dst, text)
	} else {
		dst = AppendEscaped(dst, text)
	}
	return closeTag(dst, name)
}

func optionalEncoded(dst []byte, name, text string, url bool) []byte {
	if text == "" {
		return dst
	}
	return encoded(dst, name, text, url)
}

func integer(dst []byte, name string, v int64) []byte {
	dst = open(dst, name)
	dst = strconv.AppendInt(dst, v, 10)
	return closeTag(dst, name)
}

func boolean(dst []byte, name string, v bool) []byte {
	dst = open(dst, name)
	dst = strconv.AppendBool(dst, v)
	return closeTag(dst, name)
}

func instant(dst []byte, name string, t time.Time) []byte {
	dst = open(dst, name)
	dst = AppendTime(dst, t)
	return closeTag(dst, name)
}

// etag writes <ETag>&quot;…&quot;</ETag>; v carries no quotes.
func etag(dst []byte, v string) []byte {
	dst = append(dst, "<ETag>&quot;"...)
	dst = AppendEscaped(dst, v)
	return append(dst, "&quot;</ETag>"...)
}

func encodingType(dst []byte, url bool) []byte {
	if !url {
		return dst
	}
	return append(dst, "<EncodingType>url</EncodingType>"...)
}

// Owner of a bucket, object or upload.
type Owner struct {
	ID          string // always written
	DisplayName string // omitted when empty
}

func owner(dst []byte, name string, o *Owner) []byte {
	if o == nil {
		return dst
	}
	dst = open(dst, name)
	dst = AppendElement(dst, "ID", o.ID)
	dst = optional(dst, "DisplayName", o.DisplayName)
	return closeTag(dst, name)
}

// Checksums are an object's or part's additional checksums, base64, each
// omitted when empty; composite ones end in "-N".
type Checksums struct {
	CRC32     string
	CRC32C    string
	CRC64NVME string
	SHA1      string
	SHA256    string
	Type      string // "COMPOSITE" or "FULL_OBJECT"
}

func checksums(dst []byte, c *Checksums) []byte {
	dst = optional(dst, "ChecksumCRC32", c.CRC32)
	dst = optional(dst, "ChecksumCRC32C", c.CRC32C)
	dst = optional(dst, "ChecksumCRC64NVME", c.CRC64NVME)
	dst = optional(dst, "ChecksumSHA1", c.SHA1)
	dst = optional(dst, "ChecksumSHA256", c.SHA256)
	return optional(dst, "ChecksumType", c.Type)
}
