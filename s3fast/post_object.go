package s3fast

import (
	"io"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// postObject answers PostObject, the upload by a browser's form (Amazon S3 API
// Reference, "POST Object"; "Browser-Based Uploads Using POST"). The form's
// fields take the place of the request's headers; from there on it is a
// PutObject. A form without a policy is anonymous.
func postObject(r *request) error {
	err := r.storeForm()
	if err != nil {
		r.dropForm()
	}
	return err
}

// formLinger bounds the reading of a form that has been refused.
const formLinger = 5 * time.Second

// dropForm reads the rest of a form that has been refused, up to lingerBytes:
// browsers do not wait for 100 Continue, and show no answer before they have sent
// all.
func (r *request) dropForm() {
	end := time.Now().Add(formLinger)
	src := r.bodySource()
	for left := int64(lingerBytes); left > 0 && time.Now().Before(end); {
		n, err := io.CopyN(io.Discard, src, min(left, 1<<20))
		if err != nil {
			return
		}
		left -= n
	}
}

func (r *request) storeForm() error {
	contentType, _ := r.headers.get("content-type")
	boundary, err := formBoundary(contentType)
	if err != nil {
		return err
	}
	l, err := r.bodyLengths()
	if err != nil {
		return err
	}
	in := &formScanner{src: r.bodySource()}
	f, err := readFormHead(in, boundary)
	if err != nil {
		return err
	}
	f.expand()
	if r.key, err = f.objectKey(); err != nil {
		return err
	}
	policy, err := r.authenticateForm(f)
	if err != nil {
		return err
	}
	if err := r.useFields(f); err != nil {
		return err
	}
	r.form = f
	if err := r.admit(); err != nil {
		return err
	}
	if err := r.authorize(); err != nil {
		return err
	}
	release, err := r.s.openFile(f, in, boundary, l.wire)
	if err != nil {
		return err
	}
	defer release()
	if err := policy.checkSize(f.size); err != nil {
		return err
	}
	r.headers.list = append(r.headers.list, pair{"content-length", decimal(f.size)})
	o, err := r.storeObject()
	if err != nil {
		return err
	}
	return r.answerForm(f, `"`+o.ETag+`"`)
}

// expand replaces ${filename} in the fields that are kept with the object, or
// tell the browser where to go next.
func (f *postForm) expand() {
	const variable = "${filename}"
	for i := range f.fields {
		p := &f.fields[i]
		switch p.name {
		case "policy", "signature", "awsaccesskeyid", "x-amz-signature", "x-amz-credential",
			"x-amz-algorithm", "x-amz-date", "x-amz-security-token":
		default:
			p.value = strings.ReplaceAll(p.value, variable, f.filename)
		}
	}
}

// objectKey is the key that the form names. Errors: UserKeyMustBeSpecified,
// KeyTooLong, InvalidArgument.
func (f *postForm) objectKey() (string, error) {
	key, ok := f.get("key")
	switch {
	case !ok || key == "":
		return "", s3err.UserKeyMustBeSpecified.With("ArgumentName", "key")
	case len(key) > engine.MaxKeyBytes:
		return "", s3err.KeyTooLong.With("MaxSizeAllowed", decimal(engine.MaxKeyBytes), "Size", decimal(int64(len(key))))
	case !utf8.ValidString(key):
		return "", s3err.InvalidArgument.With("ArgumentName", "key")
	}
	return key, nil
}

// authenticateForm finds who signed the form, and holds it against its policy;
// without one, the sender is anonymous.
func (r *request) authenticateForm(f *postForm) (*postPolicy, error) {
	text, signed := f.get("policy")
	_, v4 := f.get("x-amz-signature")
	_, v2 := f.get("signature")
	switch {
	case !signed && (v4 || v2):
		return nil, missingField("policy")
	case !signed:
		r.auth = sigv4.Result{}
		return &postPolicy{max: engine.MaxPutSize}, nil
	}
	key, _, _ := strings.Cut(f.value("x-amz-credential"), "/")
	if !v4 {
		key = f.value("awsaccesskeyid")
	}
	err := r.guarded(key, func(r *request) error {
		auth, err := r.verifyForm(f, text, v4)
		if err != nil {
			return err
		}
		return r.identify(auth)
	})
	if err != nil {
		return nil, err
	}
	policy, err := parsePostPolicy(text)
	if err != nil {
		return nil, err
	}
	return policy, policy.check(f, r.bucket, r.s.cfg.Now())
}

func (r *request) verifyForm(f *postForm, policy string, v4 bool) (sigv4.Result, error) {
	names := []string{"awsaccesskeyid", "signature"}
	if v4 {
		names = []string{"x-amz-algorithm", "x-amz-credential", "x-amz-date"}
	}
	for _, name := range names {
		if f.value(name) == "" {
			return sigv4.Result{}, missingField(name)
		}
	}
	token := f.value("x-amz-security-token")
	if !v4 {
		return r.s.verifier.VerifyPostV2(f.value("awsaccesskeyid"), policy, f.value("signature"), token)
	}
	return r.s.verifier.VerifyPost(&sigv4.Post{
		Policy: policy, Algorithm: f.value("x-amz-algorithm"), Credential: f.value("x-amz-credential"),
		Date: f.value("x-amz-date"), Signature: f.value("x-amz-signature"), Token: token,
	})
}

func missingField(name string) error {
	return s3err.InvalidArgument.Say("Bucket POST must contain a field named '"+name+"'.  If it is specified, please check the order of the fields.").
		With("ArgumentName", name, "ArgumentValue", "")
}

// useFields puts the form's fields in the place of the request's headers: of
// those, only what tells about the connection and the client stays. What may not
// stand in a header is refused: some of the values are answered in one later.
func (r *request) useFields(f *postForm) error {
	wire := &r.ctx.Request.Header
	kept := r.headers.list[:0]
	for _, h := range r.headers.list {
		switch h.name {
		case "host", "user-agent", "referer", "origin", "x-forwarded-for", "x-forwarded-proto":
			kept = append(kept, h)
		case "content-length", "transfer-encoding", "connection", "expect":
		default:
			wire.Del(h.name)
		}
	}
	r.headers.list = kept
	for i := range f.fields {
		name, value, err := headerOf(f.fields[i])
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		if !headerSafe(value) || !headerName(name) {
			return s3err.InvalidArgument.Say("A form field cannot stand in a header.").With("ArgumentName", name)
		}
		r.headers.list = append(r.headers.list, pair{name, value})
		wire.Set(name, value)
	}
	return nil
}

// headerOf returns the header that a field stands for; name is "" if it is none.
func headerOf(f pair) (name, value string, err error) {
	switch f.name {
	case "acl":
		return "x-amz-acl", f.value, nil
	case "tagging":
		value, err = taggingField(f.value)
		return taggingHeader, value, err
	case "x-amz-signature", "x-amz-credential", "x-amz-algorithm", "x-amz-date", "x-amz-security-token":
		return "", "", nil
	case "x-amz-acl", "x-amz-tagging", "x-amz-copy-source", "x-amz-content-sha256",
		"x-amz-decoded-content-length", "x-amz-trailer":
		return "", "", s3err.InvalidArgument.Say("This is no field of a form.").With("ArgumentName", f.name)
	case "content-md5", "if-match", "if-none-match":
		return f.name, f.value, nil
	}
	if storedHeader(f.name) != "" || strings.HasPrefix(f.name, "x-amz-") {
		return f.name, f.value, nil
	}
	return "", "", nil
}

// taggingField turns the Tagging document of a form into the form that the header
// has. Error: MalformedXML.
func taggingField(doc string) (string, error) {
	tags, err := s3xml.DecodeTagging([]byte(doc))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, t := range tags {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(t.Key) + "=" + url.QueryEscape(t.Value))
	}
	return b.String(), nil
}

