package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// someDoc draws a document.
func someDoc(t *rapid.T, bucket bool) string {
	version := rapid.SampledFrom([]string{`"2012-10-17"`, `"2012-10-17"`, `"2008-10-17"`}).Draw(t, "version")
	var statements []string
	for range rapid.IntRange(1, 3).Draw(t, "statements") {
		effect := rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, "effect")
		s := `{"Effect":"` + effect + `",` + someElement(t, "Action", "s3:GetObject", "S3:getobject", "s3:Get*", "s3:*", "*", "s3:?etObject", "s3:PutObject", "s3:*ct") + "," +
			someElement(t, "Resource", "arn:aws:s3:::b", "arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/?/k", "arn:aws:s3:::b/a*b*", "arn:aws:s3:::b/${*}*",
				"arn:aws:s3:::b/${jwt:x, 'a'}*", "arn:aws:s3:::b/*${aws:username}?${jwt:x}")
		if bucket {
			s += "," + somePrincipal(t, effect)
		}
		if c := someConditions(t); c != "" {
			s += `,"Condition":{` + c + "}"
		}
		statements = append(statements, s+"}")
	}
	return `{"Version":` + version + `,"Statement":[` + strings.Join(statements, ",") + `]}`
}

func someElement(t *rapid.T, name string, texts ...string) string {
	if rapid.IntRange(0, 4).Draw(t, "not") == 0 {
		name = "Not" + name
	}
	return `"` + name + `":` + some(t, texts...)
}

// some draws one to three strings, as JSON.
func some(t *rapid.T, texts ...string) string {
	out, err := json.Marshal(rapid.SliceOfN(rapid.SampledFrom(texts), 1, 3).Draw(t, "values"))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func somePrincipal(t *rapid.T, effect string) string {
	name := "Principal"
	if effect == "Deny" && rapid.Bool().Draw(t, "notPrincipal") {
		name = "NotPrincipal"
	}
	value := rapid.SampledFrom([]string{`"*"`, ""}).Draw(t, "principal")
	if value == "" {
		kind := rapid.SampledFrom([]string{"AWS", "AWS", "CanonicalUser", "Federated", "Service"}).Draw(t, "type")
		texts := map[string][]string{
			"AWS": {account, "arn:aws:iam::" + account + ":root", "arn:aws:iam::" + account + ":user/alice", "arn:aws:iam:::user/bob",
				"arn:aws:iam::" + account + ":role/alice", "arn:aws:sts::" + account + ":assumed-role/alice/s1", "arn:aws:iam::" + account + ":user/bob"},
			"CanonicalUser": {canonicalID, strings.Repeat("e", 64)},
			"Federated":     {"accounts.google.com", "idp.example"},
			"Service":       {"logging.s3.amazonaws.com"},
		}[kind]
		value = `{"` + kind + `":` + some(t, texts...) + "}"
	}
	return `"` + name + `":` + value
}

// conditionKinds are operators, keys and values of conditions that go together.
var conditionKinds = []struct{ operators, keys, values string }{
	{"StringEquals StringNotEquals StringEqualsIgnoreCase StringNotEqualsIgnoreCase StringLike StringNotLike", "s3:prefix jwt:groups aws:username",
		`a|A|a*|?|*|${aws:username}|${jwt:x}-*|${aws:username, 'a'}|${*}||ab/${jwt:x, 'x'}?`},
	{"NumericEquals NumericNotEquals NumericLessThan NumericLessThanEquals NumericGreaterThan NumericGreaterThanEquals", "s3:max-keys jwt:groups", "0|-0|7|7.0|007|7.01|-7|.5"},
	{"DateEquals DateNotEquals DateLessThan DateLessThanEquals DateGreaterThan DateGreaterThanEquals", "aws:CurrentTime",
		"2024|2024-02|2024-02-29|2024-02-29T23:59Z|2024-02-29T23:59:59.5+02:30|1709164800|2023-12-31T23:00:00-01:00"},
	{"Bool Null", "aws:SecureTransport s3:prefix jwt:groups", "true|False"},
	{"BinaryEquals", "s3:prefix", "YQ==|QQ=="},
	{"IpAddress NotIpAddress", "aws:SourceIp", "10.0.0.0/8|10.1.2.3|::/0|2001:db8::/32|0.0.0.0/0|::1"},
	{"ArnEquals ArnNotEquals ArnLike ArnNotLike", "aws:PrincipalArn", "*|arn:aws:iam::*:user/*|arn:aws:iam::" + account + ":user/${aws:username}|arn:*:${jwt:x}::*:*|*:*:*:*:*:*e"},
}

func someConditions(t *rapid.T) string {
	conditions := map[string]map[string]string{}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		kind := rapid.SampledFrom(conditionKinds).Draw(t, "kind")
		op := rapid.SampledFrom(strings.Fields(kind.operators)).Draw(t, "operator")
		if op != "Null" {
			op = rapid.SampledFrom([]string{"", "", "ForAllValues:", "ForAnyValue:"}).Draw(t, "set") + op + rapid.SampledFrom([]string{"", "", "IfExists"}).Draw(t, "if")
		}
		if conditions[op] == nil {
			conditions[op] = map[string]string{}
		}
		conditions[op][rapid.SampledFrom(strings.Fields(kind.keys)).Draw(t, "key")] = some(t, strings.Split(kind.values, "|")...)
	}
	var out []string
	for op, keys := range conditions {
		var in []string
		for key, v := range keys {
			in = append(in, `"`+key+`":`+v)
		}
		slices.Sort(in)
		out = append(out, `"`+op+`":{`+strings.Join(in, ",")+"}")
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func someRequest(t *rapid.T, tt testing.TB) *Request {
	who, _ := cast(rapid.SampledFrom([]string{"anon", "alice", "bob", "mallory", "sa", "sas", "s1", "s2", "fed", "web", "eve"}).Draw(t, "who"))
	ctx := &values{t: tt, m: map[string][]string{}}
	for key, texts := range map[string]string{
		"aws:username": "alice|a|*|A", "jwt:x": "a|b|", "s3:prefix": "a|A|ab|*||alice|a-b|ab/xy", "jwt:groups": "a|A|7|ab|", "s3:max-keys": "7|-7|0|x|7.010|.50",
		"aws:currenttime":       "2024-02-29T00:00:00Z|2024-01-01T00:00:00Z|2024-03-01T00:00:00+00:01|now|1709164800|2024-02-29T21:29:59.5Z",
		"aws:securetransport":   "true|false|maybe",
		"aws:sourceip":          "10.1.2.3|11.0.0.1|::1|2001:db8::7|::ffff:10.9.9.9|?",
		"aws:principalarn":      "arn:aws:iam::" + account + ":user/alice|arn:aws:iam::1:role/a|x|arn:a:b:::e",
		"aws:federatedprovider": "accounts.google.com|idp.example",
	} {
		most := 1
		if key == "jwt:groups" || key == "jwt:x" {
			most = 3
		}
		for _, v := range rapid.SliceOfN(rapid.SampledFrom(strings.Split(texts, "|")), 0, most).Draw(t, key) {
			ctx.add(key, v)
		}
	}
	return &Request{
		Action:    rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "s3:ListBucket", "S3:GETOBJECT"}).Draw(t, "action"),
		Resource:  arn + rapid.SampledFrom([]string{"b", "b/k", "b/a/k", "b/ab", "b/alice/k", "b/ä/k", "b/a-xb/", "b/*", "b/${aws:username}/k", "b/zalice-a", "c/k"}).Draw(t, "resource"),
		Principal: who, Context: ctx,
	}
}

