package policy

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func fuzzedRequest(t testing.TB, who, action, resource, key, value string) *Request {
	p, ok := cast(who)
	if !ok {
		p.ARN = who
	}
	ctx := &values{t: t, m: map[string][]string{}}
	for _, v := range strings.Split(value, "\n") {
		ctx.add(key, v)
	}
	return &Request{Action: action, Resource: resource, Principal: p, Context: ctx}
}

func FuzzDecide(f *testing.F) {
	allow := doc(`{"Effect":"Allow","Action":["s3:Get*","s3:*ct"],"Resource":"arn:aws:s3:::b/${aws:username, 'x'}/*","Condition":{"StringLikeIfExists":{"s3:prefix":"a*"}}}`)
	deny := doc(`{"Effect":"Deny","NotAction":"s3:PutObject","Resource":"*","Condition":{"ForAnyValue:NumericLessThan":{"s3:max-keys":"5"},"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`)
	bucket := doc(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"DateLessThan":{"aws:CurrentTime":"2030"}}}`)
	f.Add(allow, deny, bucket, "alice", "s3:GetObject", "arn:aws:s3:::b/x/k", "s3:max-keys", "4\n7")
	f.Add(deny, allow, bucket, "anon", "s3:PutObject", "arn:aws:s3:::b/k", "aws:CurrentTime", "2024-02-29T12:00:00.5+02:00")
	f.Add(allow, deny, bucket, "s1", "s3:GetObject", "arn:aws:s3:::b/k", "aws:SourceIp", "::ffff:10.0.0.1")
	f.Add(allow, allow, bucket, "web", "s3:GetObject", "arn:aws:s3:::b/\xff/k", "aws:username", "\xff*")
	f.Fuzz(func(t *testing.T, identity, extra, bucket, who, action, resource, key, value string) {
		in := &Input{}
		if p, err := Parse([]byte(identity)); err == nil {
			in.Identity = Set{p}
		}
		if p, err := ParseBucket([]byte(bucket), "b"); err == nil {
			in.Bucket = p
		}
		r := fuzzedRequest(t, who, action, resource, key, value)
		got := Decide(r, in)
		x := Explain(r, in)
		if x.Decision != got || !utf8.ValidString(x.Reason) {
			t.Fatalf("%v, explained as %v: %q", got, x.Decision, x.Reason)
		}
		if p, err := Parse([]byte(extra)); err == nil {
			neverWider(t, r, in, got, p)
		}
		in.Uses(key)
	})
}

func FuzzParseBucket(f *testing.F) {
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["111122223333","arn:aws:iam:::user/x"],"CanonicalUser":"`+canonicalID+`"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}`), "b")
	f.Add([]byte(`{"Statement":{"Effect":"Deny","NotPrincipal":{"Service":"a.b","Federated":"accounts.google.com"},"NotAction":"s3:*","NotResource":"arn:aws:s3:::b","Condition":{"Bool":{"aws:SecureTransport":false}}}}`), "b")
	f.Fuzz(func(t *testing.T, text []byte, bucket string) {
		p, err := ParseBucket(text, bucket)
		if (p == nil) == (err == nil) {
			t.Fatal(err)
		}
		if p == nil {
			return
		}
		for _, who := range []string{"anon", "alice", "s1", "web"} {
			r := fuzzedRequest(t, who, "s3:GetObject", arn+bucket+"/k", "aws:username", "alice")
			r.Context = nil
			if d := p.Eval(r); d == Allow && who == "anon" && len(p.statements) == 1 && len(p.statements[0].conditions) == 0 && !p.IsPublic() {
				t.Fatal("allows anyone without condition, and is not public")
			}
		}
		if _, err := Parse(text); err == nil {
			t.Fatal("is an identity policy, too")
		}
	})
}

// naiveGlob is the definition of matching, by recursion over code points.
func naiveGlob(p, s string) bool {
	if p == "" {
		return s == ""
	}
	_, n := utf8.DecodeRuneInString(s)
	switch {
	case p[0] == '*':
		return naiveGlob(p[1:], s) || s != "" && naiveGlob(p, s[n:])
	case s == "":
		return false
	case p[0] == '?':
		return naiveGlob(p[1:], s[n:])
	}
	return p[0] == s[0] && naiveGlob(p[1:], s[1:])
}

func FuzzMatch(f *testing.F) {
	f.Add("a*?b", "axüb")
	f.Add("*??", "€")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 16 || !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return
		}
		p := glob(t, pattern, false)
		if got, want := p.is(s), naiveGlob(pattern, s); got != want {
			t.Fatalf("%q on %q: %v, want %v", pattern, s, got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(readOnly))
	f.Add([]byte(writeOnly))
	f.Add([]byte(doc(stmt("Deny", `["s3:*"]`, `["arn:aws:s3:::a/x/*"]`))))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if (p == nil) == (err == nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if p != nil {
			p.Eval(ask("s3:GetObject", "arn:aws:s3:::a/b"))
		}
	})
}
