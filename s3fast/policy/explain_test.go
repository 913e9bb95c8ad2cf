package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestExplain compares with testdata/explain.txt; with UPDATE_GOLDEN set it
// writes the file.
func TestExplain(t *testing.T) {
	const file = "testdata/explain.txt"
	readA := parse(t, doc(
		`{"Sid":"Read","Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::b/*","arn:aws:s3:::c/${aws:username}/*"]}`,
		`{"Effect":"Deny","Action":"s3:*","NotResource":"arn:aws:s3:::b/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`,
		`{"Sid":"Tagged","Effect":"Allow","NotAction":"s3:GetObject","Resource":"*","Condition":{"ForAnyValue:StringLike":{"s3:RequestObjectTagKeys":["a*","b"]},"NumericLessThan":{"s3:max-keys":10}}}`))
	narrow := parse(t, doc(stmt("Allow", `"s3:Get*"`, `"arn:aws:s3:::b/public/*"`)))
	bucket, err := ParseBucket([]byte(doc(
		`{"Sid":"account","Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"s3:*","Resource":"arn:aws:s3:::b/*"}`,
		`{"Sid":"everyone","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/public/*"}`,
		`{"Sid":"role","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+account+`:role/alice"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}`,
		`{"Sid":"not bob","Effect":"Deny","NotPrincipal":{"AWS":["arn:aws:iam::`+account+`:user/alice","arn:aws:sts::`+account+`:assumed-role/alice/s1"]},"Action":"s3:DeleteObject","Resource":"arn:aws:s3:::b/*"}`)), "b")
	if err != nil {
		t.Fatal(err)
	}
	roleAndSession, err := ParseBucket([]byte(doc(
		`{"Sid":"role","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+account+`:role/alice"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}`,
		`{"Sid":"session","Effect":"Allow","Principal":{"AWS":"arn:aws:sts::`+account+`:assumed-role/alice/s1"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}`)), "b")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Explanations, written by TestExplain. Each statement: source, policy, index, Sid.\n")
	ask := func(who, action, resource string, in *Input, context ...string) {
		ctx := &values{t: t, m: map[string][]string{}}
		for _, pair := range context {
			key, value, _ := strings.Cut(pair, "=")
			ctx.add(key, value)
		}
		p, _ := cast(who)
		r := &Request{Action: action, Resource: arn + resource, Principal: p, Context: ctx}
		x := Explain(r, in)
		if got := Decide(r, in); got != x.Decision {
			t.Errorf("decided %v, explained as %v", got, x.Decision)
		}
		fmt.Fprintf(&b, "\n%s %s %s %s\n%v: %s\n", who, action, resource, strings.Join(context, " "), x.Decision, x.Reason)
		for _, s := range x.Statements {
			fmt.Fprintf(&b, "  %-8s %d %d %-8s %-5s matched=%-5v %s\n", s.Source, s.Policy, s.Index, s.Sid, s.Effect, s.Matched, s.Why)
		}
	}
	all := &Input{Identity: Set{readA, parse(t, readOnly)}, Bucket: bucket}
	ask("alice", "s3:GetObject", "b/k", all, "aws:username=alice")
	ask("alice", "s3:GetObject", "c/alice/k", all, "aws:SecureTransport=false", "aws:username=alice")
	ask("alice", "s3:PutObject", "b/k", all)
	ask("alice", "s3:PutObject", "b/k", all, "s3:RequestObjectTagKeys=x", "s3:RequestObjectTagKeys=y")
	ask("bob", "s3:DeleteObject", "b/k", all)
	ask("alice", "s3:DeleteObject", "b/k", all)
	ask("anon", "s3:GetObject", "b/public/k", all)
	ask("anon", "s3:GetObject", "b/k", all)
	ask("anon", "s3:GetObject", "b/public/k", &Input{Bucket: bucket, RestrictPublic: true})
	ask("s1", "s3:GetObject", "b/k", &Input{Identity: Set{readA}, Narrow: Set{narrow}, Bucket: bucket})
	ask("s1", "s3:GetObject", "b/k", &Input{Identity: Set{readA}, Narrow: Set{nil}})
	ask("s1", "s3:PutObject", "b/k", &Input{Bucket: bucket})
	ask("s1", "s3:PutObject", "b/k", &Input{Narrow: Set{narrow}, Bucket: bucket})
	ask("s1", "s3:GetObject", "b/public/k", &Input{Identity: Set{readA}, Narrow: Set{narrow, narrow}})
	ask("web", "s3:ListBucket", "b", &Input{})
	ask("s1", "s3:PutObject", "b/k", &Input{Narrow: Set{narrow}, Bucket: roleAndSession})
	unresolved := parse(t, doc(
		`{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::x","arn:aws:s3:::b/${aws:username}"]}`,
		`{"Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::b/${aws:username}"}`,
		`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"s3:prefix":"${aws:username}"}}}`,
		`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"NumericLessThan":{"s3:max-keys":"5"}}}`))
	ask("web", "s3:GetObject", "b/k", &Input{Identity: Set{unresolved}}, "s3:prefix=a", "s3:max-keys=x")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("explanations differ from %s:\n%s", file, got)
	}
}
