package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// stmt makes a statement from effect, and JSON for Action and Resource.
func stmt(effect, action, resource string) string {
	return fmt.Sprintf(`{"Effect":%q,"Action":%s,"Resource":%s}`, effect, action, resource)
}

func doc(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

const arn = "arn:aws:s3:::"

// ask is a request without principal and context.
func ask(action, resource string) *Request { return &Request{Action: action, Resource: resource} }

// glob compiles a pattern without variables.
func glob(t testing.TB, text string, fold bool) *pattern {
	t.Helper()
	segs, err := syntax{wild: true}.split(text)
	if err != nil {
		t.Fatal(err)
	}
	p := compile(segs, fold)
	return &p
}

func (p *pattern) is(s string) bool { return p.match(s, nil) == yes }

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, yes, no string // alternatives apart by "|"
	}{
		{"a", "a", "|b|aa|A"},
		{"*", "|a|a/b|ü", "-"},
		{"a*", "a|ab|a/b/c", "|b|ba"},
		{"*a", "a|ba|a/a", "|ab"},
		{"a*b", "ab|aab|a/b|abb", "a|b|ba|abc"},
		{"a?b", "axb|a/b|aüb|a€b", "ab|axxb"},
		{"?", "a|/|ü|😀", "|ab|üü"},
		{"??", "ab|üb", "a|ü|abc|€"},
		{"*??", "ab|xab|üü", "a|ü|€|😀"},
		{"*??b", "xxb|€xb|x€€b", "€b|b|😀b"},
		{"?*", "a|ab|ü", ""},
		{"a**b", "ab|axb", "a"},
		{"*a*b*", "ab|xaxbx", "ba|a|b"},
		{"a*?*b", "axb|axxb", "ab"},
		{"*abab*abab", "abababab|xababxabab", "abab|ababab"},
		{"[a]", "[a]", "a"},
		{`\*`, `\|\x`, "*"},
		{"a*b*c*d", "abcd|axbxcxd|abcbcd", "abc|abdc"},
	} {
		p := glob(t, c.pattern, false)
		for _, s := range strings.Split(c.yes, "|") {
			if !p.is(s) {
				t.Errorf("%q does not match %q", c.pattern, s)
			}
		}
		for _, s := range strings.Split(c.no, "|") {
			if c.no != "-" && p.is(s) {
				t.Errorf("%q matches %q", c.pattern, s)
			}
		}
	}
	bomb := glob(t, strings.Repeat("*a", 1000)+"b", false)
	if bomb.is(strings.Repeat("a", 1100)) {
		t.Error("bomb")
	}
	fold := glob(t, "s3:GET*Ä", true)
	if !fold.is("S3:getobjectÄ") || fold.is("s3:getä") {
		t.Error("folding is for ASCII only, in both directions")
	}
}

