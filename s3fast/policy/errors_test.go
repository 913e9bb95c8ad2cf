package policy

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestErrors reads testdata/errors.txt.
func TestErrors(t *testing.T) {
	text, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		t.Fatal(err)
	}
	expand := strings.NewReplacer(
		"STATEMENT", `"Effect":"Allow","Action":"s3:*","Resource":"*"`,
		"BUCKET", `"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]`)
	n := 0
	for _, block := range strings.Split(string(text), "\n\n")[1:] {
		line, want, _ := strings.Cut(strings.TrimSpace(block), "\n")
		kind, doc, _ := strings.Cut(line, " ")
		doc = expand.Replace(doc)
		var p *Policy
		var err error
		if kind == "bucket" {
			p, err = ParseBucket([]byte(doc), "b")
		} else {
			p, err = Parse([]byte(doc))
		}
		n++
		if p != nil || !errors.Is(err, ErrMalformed) || err.Error() != ErrMalformed.Error()+": "+want {
			t.Errorf("%s\n got %v\nwant %s", doc, err, want)
		}
	}
	if n < 80 {
		t.Errorf("only %d documents", n)
	}
	if _, err := ParseBucket([]byte(`{}`), ""); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

// TestBounds has one of everything too much.
func TestBounds(t *testing.T) {
	list := func(n int, format string) string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprintf(strings.ReplaceAll(format, "#", "%[1]d"), i)
		}
		return strings.Join(out, ",")
	}
	long := strings.Repeat("x", maxPattern+1)
	with := func(condition string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{` + condition + `}}}`
	}
	for _, c := range []struct{ doc, want string }{
		{with(`"StringEquals":{"aws:username":[` + list(maxValues+1, `"#"`) + `]}`), "more than 512 values"},
		{with(`"StringEquals":{"aws:username":"` + long + `"}`), "longer than 2048 bytes"},
		{with(`"StringEquals":{` + list(maxNames+1, `"jwt:k#":"v"`) + `}`), "too many elements"},
		{with(`"StringEquals":{` + list(32, `"jwt:k#":"v"`) + `},"StringLike":{` + list(32, `"jwt:k#":"v"`) + `},"StringNotLike":{"jwt:a":"b"}`), "more than 64"},
		{with(`"StringEquals":{"jwt:` + strings.Repeat("k", maxKey) + `":"v"}`), "invalid condition key"},
		{doc(stmt("Allow", `[`+list(maxValues+1, `"s3:A#"`)+`]`, `"*"`)), "more than 512 values"},
		{doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::`+long+`"`)), "longer than 2048 bytes"},
	} {
		p, err := Parse([]byte(c.doc))
		if p != nil || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 {
			t.Errorf("%.100s: %v, want %q", c.doc, err, c.want)
		}
	}
	if _, err := ParseBucket([]byte(`{"Statement":{"Effect":"Deny","Principal":{"Federated":"a.`+long+`"},"Action":"s3:*","Resource":"arn:aws:s3:::b"}}`), "b"); err == nil {
		t.Error("a long principal is accepted")
	}
	for _, ok := range []string{
		with(`"StringEquals":{"aws:username":[` + list(maxValues, `"#"`) + `]}`),
		with(`"StringEquals":{` + list(maxNames, `"jwt:k#":"v"`) + `}`),
		with(`"StringEquals":{"oidc.example.com/id/AbC:sub":"v","accounts.google.com:aud":"w","sts:RoleSessionName":"x","ldap:user":"y","saml:sub":"z","s3:x-amz-meta-anything":"q"}`),
		with(`"StringEquals":{"s3:prefix":"${aws:username}${aws:username}${aws:username}${aws:username}${aws:username}${aws:username}${aws:username}${aws:username}${*}"}`),
		with(`"StringEquals":{"s3:prefix":"${aws:username,'a}b'}${aws:username,   ''}"}`),
	} {
		if _, err := Parse([]byte(ok)); err != nil {
			t.Errorf("%.100s: %v", ok, err)
		}
	}
}

func TestUses(t *testing.T) {
	p := parse(t, doc(
		`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::a/${aws:PrincipalTag/Team}/*","Condition":{"StringEquals":{"s3:ExistingObjectTag/Colour":"${jwt:colour, 'red'}"}}}`,
		`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/${aws:username}"},"StringEqualsIgnoreCase":{"s3:prefix":"${aws:userid}"}}}`))
	for prefix, want := range map[string]bool{
		"s3:ExistingObjectTag/": true, "s3:existingobjecttag/Colour": true, "s3:existingobjecttag/colour": false, "S3:EXISTINGOBJECTTAG": true,
		"aws:principaltag/Team": true, "jwt:": true, "aws:PrincipalArn": true, "aws:UserName": true, "s3:prefix": true, "aws:userid": true,
		"s3:RequestObjectTag/": false, "aws:sourceip": false, "s3:prefixes": false, "": true,
	} {
		if got := p.Uses(prefix); got != want {
			t.Errorf("%s: %v", prefix, got)
		}
		if got := (&Input{Narrow: Set{p}}).Uses(prefix); got != want {
			t.Errorf("input: %s: %v", prefix, got)
		}
	}
	if (&Input{}).Uses("") || (*Policy)(nil).Uses("") || (*Policy)(nil).IsPublic() || (*Policy)(nil).Eval(ask("s3:GetObject", arn+"b")) != DefaultDeny {
		t.Error("nothing is used")
	}
}
