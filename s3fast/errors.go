package s3fast

import (
	"errors"
	"io"
	"net"
	"os"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/body"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// s3Error turns any error of a request into the S3 error to be answered. What
// the client sent (signature, body) is looked for first, below whatever the
// engine wrapped it in.
func s3Error(err error) *s3err.Error {
	var e *s3err.Error
	if errors.As(err, &e) {
		return e
	}
	for _, m := range clientErrors {
		if errors.Is(err, m.err) {
			e := m.code.Because(err)
			e.Message = m.message
			return e
		}
	}
	if isTimeout(err) {
		return s3err.RequestTimeout.Because(err)
	}
	var ee *engine.Error
	if errors.As(err, &ee) {
		return engineError(ee)
	}
	if endsEarly(err) {
		return s3err.IncompleteBody.Because(err)
	}
	return s3err.InternalError.Because(err)
}

// isTimeout tells a peer that stalled.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// endsEarly tells a request that was cut short.
func endsEarly(err error) bool {
	var broken fasthttp.ErrBrokenChunk
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.As(err, &broken)
}

// clientErrors maps the sentinels of the leaves. It is never changed.
var clientErrors = []struct {
	err     error
	code    *s3err.Code
	message string // "": the code's own
}{
	{sigv4.ErrMissing, s3err.AccessDenied, ""},
	{sigv4.ErrMalformedAuth, s3err.AuthorizationHeaderMalformed, ""},
	{sigv4.ErrMalformedQuery, s3err.AuthorizationQueryParametersError, ""},
	{sigv4.ErrBothForms, s3err.InvalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"},
	{sigv4.ErrUnknownKey, s3err.InvalidAccessKeyID, ""},
	{sigv4.ErrMismatch, s3err.SignatureDoesNotMatch, ""},
	{sigv4.ErrSkewed, s3err.RequestTimeTooSkewed, ""},
	{sigv4.ErrExpired, s3err.AccessDenied, "Request has expired"},
	{sigv4.ErrNotYetValid, s3err.AccessDenied, "Request is not valid yet"},
	{sigv4.ErrMissingDate, s3err.AccessDenied, "AWS authentication requires a valid Date or x-amz-date header"},
	{sigv4.ErrUnsignedHeaders, s3err.AccessDenied, "There were headers present in the request which were not signed"},
	{sigv4.ErrBadRegion, s3err.AuthorizationHeaderMalformed, "The authorization header is malformed; the region or service is wrong"},
	{sigv4.ErrMissingPayloadHash, s3err.InvalidRequest, "Missing required header for this request: x-amz-content-sha256"},
	{sigv4.ErrBadPayloadHash, s3err.InvalidArgument, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."},
	{sigv4.ErrUnsupported, s3err.InvalidRequest, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."},
	{sigv4.ErrPayloadMismatch, s3err.XAmzContentSHA256Mismatch, ""},
	{sigv4.ErrChunkSignature, s3err.SignatureDoesNotMatch, ""},

	{iam.ErrBadToken, s3err.InvalidToken, ""},
	{iam.ErrExpiredToken, s3err.ExpiredToken, ""},

	{body.ErrTimeout, s3err.RequestTimeout, ""},
	{body.ErrIncomplete, s3err.IncompleteBody, ""},
	{body.ErrTooLong, s3err.IncompleteBody, "The request body is longer than declared."},
	{body.ErrFraming, s3err.InvalidRequest, "The body's chunk framing is malformed."},
	{body.ErrChunkTooBig, s3err.InvalidChunkSize, "A chunk is larger than this server accepts."},
	{body.ErrContentMD5, s3err.BadDigest, ""},
	{body.ErrChecksum, s3err.BadDigest, "The checksum you specified did not match the calculated checksum."},
	{body.ErrBadTrailer, s3err.MalformedTrailer, ""},

	{s3xml.ErrMalformed, s3err.MalformedXML, ""},

	// API Reference, GetObject, UploadPart.
	{errKeyNeeded, s3err.InvalidRequest, "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."},
	{errKeyUnused, s3err.InvalidRequest, "The encryption parameters are not applicable to this object."},
	{errWrongKey, s3err.AccessDenied, ""},
	{errPartNeeds, s3err.InvalidRequest, "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."},
	{errPartPlain, s3err.InvalidRequest, "The multipart upload initiate did not request encryption. Please resend the request without sending encryption parameters."},
	{errPartWrong, s3err.InvalidRequest, "The provided encryption parameters did not match the ones used originally."},
	{errNoKeys, s3err.KMSNotFound, "Server side encryption needs key management, and none is configured."},
}

// engineError maps the engine's kinds.
func engineError(e *engine.Error) *s3err.Error {
	code := s3err.InternalError
	switch e.Kind {
	case engine.NoBucket:
		code = s3err.NoSuchBucket
	case engine.BucketExists:
		code = s3err.BucketAlreadyOwnedByYou
	case engine.BucketNotEmpty:
		code = s3err.BucketNotEmpty
	case engine.NoObject:
		code = s3err.NoSuchKey
	case engine.NoUpload:
		code = s3err.NoSuchUpload
	case engine.InvalidPart:
		code = s3err.InvalidPart
	case engine.PartOrder:
		code = s3err.InvalidPartOrder
	case engine.PartTooSmall:
		code = s3err.EntityTooSmall
	case engine.PreconditionFailed:
		code = s3err.PreconditionFailed
	case engine.Conflict:
		code = s3err.ConditionalRequestConflict
	case engine.InvalidRange:
		code = s3err.InvalidRange
	case engine.NoSpace:
		code = s3err.InsufficientStorage
	case engine.Unavailable:
		code = s3err.ServiceUnavailable
	case engine.ShortBody:
		code = s3err.IncompleteBody
	case engine.BadBody:
		if endsEarly(e.Err) {
			code = s3err.IncompleteBody
		} else {
			code = s3err.InvalidRequest
		}
	case engine.InvalidName:
		code = s3err.InvalidArgument
	case engine.Locked:
		return s3Error(errKeyNeeded)
	case engine.KindInternal, engine.Corrupt, engine.UnknownOutcome, engine.NoDoc:
	}
	return code.Because(e)
}
