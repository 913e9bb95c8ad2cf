package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	account     = "111122223333"
	canonicalID = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"
)

// cast are those who ask in the tables of testdata/decisions.
func cast(who string) (Principal, bool) {
	user, role := "arn:aws:iam::"+account+":user/", "arn:aws:iam::"+account+":role/"
	sts := "arn:aws:sts::" + account + ":"
	p := Principal{Account: account, Canonical: canonicalID}
	switch who {
	case "anon":
		return Principal{Anonymous: true}, true
	case "alice", "bob":
		p.ARN = user + who
	case "mallory": // of an account whose canonical id is not known
		p.ARN, p.Canonical = user+who, ""
	case "sa": // a service account of alice's
		p.ARN = user + "alice"
	case "s1", "s2": // sessions of alice's
		p.ARN, p.Parents = sts+"assumed-role/alice/"+who, []string{role + "alice", user + "alice"}
	case "sas": // a session of alice's service account
		p.ARN, p.Parents, p.Bound = sts+"assumed-role/alice/s1", []string{role + "alice", user + "alice"}, true
	case "fed": // a federated user session of alice's
		p.ARN, p.Parents = sts+"federated-user/alice", []string{user + "alice"}
	case "web": // a web identity's session
		p.ARN, p.Parents = sts+"assumed-role/web/subject", []string{role + "web"}
	case "eve": // of another account
		p = Principal{Account: "999988887777", ARN: "arn:aws:iam::999988887777:user/eve", Canonical: strings.Repeat("e", 64)}
	default:
		return p, false
	}
	return p, true
}

// values is a Context. It fails the test when asked for a key that is not in
// normal form.
type values struct {
	t testing.TB
	m map[string][]string
	// asked is told every key.
	asked func(key string)
}

func (v *values) Lookup(key string) []string {
	name, _, _ := strings.Cut(key, "/")
	if strings.ToLower(name) != name {
		v.t.Errorf("lookup of %q", key)
	}
	if v.asked != nil {
		v.asked(key)
	}
	return v.m[key]
}

func (v *values) add(key, value string) {
	name, tag, family := strings.Cut(key, "/")
	key = strings.ToLower(name)
	if family {
		key += "/" + tag
	}
	v.m[key] = append(v.m[key], value)
}

// table reads a file of decisions and calls case for each case, public for each
// claim about a bucket policy.
type table struct {
	t        *testing.T
	name     string
	line     int
	docs     map[string]string
	policies map[string]*Policy
	in       Input
	input    [3][]string // names of the documents in force: identity, narrow, bucket
	cases    int
	each     func(tb *table, r *Request, want Decision)
}

func (tb *table) errorf(format string, args ...any) {
	tb.t.Helper()
	tb.t.Errorf("%s:%d: %s", tb.name, tb.line, fmt.Sprintf(format, args...))
}

func (tb *table) fatalf(format string, args ...any) {
	tb.t.Helper()
	tb.t.Fatalf("%s:%d: %s", tb.name, tb.line, fmt.Sprintf(format, args...))
}

func (tb *table) run(text string) {
	page := false
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		tb.line = i + 1
		f := strings.Fields(lines[i])
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "page":
			page = len(f) > 2
		case "policy", "bucket":
			var doc []string
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
				doc = append(doc, lines[i])
			}
			tb.define(f[0], f[1], strings.Join(doc, "\n"))
		case "with":
			tb.with(f[1:])
		case "public", "private":
			tb.cases++
			if got := tb.policy(f[1]).IsPublic(); got != (f[0] == "public") {
				tb.errorf("public: %v", got)
			}
		case "allow", "deny", "none":
			if !page {
				tb.fatalf("no page is named")
			}
			tb.ask(f)
		default:
			tb.fatalf("what is %q?", f[0])
		}
	}
}

