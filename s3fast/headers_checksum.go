package s3fast

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// Checksum types (Amazon S3 User Guide, "Checking object integrity").
const (
	typeFullObject = "FULL_OBJECT"
	typeComposite  = "COMPOSITE"
)

// defaultChecksum is what S3 computes of an object whose client asked for none.
const defaultChecksum = checksum.CRC64NVME

// bodyClaim is what the headers of a request claim about its body. Header and
// trailer never both name an algorithm.
type bodyClaim struct {
	md5       []byte             // Content-MD5: 16 bytes, or nil
	algorithm checksum.Algorithm // of x-amz-checksum-<algorithm> or x-amz-trailer; None: neither
	value     []byte             // raw digest; nil when it comes in the trailer
	parts     int                // N of a value "<base64>-N", as CompleteMultipartUpload carries; else 0
	trailer   string             // x-amz-trailer, lower-case, or ""
}

// parseBodyClaim reads Content-MD5, x-amz-checksum-*, x-amz-sdk-checksum-algorithm
// and x-amz-trailer. A completion's x-amz-checksum-* are left to wholeClaim: they
// are the object's. Errors: InvalidDigest, InvalidRequest.
func parseBodyClaim(r *request) (c bodyClaim, err error) {
	if v, ok := r.headers.get("content-md5"); ok {
		if c.md5, err = parseContentMD5(v); err != nil {
			return bodyClaim{}, err
		}
	}
	if r.op != nil && r.op.name == "CompleteMultipartUpload" {
		return c, c.addTrailer(r.header("x-amz-trailer"))
	}
	for i := range r.headers.list {
		if err := c.addHeader(r.headers.list[i].name, r.headers.list[i].value); err != nil {
			return bodyClaim{}, err
		}
	}
	if c.parts != 0 {
		return bodyClaim{}, invalidChecksum(c.algorithm)
	}
	if err := c.addTrailer(r.header("x-amz-trailer")); err != nil {
		return bodyClaim{}, err
	}
	return c, c.checkSDK(r.header("x-amz-sdk-checksum-algorithm"))
}

func parseContentMD5(v string) ([]byte, error) {
	sum, err := base64.StdEncoding.Strict().DecodeString(v)
	if err != nil || len(sum) != 16 {
		return nil, s3err.InvalidDigest.With("Content-MD5", v)
	}
	return sum, nil
}

const checksumPrefix = "x-amz-checksum-"

