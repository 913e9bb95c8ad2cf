package s3fast

import (
	"errors"

	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/oidc"
	"github.com/sluicehq/sluice/s3fast/policy"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// The errors of STS (AWS STS API Reference, "Common Errors", and those of its
// actions). None is ever changed.
var (
	stsDenied          = &s3err.Code{Code: "AccessDenied", Status: 403, Message: "Access denied."}
	stsExpiredIdentity = &s3err.Code{Code: "ExpiredTokenException", Status: 400, Message: "The web identity token has expired."}
	stsExpired         = &s3err.Code{Code: "ExpiredToken", Status: 403, Message: "The security token included in the request is expired"}
	stsFailure         = &s3err.Code{Code: "InternalFailure", Status: 500, Message: "The request processing has failed because of an unknown error, exception or failure."}
	stsIDP             = &s3err.Code{Code: "IDPCommunicationError", Status: 400, Message: "The identity provider could not be reached to verify the token. Try again."}
	stsIncomplete      = &s3err.Code{Code: "IncompleteSignature", Status: 400, Message: "The request signature does not conform to AWS standards."}
	stsInvalidAction   = &s3err.Code{Code: "InvalidAction", Status: 400, Message: "The action or operation requested is invalid."}
	stsInvalidIdentity = &s3err.Code{Code: "InvalidIdentityToken", Status: 400, Message: "The web identity token that was passed could not be validated."}
	stsInvalidKey      = &s3err.Code{Code: "InvalidClientTokenId", Status: 403, Message: "The security token included in the request is invalid."}
	stsMalformed       = &s3err.Code{Code: "MalformedPolicyDocument", Status: 400, Message: "The policy document is malformed."}
	stsMismatch        = &s3err.Code{Code: "SignatureDoesNotMatch", Status: 403, Message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."}
	stsMissingAction   = &s3err.Code{Code: "MissingAction", Status: 400, Message: "The request is missing an action or a required parameter."}
	stsMissingToken    = &s3err.Code{Code: "MissingAuthenticationToken", Status: 403, Message: "Request is missing Authentication Token"}
	stsPackedPolicy    = &s3err.Code{Code: "PackedPolicyTooLarge", Status: 400, Message: "The policy is larger than a session can carry."}
	stsThrottling      = &s3err.Code{Code: "Throttling", Status: 400, Message: "Rate exceeded"}
	stsTooLarge        = &s3err.Code{Code: "RequestEntityTooLarge", Status: 413, Message: "The form is larger than 65536 bytes."}
	stsUnavailable     = &s3err.Code{Code: "ServiceUnavailable", Status: 503, Message: "The request has failed due to a temporary failure of the server."}
	stsValidation      = &s3err.Code{Code: "ValidationError", Status: 400, Message: "The input fails to satisfy the constraints specified by STS."}
)

// stsSentinels maps the errors of the leaves; the first match counts. It is never
// changed. Where told is set, the error's own text says what is wrong with what
// the client sent.
var stsSentinels = []struct {
	err  error
	code *s3err.Code
	told bool
}{
	{sigv4.ErrMissing, stsMissingToken, false},
	{sigv4.ErrUnknownKey, stsInvalidKey, false},
	{sigv4.ErrMismatch, stsMismatch, false},
	{sigv4.ErrPayloadMismatch, stsMismatch, false},
	{sigv4.ErrBadPayloadHash, stsMismatch, false},
	{sigv4.ErrSkewed, stsMismatch, true},
	{sigv4.ErrExpired, stsMismatch, true},
	{sigv4.ErrNotYetValid, stsMismatch, true},
	{sigv4.ErrBadRegion, stsMismatch, true},
	{sigv4.ErrUnsignedHeaders, stsMismatch, true},
	{sigv4.ErrMalformedAuth, stsIncomplete, true},
	{sigv4.ErrMalformedQuery, stsIncomplete, true},
	{sigv4.ErrBothForms, stsIncomplete, true},
	{sigv4.ErrMissingDate, stsIncomplete, true},
	{sigv4.ErrUnsupported, stsIncomplete, true},

	{iam.ErrBadToken, stsInvalidKey, false},
	{iam.ErrExpiredToken, stsExpired, false},
	{iam.ErrBadDuration, stsValidation, true},
	{iam.ErrBadName, stsValidation, true},
	{iam.ErrTokenTooLarge, stsPackedPolicy, false},
	{iam.ErrMayNotAssume, stsDenied, true},
	{iam.ErrNoUser, stsInvalidKey, false},
	{iam.ErrDisabled, stsInvalidKey, false},
	{iam.ErrExpired, stsInvalidKey, false},
	{iam.ErrNoPolicy, stsDenied, true},
	{policy.ErrMalformed, stsMalformed, true},

	{oidc.ErrExpiredToken, stsExpiredIdentity, false},
	{oidc.ErrUnreachable, stsIDP, false},
	{oidc.ErrUnknownIssuer, stsInvalidIdentity, true},
	{oidc.ErrInvalidToken, stsInvalidIdentity, true},
	{oidc.ErrNoPolicies, stsDenied, true},
}

// stsError turns any error into one of STS.
func stsError(err error) *s3err.Error {
	var e *s3err.Error
	if !errors.As(err, &e) {
		for _, m := range stsSentinels {
			if errors.Is(err, m.err) {
				e = m.code.Because(err)
				if m.told {
					e.Message = err.Error()
				}
				return e
			}
		}
		e = s3Error(err)
	}
	switch e.Code {
	case s3err.InvalidAccessKeyID, s3err.InvalidToken:
		return stsInvalidKey.Because(err)
	case s3err.ExpiredToken:
		return stsExpired.Because(err)
	case s3err.SlowDown:
		return stsThrottling.Because(err)
	case s3err.ServiceUnavailable:
		return stsUnavailable.Because(err)
	case s3err.InternalError:
		return stsFailure.Because(err)
	}
	return e
}

// failSTS answers with an error document of STS.
func (r *request) failSTS(err error) {
	e := stsError(err)
	r.code = e.Code.Code
	if e.Status >= 500 && e.Code != stsUnavailable {
		r.s.cfg.Logger.Error("request failed", "id", r.id(), "op", r.op.name, "code", e.Code.Code, "error", err)
	}
	resp := &r.ctx.Response
	resp.SetStatusCode(e.Status)
	if e.Code == stsThrottling || e.Code == stsUnavailable {
		resp.Header.Set("Retry-After", r.retryAfter())
	}
	if e.Code == s3err.RequestTimeout || e.Code == s3err.IncompleteBody {
		resp.SetConnectionClose()
	}
	if r.conn != nil {
		r.conn.linger = true
	}
	resp.Header.SetContentType(contentSTS)
	resp.SetBodyRaw(s3xml.AppendSTSError(nil, e.Status < 500, e.Code.Code, e.Text(), r.id()))
}

// oidc are the providers in force.
func (s *Server) oidc() *oidc.Set {
	if s.cfg.OIDC == nil {
		return nil
	}
	return s.cfg.OIDC()
}
