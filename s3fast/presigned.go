package s3fast

import "strings"

// hoisted makes headers of what a presigned request says in its query: SDKs put
// x-amz- headers there, so that whoever is given the URL need not send them (AWS
// SDK for Go, v4.Signer.PresignHTTP; AWS SDK for JavaScript, hoistHeaders). They
// are signed with the rest of the query. Without this they would be ignored, and
// conditions of policies on them void. Errors: InvalidArgument.
//
// Only version 4 signs the whole query: nothing is taken from others'.
func (r *request) hoisted() error {
	if !r.auth.Presigned || r.auth.Scope == "" {
		return nil
	}
	for i := range r.query.pairs {
		p := &r.query.pairs[i]
		if len(p.name) < len("x-amz-") || !strings.EqualFold(p.name[:len("x-amz-")], "x-amz-") {
			continue
		}
		name := strings.ToLower(p.name)
		if presignParameter(name) {
			continue
		}
		if name == copySourceHeader || !headerSafe(p.value) || !headerName(name) {
			return invalidArgument(p.name, p.value, "This parameter must be sent as a header.")
		}
		if have, ok := r.headers.get(name); ok {
			if strings.TrimSpace(have) != strings.TrimSpace(p.value) {
				return invalidArgument(p.name, p.value, "The parameter and the header of this name say different things.")
			}
			continue
		}
		r.headers.list = append(r.headers.list, pair{name, p.value})
		r.ctx.Request.Header.Set(name, p.value)
	}
	return nil
}

// presignParameter tells the parameters of the signature itself.
func presignParameter(lower string) bool {
	switch lower {
	case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders",
		"x-amz-signature", "x-amz-security-token", "x-amz-content-sha256":
		return true
	}
	return false
}