// TestNaive compares with the second evaluator, and checks that more policies
// to obey never widen a decision.
func TestNaive(t *testing.T) {
	for range 8 {
		rapid.Check(t, func(rt *rapid.T) { checkNaive(t, rt) })
	}
}

func checkNaive(t *testing.T, rt *rapid.T) {
	var docs [3][]string
	in := &Input{RestrictPublic: rapid.Bool().Draw(rt, "restrict")}
	for i, most := range []int{2, 1, 1} {
		for range rapid.IntRange(0, most).Draw(rt, "policies") {
			text := someDoc(rt, i == 2)
			p, err := Parse([]byte(text))
			if i == 2 {
				p, err = ParseBucket([]byte(text), "b")
			}
			if err != nil {
				rt.Fatalf("%s: %v", text, err)
			}
			docs[i] = append(docs[i], text)
			switch i {
			case 0:
				in.Identity = append(in.Identity, p)
			case 1:
				in.Narrow = append(in.Narrow, p)
			default:
				in.Bucket = p
			}
		}
	}
	r := someRequest(rt, t)
	got := Decide(r, in)
	if want := naiveDecide(t, r, docs[0], docs[1], docs[2], in.RestrictPublic, in.Bucket.IsPublic()); got != want {
		rt.Fatalf("%v, naive says %v", got, want)
	}
	if x := Explain(r, in); x.Decision != got {
		rt.Fatalf("explained as %v, decided %v", x.Decision, got)
	}
	extra := parse(t, someDoc(rt, false))
	neverWider(rt, r, in, got, extra)
}

// neverWider adds the denies of a policy, and the policy as a narrowing one.
func neverWider(t rapid.TB, r *Request, in *Input, was Decision, extra *Policy) {
	t.Helper()
	denies := &Policy{}
	for _, s := range extra.statements {
		if s.effect == Deny {
			denies.statements = append(denies.statements, s)
		}
	}
	more := *in
	more.Identity = append(slices.Clone(in.Identity), denies)
	if got := Decide(r, &more); got == Allow && was != Allow || was == Deny && got != Deny {
		t.Fatalf("with more denies %v instead of %v", got, was)
	}
	more = *in
	more.Narrow = append(slices.Clone(in.Narrow), extra)
	if got := Decide(r, &more); got == Allow && was != Allow || was == Deny && got != Deny {
		t.Fatalf("narrowed %v instead of %v", got, was)
	}
	more = *in
	more.RestrictPublic = true
	if got := Decide(r, &more); got == Allow && was != Allow || was == Deny && got != Deny {
		t.Fatalf("restricted %v instead of %v", got, was)
	}
}