// addHeader takes one header of the request, name in lower case; most are of no
// concern.
func (c *bodyClaim) addHeader(name, value string) error {
	suffix, ok := strings.CutPrefix(name, checksumPrefix)
	if !ok {
		return nil
	}
	switch suffix {
	case "mode", "type", "algorithm":
		return nil
	}
	alg, ok := checksum.Parse(suffix)
	if !ok {
		return s3err.InvalidRequest.Say("The checksum header " + checksumPrefix + suffix + " is not supported.")
	}
	if c.algorithm != checksum.None {
		return s3err.InvalidRequest.Say("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	sum, parts, ok := parseChecksum(alg, value)
	if !ok {
		return invalidChecksum(alg)
	}
	c.algorithm, c.value, c.parts = alg, sum, parts
	return nil
}

// parseChecksum decodes "<base64>" or, for composite checksums, "<base64>-N".
func parseChecksum(alg checksum.Algorithm, v string) (sum []byte, parts int, ok bool) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		n, err := strconv.ParseUint(v[i+1:], 10, 16)
		if err != nil || n == 0 {
			return nil, 0, false
		}
		v, parts = v[:i], int(n)
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(v)
	if err != nil || len(sum) != alg.Size() {
		return nil, 0, false
	}
	return sum, parts, true
}

func (c *bodyClaim) addTrailer(v string) error {
	if v == "" {
		return nil
	}
	name := strings.ToLower(strings.TrimSpace(v))
	suffix, found := strings.CutPrefix(name, checksumPrefix)
	alg, ok := checksum.Parse(suffix)
	if !found || !ok {
		return s3err.InvalidRequest.Say("The value specified in the x-amz-trailer header is not supported")
	}
	if c.algorithm != checksum.None {
		return s3err.InvalidRequest.Say("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	c.algorithm, c.trailer = alg, name
	return nil
}

// checkSDK holds x-amz-sdk-checksum-algorithm against what the request carries.
func (c *bodyClaim) checkSDK(v string) error {
	if v == "" {
		return nil
	}
	alg, ok := checksum.Parse(v)
	switch {
	case !ok:
		return unknownAlgorithm()
	case c.algorithm == checksum.None && c.md5 != nil:
		// Clients that sign with Content-MD5 instead of the checksum they name.
		return nil
	case c.algorithm == checksum.None:
		return s3err.InvalidRequest.Say("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case c.algorithm != alg:
		return s3err.InvalidRequest.Say("Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return nil
}

func invalidChecksum(alg checksum.Algorithm) error {
	return s3err.InvalidRequest.Say("Value for " + alg.Header() + " header is invalid.")
}

func unknownAlgorithm() error {
	return s3err.InvalidRequest.Say("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
}

// declaredChecksum reads x-amz-checksum-algorithm and x-amz-checksum-type of
// CreateMultipartUpload. Without an algorithm both results are zero. The
// defaults and combinations are those of S3's table ("Checking object
// integrity", "Using full object and composite checksums").
func declaredChecksum(algorithm, kind string) (checksum.Algorithm, string, error) {
	if algorithm == "" {
		if kind != "" {
			return 0, "", s3err.InvalidRequest.Say("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return checksum.None, "", nil
	}
	alg, ok := checksum.Parse(algorithm)
	if !ok {
		return 0, "", unknownAlgorithm()
	}
	switch kind = strings.ToUpper(kind); kind {
	case "":
		if alg.Composite() {
			return alg, typeComposite, nil
		}
		return alg, typeFullObject, nil
	case typeComposite, typeFullObject:
	default:
		return 0, "", s3err.InvalidRequest.Say("Value for x-amz-checksum-type header is invalid.")
	}
	if kind == typeComposite && !alg.Composite() || kind == typeFullObject && !alg.FullObject() {
		return 0, "", s3err.InvalidRequest.Say("The " + kind + " checksum type cannot be used with the " + strings.ToLower(alg.String()) + " checksum algorithm.")
	}
	return alg, kind, nil
}

// checksumText renders a stored checksum: base64, with "-N" when it is the
// composite of N parts.
func checksumText(sum meta.Checksum, parts int32) string {
	return string(appendChecksum(nil, sum, parts))
}

func appendChecksum(dst []byte, sum meta.Checksum, parts int32) []byte {
	if len(sum.Value) == 0 {
		return dst
	}
	dst = base64.StdEncoding.AppendEncode(dst, sum.Value)
	if sum.Type == typeComposite && parts > 0 {
		dst = strconv.AppendInt(append(dst, '-'), int64(parts), 10)
	}
	return dst
}

// xmlChecksums renders a stored checksum for a response document.
func xmlChecksums(sum meta.Checksum, parts int32) (x s3xml.Checksums) {
	text := checksumText(sum, parts)
	if text == "" {
		return x
	}
	switch alg, _ := checksum.Parse(sum.Algorithm); alg {
	case checksum.CRC32:
		x.CRC32 = text
	case checksum.CRC32C:
		x.CRC32C = text
	case checksum.CRC64NVME:
		x.CRC64NVME = text
	case checksum.SHA1:
		x.SHA1 = text
	case checksum.SHA256:
		x.SHA256 = text
	}
	x.Type = sum.Type
	return x
}

// setChecksum answers with a stored checksum, if there is one.
func (r *request) setChecksum(sum meta.Checksum, parts int32) {
	alg, ok := checksum.Parse(sum.Algorithm)
	if !ok || len(sum.Value) == 0 {
		return
	}
	var buf [64]byte
	r.ctx.Response.Header.SetCanonical([]byte(alg.Header()), appendChecksum(buf[:0], sum, parts))
	if sum.Type != "" {
		r.set("x-amz-checksum-type", sum.Type)
	}
}
