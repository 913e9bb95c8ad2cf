package s3fast

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/policy"
	"github.com/sluicehq/sluice/s3fast/s3xml"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// STS on the S3 endpoint (AWS STS API Reference, version 2011-06-15): a form
// posted to "/", as the query protocol of AWS has it. AssumeRole and
// GetCallerIdentity are signed with version 4 for the service "sts";
// AssumeRoleWithWebIdentity is not signed, the ID token is the proof.
//
// There are no roles to assume: AssumeRole gives the user's own rights, narrowed
// by the policy given, under new credentials that expire. RoleArn is checked for
// its form and otherwise ignored. A user may do so unless one of its policies
// denies sts:AssumeRole; sessions may not. AssumeRoleWithWebIdentity gives the
// rights of the policies that a claim of the token names.

const (
	maxSTSForm    = 64 << 10 // bytes of the form
	maxSTSToken   = 20_000   // bytes of an ID token (API Reference, WebIdentityToken)
	maxRoleARN    = 2048
	minRoleARN    = 20
	stsVersion    = "2011-06-15"
	contentSTS    = "text/xml"
	defaultRole   = "session" // name of a session that was given none
	stsAssume     = "AssumeRole"
	stsWeb        = "AssumeRoleWithWebIdentity"
	stsIdentity   = "GetCallerIdentity"
	stsAnyRoleARN = "arn:aws:iam::" + accountID + ":role/*"
)

// addSTS adds the operation of the form, and those that its Action chooses.
func (t *routes) addSTS() {
	form := operation{name: "STS", run: answerSTS, bucketless: true, late: true, body: bodyForm}
	t.add(onService, "POST", "", form)
	for _, action := range []string{stsAssume, stsWeb, stsIdentity} {
		op := form
		op.name = action
		t.sts[action] = t.register(&op)
	}
}

// newSTSVerifier verifies signatures for the service sts.
func newSTSVerifier(cfg *Config) *sigv4.Verifier {
	return &sigv4.Verifier{
		Secret: cfg.IAM.Secret, Region: cfg.Region, Service: "sts",
		Skew: cfg.MaxClockSkew, Now: cfg.Now,
	}
}

// asksSTS tells whether a POST to "/" is for STS: it has a form.
func (r *request) asksSTS() bool {
	v, _ := r.headers.get("content-type")
	kind, _, err := mime.ParseMediaType(v)
	return string(r.ctx.Method()) == fasthttp.MethodPost && err == nil && kind == "application/x-www-form-urlencoded"
}

// answerSTS answers a form, errors too: they have a document of their own.
func answerSTS(r *request) error {
	doc, err := r.serveSTS()
	if err != nil {
		r.failSTS(err)
		return nil
	}
	r.ctx.Response.Header.SetContentType(contentSTS)
	r.ctx.Response.SetBodyRaw(doc)
	return nil
}

// stsForm is a posted form.
type stsForm struct {
	query
	hash string // SHA-256 of the body, hex
}

func (r *request) serveSTS() ([]byte, error) {
	f, err := r.readSTSForm()
	if err != nil {
		return nil, err
	}
	action, _ := f.get("Action")
	op := r.s.routes.sts[action]
	version, _ := f.get("Version")
	switch {
	case action == "":
		return nil, stsMissingAction.New()
	case op == nil || version != stsVersion:
		return nil, stsInvalidAction.Say(fmt.Sprintf("Could not find operation %.64q for version %.16q", action, version))
	}
	r.op = op
	if action == stsWeb {
		return r.assumeWebIdentity(f)
	}
	if err := r.guarded("", func(r *request) error { return r.authenticateSTS(f.hash) }); err != nil {
		return nil, err
	}
	if err := r.admit(); err != nil {
		return nil, err
	}
	if action == stsIdentity {
		id := r.identity
		return s3xml.AppendCallerIdentity(nil, id.Principal.ARN, id.UserID, accountID, r.id()), nil
	}
	return r.assumeRole(f)
}

