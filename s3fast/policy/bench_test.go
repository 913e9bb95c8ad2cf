package policy

import (
	"fmt"
	"testing"
)

// fiftyStatements are ten policies of five statements, of which the last
// allows; a bucket policy of five more, and what a request brings.
func fiftyStatements(t testing.TB, conditions bool) (*Request, *Input) {
	t.Helper()
	condition := ""
	if conditions {
		condition = `,"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]},"Bool":{"aws:SecureTransport":"true"},` +
			`"StringLike":{"aws:UserAgent":"aws-cli/*"},"NumericLessThanEquals":{"s3:max-keys":"1000"},"DateLessThan":{"aws:CurrentTime":"2040-01-01T00:00:00Z"}}`
	}
	in := &Input{}
	actions := []string{`"s3:GetObject"`, `["s3:PutObject","s3:DeleteObject"]`, `"s3:List*"`, `["s3:GetBucketLocation","s3:GetObjectTagging"]`, `"s3:GetObject"`}
	for i := range 10 {
		var s []string
		for j, a := range actions {
			resource := fmt.Sprintf(`["arn:aws:s3:::bucket-%d-%d","arn:aws:s3:::bucket-%d-%d/*"]`, i, j, i, j)
			effect := "Allow"
			if j == 1 {
				effect = "Deny"
			}
			if i == 9 && j == 4 {
				resource = `"arn:aws:s3:::data/*"`
			}
			s = append(s, fmt.Sprintf(`{"Effect":%q,"Action":%s,"Resource":%s%s}`, effect, a, resource, condition))
		}
		in.Identity = append(in.Identity, parse(t, doc(s...)))
	}
	var s []string
	for _, a := range actions {
		s = append(s, fmt.Sprintf(`{"Effect":"Allow","Principal":{"AWS":["111122223333","arn:aws:iam::111122223333:user/bob"]},"Action":%s,"Resource":["arn:aws:s3:::data","arn:aws:s3:::data/*"]%s}`, a, condition))
	}
	var err error
	if in.Bucket, err = ParseBucket([]byte(doc(s...)), "data"); err != nil {
		t.Fatal(err)
	}
	ctx := &values{t: t, m: map[string][]string{}}
	for k, v := range map[string]string{
		"aws:sourceip": "10.1.2.3", "aws:securetransport": "true", "aws:useragent": "aws-cli/2.15", "aws:username": "alice",
		"s3:max-keys": "1000", "aws:currenttime": "2030-01-01T00:00:00Z",
	} {
		ctx.add(k, v)
	}
	who, _ := cast("alice")
	return &Request{Action: "s3:GetObject", Resource: arn + "data/some/longer/key/of/an/object.jpg", Principal: who, Context: ctx}, in
}

func TestNoAllocation(t *testing.T) {
	check := func(name string, r *Request, in *Input, want Decision) {
		t.Helper()
		if got := Decide(r, in); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if n := testing.AllocsPerRun(100, func() { Decide(r, in) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	r, in := fiftyStatements(t, false)
	check("plain", r, in, Allow)
	r, in = fiftyStatements(t, true)
	check("conditions", r, in, Allow)
	in.Identity = Set{parse(t, doc(
		`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::data/${jwt:none, 'some'}/*/key/*"}`,
		`{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::*/${aws:username}/?/*","Condition":{"StringNotLike":{"s3:prefix":"${aws:username}*"},"ArnLike":{"aws:PrincipalArn":"arn:*:*:*:*:user/${aws:username}"}}}`))}
	check("variables", r, in, Allow)
	r.Principal.Anonymous = true
	check("anonymous", r, in, DefaultDeny)
}

func BenchmarkDecide(b *testing.B) {
	for _, conditions := range []bool{false, true} {
		b.Run(fmt.Sprintf("policies=10,statements=5,conditions=%v", conditions), func(b *testing.B) {
			r, in := fiftyStatements(b, conditions)
			b.ReportAllocs()
			for b.Loop() {
				Decide(r, in)
			}
		})
	}
	b.Run("home", func(b *testing.B) {
		r, in := fiftyStatements(b, false)
		*in = Input{Identity: Set{parse(b, doc(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::data/${aws:username, 'some'}/*"}`))}}
		b.ReportAllocs()
		for b.Loop() {
			Decide(r, in)
		}
	})
	b.Run("readwrite", func(b *testing.B) {
		r, _ := fiftyStatements(b, false)
		text, _ := Predefined("readwrite")
		in := &Input{Identity: Set{parse(b, text)}}
		b.ReportAllocs()
		for b.Loop() {
			Decide(r, in)
		}
	})
}