func (tb *table) define(kind, name, doc string) {
	var p *Policy
	var err error
	if kind == "policy" {
		p, err = Parse([]byte(doc))
	} else {
		p, err = ParseBucket([]byte(doc), "b")
	}
	if err != nil {
		tb.fatalf("%s: %v", name, err)
	}
	if tb.policies[name] != nil {
		tb.fatalf("%s: defined twice", name)
	}
	tb.policies[name], tb.docs[name] = p, doc
}

func (tb *table) policy(name string) *Policy {
	if tb.policies[name] == nil {
		tb.fatalf("no policy %s", name)
	}
	return tb.policies[name]
}

func (tb *table) with(words []string) {
	tb.in, tb.input = Input{}, [3][]string{}
	for _, w := range words {
		kind, names, _ := strings.Cut(w, "=")
		for _, name := range strings.Split(names, ",") {
			switch kind {
			case "identity":
				tb.in.Identity = append(tb.in.Identity, tb.policy(name))
				tb.input[0] = append(tb.input[0], tb.docs[name])
			case "narrow":
				tb.in.Narrow = append(tb.in.Narrow, tb.policy(name))
				tb.input[1] = append(tb.input[1], tb.docs[name])
			case "bucket":
				tb.in.Bucket = tb.policy(name)
				tb.input[2] = []string{tb.docs[name]}
			case "restrict":
				tb.in.RestrictPublic = true
			default:
				tb.fatalf("what is %q?", w)
			}
		}
	}
}

func (tb *table) ask(f []string) {
	tb.cases++
	who, ok := cast(f[1])
	if !ok {
		tb.fatalf("who is %s?", f[1])
	}
	ctx := &values{t: tb.t, m: map[string][]string{}}
	for _, pair := range f[4:] {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			tb.fatalf("what is %q?", pair)
		}
		if strings.HasPrefix(value, `"`) {
			var err error
			if value, err = strconv.Unquote(value); err != nil {
				tb.fatalf("%s: %v", pair, err)
			}
		}
		ctx.add(key, value)
	}
	want := map[string]Decision{"allow": Allow, "deny": Deny, "none": DefaultDeny}[f[0]]
	tb.each(tb, &Request{Action: f[2], Resource: arn + f[3], Principal: who, Context: ctx}, want)
}

// readTables runs fn on every case of the tables and returns their number.
func readTables(t *testing.T, fn func(tb *table, r *Request, want Decision)) int {
	t.Helper()
	files, err := filepath.Glob("testdata/decisions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no tables", err)
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tb := &table{t: t, name: filepath.Base(file), docs: map[string]string{}, policies: map[string]*Policy{}, each: fn}
		tb.run(string(text))
		n += tb.cases
	}
	return n
}

func TestDecisions(t *testing.T) {
	n := readTables(t, func(tb *table, r *Request, want Decision) {
		ctx := r.Context.(*values)
		times := map[string]int{}
		ctx.asked = func(key string) {
			if times[key]++; times[key] > 2 { // by Decide and by Explain
				tb.errorf("asks for %s again", key)
			}
			if !tb.in.Uses(key) {
				tb.errorf("asks for %s, which it says it does not use", key)
			}
		}
		if got := Decide(r, &tb.in); got != want {
			tb.errorf("%v, want %v", got, want)
		}
		x := Explain(r, &tb.in)
		if x.Decision != want || x.Reason == "" {
			tb.errorf("explained as %v: %s", x.Decision, x.Reason)
		}
		if n := explained(&tb.in); n != len(x.Statements) {
			tb.errorf("%d statements explained of %d", len(x.Statements), n)
		}
	})
	if n < 400 {
		t.Errorf("only %d cases", n)
	}
	t.Logf("%d cases", n)
}

func explained(in *Input) int {
	n := 0
	for _, p := range append(append(Set{in.Bucket}, in.Identity...), in.Narrow...) {
		if p != nil {
			n += len(p.statements)
		}
	}
	return n
}