// readSTSForm reads the body.
func (r *request) readSTSForm() (*stsForm, error) {
	raw, err := io.ReadAll(io.LimitReader(r.bodySource(), maxSTSForm+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxSTSForm {
		return nil, stsTooLarge.New()
	}
	if l, err := r.bodyLengths(); err != nil {
		return nil, err
	} else if int64(len(raw)) < l.wire {
		return nil, io.ErrUnexpectedEOF
	}
	sum := sha256.Sum256(raw)
	f := &stsForm{hash: hex.EncodeToString(sum[:])}
	var ok bool
	if f.pairs, ok = parseQuery(nil, string(bytes.TrimRight(raw, "\r\n"))); !ok {
		return nil, stsValidation.Say("The form is not URL-encoded UTF-8.")
	}
	seen := make(map[string]bool, len(f.pairs))
	for _, p := range f.pairs {
		if seen[p.name] {
			return nil, stsValidation.Say("A parameter is given more than once.")
		}
		seen[p.name] = true
		if p.value != "" && unsupportedSTS(p.name) {
			return nil, stsValidation.Say("The parameter " + p.name + " is not supported.")
		}
	}
	return f, nil
}

// unsupportedSTS tells the parameters that would change what is granted, or to
// whom, and are not acted upon. Others that are unknown are ignored, as by AWS.
func unsupportedSTS(name string) bool {
	name, _, _ = strings.Cut(name, ".")
	switch name {
	case "PolicyArns", "Tags", "TransitiveTagKeys", "ExternalId", "SerialNumber", "TokenCode",
		"SourceIdentity", "ProvidedContexts", "ProviderId":
		return true
	}
	return false
}

// stsView is the request as STS's signatures see it: the hash of the body is
// signed whether or not a header tells it.
type stsView struct {
	sigView
	hash string
}

func (v stsView) Header(name string) string {
	h := v.sigView.Header(name)
	if h == "" && name == "x-amz-content-sha256" {
		return v.hash
	}
	return h
}

// authenticateSTS verifies the signature, which must cover the body.
func (r *request) authenticateSTS(hash string) error {
	auth, err := r.s.sts.Verify(stsView{sigView{r}, hash})
	if err != nil {
		return err
	}
	if auth.Presigned || auth.Payload != sigv4.SHA256 || hex.EncodeToString(auth.Hash[:]) != hash {
		return sigv4.ErrPayloadMismatch
	}
	return r.identify(auth)
}

// assumeRole answers AssumeRole.
func (r *request) assumeRole(f *stsForm) ([]byte, error) {
	in, arn, err := f.assumption()
	if err != nil {
		return nil, err
	}
	if r.identity.Kind == iam.KindSession {
		return nil, stsDenied.Say("Temporary credentials cannot call AssumeRole.")
	}
	if r.deniesAssume(arn) {
		return nil, stsDenied.Say("User: " + r.identity.Principal.ARN +
			" is not authorized to perform: sts:AssumeRole on resource: " + arn + " with an explicit deny in an identity-based policy")
	}
	c, err := r.s.cfg.IAM.AssumeRole(r.context(), r.auth.AccessKey, in)
	if err != nil {
		return nil, err
	}
	return s3xml.AppendAssumedRole(nil, stsAssume, assumedRole(&c, in.Policy), r.id()), nil
}

// deniesAssume tells whether a policy of the caller denies sts:AssumeRole on the
// role it names ("arn:…:role/*" if it names none).
func (r *request) deniesAssume(arn string) bool {
	q := &question{r: r}
	req := policy.Request{Action: "sts:AssumeRole", Resource: arn, Principal: r.identity.Principal, Context: q}
	if r.identity.Policies.Eval(&req) == policy.Deny {
		return true
	}
	for _, p := range r.identity.Narrow {
		if p.Eval(&req) == policy.Deny {
			return true
		}
	}
	return q.err != nil // a condition could not be evaluated
}

// assumeWebIdentity answers AssumeRoleWithWebIdentity.
func (r *request) assumeWebIdentity(f *stsForm) ([]byte, error) {
	if err := r.admit(); err != nil {
		return nil, err
	}
	in, _, err := f.assumption()
	if err != nil {
		return nil, err
	}
	token, _ := f.get("WebIdentityToken")
	if len(token) < 4 || len(token) > maxSTSToken {
		return nil, stsValidation.Say("WebIdentityToken must have 4 to 20000 characters.")
	}
	who, err := r.s.oidc().Verify(r.context(), token)
	if err != nil {
		return nil, err
	}
	c, err := r.s.cfg.IAM.AssumeWebIdentity(r.context(), iam.WebIdentity{
		Issuer: who.Issuer, Subject: who.Subject, Audience: who.Audience, Policies: who.Policies,
	}, in)
	if err != nil {
		return nil, err
	}
	// For the audit: who was let in.
	if id, err := r.s.cfg.IAM.Session(c.AccessKey, c.Token); err == nil {
		r.identity = id
	}
	role := assumedRole(&c, in.Policy)
	role.Subject, role.Audience, role.Provider = who.Subject, who.Audience, who.Issuer
	return s3xml.AppendAssumedRole(nil, stsWeb, role, r.id()), nil
}

func assumedRole(c *iam.Credentials, inline []byte) *s3xml.AssumedRole {
	return &s3xml.AssumedRole{
		Credentials: s3xml.STSCredentials{
			AccessKeyID: c.AccessKey, SecretAccessKey: c.SecretKey, SessionToken: c.Token, Expiration: c.Expires,
		},
		ARN: c.ARN, ID: c.ID,
		PackedPolicySize: (100*len(inline) + iam.MaxSessionPolicy - 1) / iam.MaxSessionPolicy,
	}
}

// assumption reads the parameters that both ways to assume a role have. arn is
// the role's that policies are asked about.
func (f *stsForm) assumption() (in iam.AssumeRole, arn string, err error) {
	if arn, _ = f.get("RoleArn"); arn == "" {
		arn = stsAnyRoleARN
	} else if !roleARN(arn) {
		return in, "", stsValidation.Say("RoleArn is not valid: an ARN of 20 to 2048 characters.")
	}
	if in.Name, _ = f.get("RoleSessionName"); in.Name == "" {
		in.Name = defaultRole
	}
	if v, _ := f.get("DurationSeconds"); v != "" {
		n, err := strconv.ParseUint(v, 10, 31)
		in.Duration = time.Duration(n) * time.Second // #nosec G115: 31 bits
		if err != nil || in.Duration < iam.MinSession || in.Duration > iam.MaxSession {
			return in, "", stsValidation.Say("DurationSeconds must be a number from " +
				decimal(int64(iam.MinSession/time.Second)) + " to " + decimal(int64(iam.MaxSession/time.Second)) + ".")
		}
	}
	if doc, _ := f.get("Policy"); doc != "" {
		if len(doc) > iam.MaxSessionPolicy {
			return in, "", stsPackedPolicy.New()
		}
		in.Policy = []byte(doc)
	}
	return in, arn, nil
}

// roleARN judges the form alone: clients of servers without roles send what they
// like, "arn:xxx:xxx:xxx:xxxx" for one.
func roleARN(s string) bool {
	if len(s) < minRoleARN || len(s) > maxRoleARN || !strings.HasPrefix(s, "arn:") || strings.Count(s, ":") < 4 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