func TestEval(t *testing.T) {
	allowA := stmt("Allow", `"s3:GetObject"`, `"arn:aws:s3:::a/*"`)
	denyX := stmt("Deny", `["s3:*"]`, `["arn:aws:s3:::a/x/*","arn:aws:s3:::a/y"]`)
	all := stmt("Allow", `"*"`, `"*"`)
	for i, c := range []struct {
		doc, action, resource string
		want                  Decision
	}{
		{doc(allowA), "s3:GetObject", "a/k", Allow},
		{doc(allowA), "S3:getOBJECT", "a/k", Allow},
		{doc(allowA), "s3:GetObject", "a/k/l/m", Allow},
		{doc(allowA), "s3:GetObject", "a/", Allow},
		{doc(allowA), "s3:GetObject", "a", DefaultDeny},
		{doc(allowA), "s3:GetObject", "A/k", DefaultDeny},
		{doc(allowA), "s3:GetObject", "ab/k", DefaultDeny},
		{doc(allowA), "s3:GetObjectVersion", "a/k", DefaultDeny},
		{doc(allowA), "s3:GetObjec", "a/k", DefaultDeny},
		{doc(allowA), "s3:PutObject", "a/k", DefaultDeny},
		{doc(allowA), "", "", DefaultDeny},
		{doc(allowA, denyX), "s3:GetObject", "a/k", Allow},
		{doc(allowA, denyX), "s3:GetObject", "a/x/k", Deny},
		{doc(denyX, allowA), "s3:GetObject", "a/x/k", Deny},
		{doc(denyX, all), "s3:PutObject", "a/y", Deny},
		{doc(all, denyX), "s3:PutObject", "a/yy", Allow},
		{doc(denyX), "s3:PutObject", "a/k", DefaultDeny},
		{doc(all), "iam:CreateUser", "anything", Allow},
		{doc(all, allowA, all), "s3:GetObject", "a/k", Allow},
		{doc(stmt("Allow", `"s3:Get*"`, `"arn:aws:s3:::*"`)), "s3:GetBucketLocation", "a", Allow},
		{doc(stmt("Allow", `"s3:Get*"`, `"arn:aws:s3:::*"`)), "s3:ListBucket", "a", DefaultDeny},
		{doc(stmt("Allow", `"s3:?etObject"`, `"arn:aws:s3:::a?/k"`)), "s3:GetObject", "ab/k", Allow},
		{doc(stmt("Allow", `"s3:?etObject"`, `"arn:aws:s3:::a?/k"`)), "s3:GetObject", "a/k", DefaultDeny},
		{doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::a*"`)), "s3:ListBucket", "a", Allow},
		{doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::a*"`)), "s3:GetObject", "ab/k", Allow},
		{doc(stmt("Allow", `"s3:*"`, `["arn:aws:s3:::a","arn:aws:s3:::a/*"]`)), "s3:ListBucket", "a", Allow},
		{doc(stmt("Allow", `["ec2:*","s3:PutObject"]`, `"*"`)), "s3:PutObject", "a/k", Allow},
		{doc(stmt("Allow", `"ec2:*"`, `"*"`)), "s3:PutObject", "a/k", DefaultDeny},
		{`{"Statement":` + allowA + `}`, "s3:GetObject", "a/k", Allow},
		{" \n" + `{"Id":"x","Version":"2008-10-17","Statement":[{"Sid":"s","Resource":"*","Action":"s3:*","Effect":"Deny"}]}` + "\n", "s3:X", "a", Deny},
		{`{"Statement":{"\u0045ffect":"Allow","Action":"s3:Get\u002a","Resource":"arn:aws:s3:::\u00fc"}}`, "s3:GetX", "ü", Allow},
	} {
		if got := parse(t, c.doc).Eval(ask(c.action, arn+c.resource)); got != c.want {
			t.Errorf("case %d: %s on %s: %v, want %v", i, c.action, c.resource, got, c.want)
		}
	}
	a, x := parse(t, doc(allowA)), parse(t, doc(denyX))
	for _, c := range []struct {
		set      Set
		resource string
		want     Decision
	}{
		{nil, "a/k", DefaultDeny}, {Set{a}, "a/k", Allow}, {Set{a, x}, "a/k", Allow}, {Set{x, a}, "a/k", Allow},
		{Set{a, x}, "a/x/k", Deny}, {Set{x, a}, "a/x/k", Deny}, {Set{x}, "a/k", DefaultDeny},
	} {
		if got := c.set.Eval(ask("s3:GetObject", arn+c.resource)); got != c.want {
			t.Errorf("set of %d on %s: %v, want %v", len(c.set), c.resource, got, c.want)
		}
	}
	account, err := ParseBucket([]byte(`{"Statement":{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"s3:*","Resource":"arn:aws:s3:::b"}}`), "b")
	if err != nil {
		t.Fatal(err)
	}
	if d := account.Eval(&Request{Action: "s3:ListBucket", Resource: arn + "b", Principal: Principal{Account: "111122223333"}}); d != DefaultDeny {
		t.Errorf("the account is allowed: %v", d)
	}
	req := ask("s3:GetObject", arn+"a/x/k")
	if n := testing.AllocsPerRun(100, func() { (Set{a, x}).Eval(req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRefused(t *testing.T) {
	ok := stmt("Allow", `"s3:*"`, `"*"`)
	with := func(extra string) string { return doc(ok, strings.TrimSuffix(ok, "}")+","+extra+"}") }
	for _, c := range []struct{ doc, names string }{
		{"", "ends early"}, {"{", "ends early"}, {"[]", "JSON object"}, {"null", "JSON object"}, {`"x"`, "JSON object"},
		{"{}", "Statement"}, {doc(), "Statement"}, {doc(ok) + "x", ""}, {doc(ok) + doc(ok), "after"}, {doc(ok)[:30], "ends early"},
		{`{"Statement":null}`, "Statement"}, {`{"Statement":"x"}`, "Statement"}, {`{"Statement":[1]}`, "Statement[0]"}, {`{"Statement":[[]]}`, "Statement[0]"},
		{`{"Version":"2012-10-18","Statement":` + ok + `}`, "Version"}, {`{"Version":2012,"Statement":` + ok + `}`, "Version"},
		{`{"version":"2012-10-17","Statement":` + ok + `}`, "version"}, {`{"Statement":` + ok + `,"Statement":` + ok + `}`, "Statement: given twice"},
		{`{"Extra":{},"Statement":` + ok + `}`, "Extra"}, {`{"Id":[],"Statement":` + ok + `}`, "Id"},
		{with(`"Condition":{"StringEqualz":{"aws:username":"a"}}`), "Statement[1]: Condition: StringEqualz: unknown operator"},
		{with(`"Condition":[]`), "Condition"}, {with(`"NotAction":"s3:*"`), "NotAction"}, {with(`"NotResource":"*"`), "NotResource"},
		{with(`"Principal":"*"`), "Principal"}, {with(`"NotPrincipal":"*"`), "NotPrincipal"}, {with(`"action":"s3:*"`), "action"},
		{with(`"Effect":"Deny"`), "Effect: given twice"}, {with(`"\u0045ffect":"Deny"`), "Effect: given twice"}, {with(`"Sid":1`), "Sid"},
		{`{"Statement":{"Action":"s3:*","Resource":"*"}}`, "Effect: missing"}, {`{"Statement":{"Effect":"Allow","Resource":"*"}}`, "Action: missing"},
		{`{"Statement":{"Effect":"Allow","Action":"s3:*"}}`, "Resource: missing"}, {`{"Statement":{}}`, "missing"},
		{doc(stmt("allow", `"s3:*"`, `"*"`)), "Effect"}, {doc(stmt("", `"s3:*"`, `"*"`)), "Effect"},
		{doc(stmt("Allow", `[]`, `"*"`)), "Action: empty"}, {doc(stmt("Allow", `"s3:*"`, `[]`)), "Resource: empty"},
		{doc(stmt("Allow", `null`, `"*"`)), "Action"}, {doc(stmt("Allow", `{}`, `"*"`)), "Action"}, {doc(stmt("Allow", `[["s3:*"]]`, `"*"`)), "Action"},
		{doc(stmt("Allow", `[1]`, `"*"`)), "Action"}, {doc(stmt("Allow", `""`, `"*"`)), "Action"}, {doc(stmt("Allow", `"GetObject"`, `"*"`)), "Action"},
		{doc(stmt("Allow", `"s3:"`, `"*"`)), "Action"}, {doc(stmt("Allow", `":Get"`, `"*"`)), "Action"}, {doc(stmt("Allow", `"s3:Get Object"`, `"*"`)), "Action"},
		{doc(stmt("Allow", `"s*:Get"`, `"*"`)), "Action"}, {doc(stmt("Allow", `"s3:${x}"`, `"*"`)), "Action"},
		{doc(stmt("Allow", `"s3:*"`, `""`)), "Resource"}, {doc(stmt("Allow", `"s3:*"`, `"a/*"`)), "Resource"}, {doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::"`)), "Resource"},
		{doc(stmt("Allow", `"s3:*"`, `"arn:aws-cn:s3:::a"`)), "Resource"}, {doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:eu::a"`)), "Resource"},
		{doc(stmt("Allow", `"s3:*"`, `"arn:aws:iam:::a"`)), "Resource"}, {doc(stmt("Allow", `"s3:*"`, `"ARN:aws:s3:::a"`)), "Resource"},
		{doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::/k"`)), "Resource"}, {doc(stmt("Allow", `"s3:*"`, `["*",""]`)), "Resource"},
		{doc(stmt("Deny", `"s3:*"`, `"arn:aws:s3:::a/${username}/*"`)), "variable"}, {doc(stmt("Deny", `"s3:*"`, `"arn:aws:s3:::a/\ud800"`)), "invalid character"},
		{doc(stmt("Deny", `"s3:*"`, "\"arn:aws:s3:::\xff\"")), "UTF-8"}, {doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::`+strings.Repeat("a", maxPattern)+`"`)), "longer"},
		{doc(strings.TrimSuffix(ok, "}")+`,"Sid":"a"}`, strings.TrimSuffix(ok, "}")+`,"Sid":"a"}`), "Sid"},
		{`{"Statement":[` + strings.Repeat(ok+",", maxStatements) + ok + `]}`, "more than"}, {doc(ok) + strings.Repeat(" ", MaxSize), "larger"},
		{strings.Repeat("[", 5000), "JSON object"}, {`{"Statement":` + strings.Repeat("[", 5000), "Statement[0]"},
	} {
		p, err := Parse([]byte(c.doc))
		if p != nil || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%.120s: %v, want %q", c.doc, err, c.names)
		}
	}
}

func TestPredefined(t *testing.T) {
	if _, ok := Predefined("nothing"); ok || len(PredefinedNames()) != 3 {
		t.Fatal("names")
	}
	for action, may := range map[string]string{
		"s3:GetObject": "readonly readwrite", "s3:ListBucket": "readonly readwrite", "s3:ListAllMyBuckets": "readonly readwrite",
		"s3:GetBucketLocation": "readonly readwrite writeonly", "s3:PutObject": "readwrite writeonly", "s3:DeleteObject": "readwrite",
		"s3:AbortMultipartUpload": "readwrite writeonly", "s3:CreateBucket": "readwrite", "s3:ListMultipartUploadParts": "readonly readwrite writeonly",
		"s3:PutObjectTagging": "readwrite writeonly", "s3:PutBucketPolicy": "readwrite", "iam:CreateUser": "",
	} {
		for _, name := range PredefinedNames() {
			text, _ := Predefined(name)
			got := parse(t, text).Eval(ask(action, arn+"b/k")) == Allow && parse(t, text).Eval(ask(action, arn+"*")) == Allow
			if got != strings.Contains(may, name) {
				t.Errorf("%s: %s: %v", name, action, got)
			}
		}
	}
}

func BenchmarkEval(b *testing.B) {
	text, _ := Predefined("readonly")
	p := parse(b, text)
	req := ask("s3:ListBucket", arn+"bucket/some/longer/key.jpg")
	b.ReportAllocs()
	for b.Loop() {
		p.Eval(req)
	}
}