// headerName reports whether s is a token, as names of headers are (RFC 9110,
// section 5.6.2).
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// answerForm answers a form that was stored, as it asks to be.
func (r *request) answerForm(f *postForm, etag string) error {
	location := r.objectURL()
	r.set("Location", location)
	target, ok := f.get("success_action_redirect")
	if !ok {
		target, ok = f.get("redirect") // its old name
	}
	if next, valid := redirectURL(target, r.bucket, r.key, etag); ok && valid {
		r.set("Location", next)
		r.ctx.SetStatusCode(fasthttp.StatusSeeOther)
		return nil
	}
	switch f.value("success_action_status") {
	case "200":
		r.ctx.SetStatusCode(fasthttp.StatusOK)
	case "201":
		r.answerXML(s3xml.AppendPostResponse(nil, &s3xml.PostResponse{
			Location: location, Bucket: r.bucket, Key: r.key, ETag: strings.Trim(etag, `"`),
		}))
		r.ctx.SetStatusCode(fasthttp.StatusCreated)
	default:
		r.ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
	return nil
}

// objectURL is where the object is found from now on.
func (r *request) objectURL() string {
	host, _ := r.headers.get("host")
	scheme := "http"
	if r.conn != nil && r.conn.secure {
		scheme = "https"
	}
	path := "/" + r.key
	if !r.target.virtual {
		path = "/" + r.bucket + path
	}
	return (&url.URL{Scheme: scheme, Host: host, Path: path}).String()
}

// redirectURL adds bucket, key and ETag to the address that a form wants its
// browser sent to. One that is no address of a web page is passed over, as by S3.
func redirectURL(target, bucket, key, etag string) (string, bool) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", false
	}
	q := "bucket=" + url.QueryEscape(bucket) + "&key=" + url.QueryEscape(key) + "&etag=" + url.QueryEscape(etag)
	if u.RawQuery != "" {
		q = u.RawQuery + "&" + q
	}
	u.RawQuery = q
	return u.String(), true
}
