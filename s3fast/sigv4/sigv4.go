package sigv4

import (
	"errors"
	"time"
)

// Errors; each maps to one S3 error code.
var (
	ErrMissing            = errors.New("sigv4: request carries no signature")           // anonymous: AccessDenied
	ErrMalformedAuth      = errors.New("sigv4: malformed Authorization header")         // AuthorizationHeaderMalformed 400
	ErrMalformedQuery     = errors.New("sigv4: malformed query authentication")         // AuthorizationQueryParametersError 400
	ErrBothForms          = errors.New("sigv4: signature in header and query")          // InvalidArgument 400
	ErrUnknownKey         = errors.New("sigv4: unknown access key")                     // InvalidAccessKeyId 403
	ErrMismatch           = errors.New("sigv4: signature does not match")               // SignatureDoesNotMatch 403
	ErrSkewed             = errors.New("sigv4: request time too skewed")                // RequestTimeTooSkewed 403
	ErrExpired            = errors.New("sigv4: request has expired")                    // AccessDenied 403 "Request has expired"
	ErrNotYetValid        = errors.New("sigv4: request is not valid yet")               // AccessDenied 403
	ErrMissingDate        = errors.New("sigv4: no valid x-amz-date or Date")            // AccessDenied 403
	ErrUnsignedHeaders    = errors.New("sigv4: header present but not signed")          // AccessDenied 403 "There were headers present in the request which were not signed"
	ErrBadRegion          = errors.New("sigv4: scope names another region")             // AuthorizationHeaderMalformed 400
	ErrMissingPayloadHash = errors.New("sigv4: x-amz-content-sha256 missing")           // InvalidRequest 400
	ErrBadPayloadHash     = errors.New("sigv4: x-amz-content-sha256 not valid")         // InvalidArgument 400
	ErrUnsupported        = errors.New("sigv4: signature version or algorithm unknown") // InvalidRequest 400
	ErrPayloadMismatch    = errors.New("sigv4: payload hash does not match")            // XAmzContentSHA256Mismatch 400
	ErrChunkSignature     = errors.New("sigv4: chunk signature does not match")         // SignatureDoesNotMatch 403
)

// Request is the view of an HTTP request that verification needs. Path and
// Query are exactly as they came over the wire. The strings need to live only
// as long as the call they are passed to: a Result holds copies.
type Request interface {
	Method() string
	RawPath() string                     // undecoded path, beginning with "/"
	RawQuery() string                    // undecoded query, without "?"
	Host() string                        // the Host header
	Header(name string) string           // first value, lower-case name
	Headers(fn func(name, value string)) // all, lower-case names, in wire order, repeated ones repeatedly
}

// Payload says how the body is protected.
type Payload uint8

// Payload forms, by the value of x-amz-content-sha256.
const (
	Unsigned                 Payload = iota // UNSIGNED-PAYLOAD
	SHA256                                  // a hex digest: the body must match Result.Hash
	Streaming                               // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
	StreamingTrailer                        // STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
	StreamingUnsignedTrailer                // STREAMING-UNSIGNED-PAYLOAD-TRAILER
)

// Result of a verification.
type Result struct {
	AccessKey    string
	Presigned    bool
	Payload      Payload
	Hash         [32]byte  // for SHA256
	Time         time.Time // the request's own time
	Scope        string    // "20130524/us-east-1/s3/aws4_request"
	Seed         [32]byte  // the request's signature: previous signature of the first chunk
	Key          [32]byte  // signing key, for chunk signatures
	SessionToken string    // x-amz-security-token, if any
}

// Verifier verifies requests. It is safe for concurrent use.
type Verifier struct {
	// Secret returns the secret key of an access key; ok is false when there
	// is none. The time it takes must not tell more than that.
	Secret func(accessKey string) (secret string, ok bool)
	// Region that scopes must name; "" accepts any. "us-east-1" is accepted
	// always, for clients that were told no region.
	Region string
	// Service that scopes must name: "s3".
	Service string
	// Skew is the largest difference of clocks; 0: 15 minutes.
	Skew time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	keys keyCache
}
