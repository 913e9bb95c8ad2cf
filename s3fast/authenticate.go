package s3fast

import (
	"encoding/hex"
	"errors"
	"strings"

	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// authenticate verifies the signature and finds who signed. A request without
// any signature is anonymous: r.identity stays nil, and only a bucket policy can
// let it in. A signature that is there and wrong is never taken for none.
func (r *request) authenticate() error {
	auth, err := r.s.verifier.Verify(sigView{r})
	if errors.Is(err, sigv4.ErrMissing) {
		return r.anonymous()
	}
	if err != nil {
		return err
	}
	if err := r.identify(auth); err != nil {
		return err
	}
	if err := r.signsOperation(); err != nil {
		return err
	}
	return r.hoisted()
}

// signsOperation refuses a version 2 query whose signature does not cover the
// parameter that chose the operation: its holder could make PutPublicAccessBlock
// of CreateBucket. list-type chooses between two forms of the same answer.
func (r *request) signsOperation() error {
	if !r.auth.Presigned || r.auth.Scope != "" {
		return nil
	}
	for i := range r.query.pairs {
		name := r.query.pairs[i].name
		if (subresources[name] || modifiers[name]) && name != "list-type" && !sigv4.SignedV2(name) {
			return s3err.AccessDenied.Say("The parameter " + name + " is not part of a version 2 signature.")
		}
	}
	return nil
}

// identify finds who signed, by a signature that has been verified. Temporary
// credentials come with their token, permanent ones without. Errors:
// iam.ErrBadToken (InvalidToken), iam.ErrExpiredToken (ExpiredToken),
// InvalidAccessKeyId.
func (r *request) identify(auth sigv4.Result) error {
	var id *iam.Identity
	if auth.SessionToken != "" {
		var err error
		if id, err = r.s.cfg.IAM.Session(auth.AccessKey, auth.SessionToken); err != nil {
			return err
		}
	} else {
		var ok bool
		if id, ok = r.s.cfg.IAM.Identity(auth.AccessKey); !ok { // removed since the signature was checked
			return s3err.InvalidAccessKeyID.New()
		}
		if id.Kind == iam.KindSession {
			return s3err.InvalidToken.New()
		}
	}
	if !id.Expires.IsZero() && !r.started.Before(id.Expires) {
		if id.Kind == iam.KindSession {
			return s3err.ExpiredToken.New()
		}
		return s3err.InvalidAccessKeyID.New()
	}
	r.auth, r.identity = auth, id
	return nil
}

// anonymous takes from the header how the body of a request without a signature
// is protected. SDKs that do not sign leave x-amz-content-sha256 out even where
// they frame the body as aws-chunked.
func (r *request) anonymous() error {
	value, given := r.headers.get("x-amz-content-sha256")
	switch value = strings.TrimSpace(value); {
	case !given && r.framedUnsigned(), value == "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
		r.auth.Payload = sigv4.StreamingUnsignedTrailer
	case !given, value == "UNSIGNED-PAYLOAD":
		r.auth.Payload = sigv4.Unsigned
	case strings.HasPrefix(value, "STREAMING-"):
		return s3err.AccessDenied.Say("Chunks of the body are said to be signed, but the request is not.")
	default:
		if n, err := hex.Decode(r.auth.Hash[:], []byte(value[:min(len(value), 64)])); err != nil || n != len(r.auth.Hash) || len(value) != 64 {
			return sigv4.ErrBadPayloadHash
		}
		r.auth.Payload = sigv4.SHA256
	}
	return nil
}

// framedUnsigned tells a body in chunks without signatures.
func (r *request) framedUnsigned() bool {
	encoding, _ := r.headers.get("content-encoding")
	_, decoded := r.headers.get("x-amz-decoded-content-length")
	return decoded && strings.Contains(strings.ToLower(encoding), "aws-chunked")
}

// userName is the name of who asks, for records: "" for anonymous requests.
func (r *request) userName() string {
	switch {
	case r.identity == nil:
		return ""
	case r.identity.Name == "": // a web identity
		return r.identity.UserID
	}
	return r.identity.Name
}
