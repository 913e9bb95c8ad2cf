package policy

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// naive is a second evaluator, written from the rules in doc.go on top of the
// standard library's JSON, regular expressions, numbers, dates and networks. It
// takes documents that the parser has accepted.
type naive struct {
	who       Principal
	ctx       map[string][]string
	variables bool
}

var token = regexp.MustCompile(`(?s)\$\{[^}]*\}|.`)

// parts expands a template into a regular expression for each of its parts,
// which sep divides; "" for a single part. ok is false without a variable's
// value.
func (n *naive) parts(text, sep string, wild bool) (parts []string, ok bool) {
	parts = []string{""}
	for _, t := range token.FindAllString(text, -1) {
		at := &parts[len(parts)-1]
		switch {
		case t == sep && len(parts) < 6:
			parts = append(parts, "")
		case wild && t == "*":
			*at += ".*"
		case wild && t == "?":
			*at += "."
		case len(t) > 3 && strings.HasPrefix(t, "${") && n.variables:
			v, found := n.value(t[2 : len(t)-1])
			if !found {
				return nil, false
			}
			*at += regexp.QuoteMeta(v)
		case len(t) > 3 && wild: // 2008-10-17: literal, but for wildcards
			for _, r := range t {
				p, _ := n.parts(string(r), "", true)
				*at += p[0]
			}
		default:
			*at += regexp.QuoteMeta(t)
		}
	}
	return parts, true
}

func (n *naive) value(name string) (string, bool) {
	switch name {
	case "*", "?", "$":
		return name, true
	}
	key, def, has := strings.Cut(name, ",")
	v := n.lookup(key)
	switch {
	case len(v) == 1:
		return v[0], true
	case len(v) == 0 && has:
		return strings.Trim(strings.TrimSpace(def), "'"), true
	}
	return "", false
}

func (n *naive) lookup(key string) []string {
	name, tag, family := strings.Cut(key, "/")
	key = strings.ToLower(name)
	if family {
		key += "/" + tag
	}
	return n.ctx[key]
}

func re(flags, expr, s string) bool {
	return regexp.MustCompile("(?s" + flags + ")^" + expr + "$").MatchString(s)
}

// glob is 1 for a match, 0 for none, -1 when it cannot be told.
func (n *naive) glob(text, s string, wild bool, flags string) int {
	p, ok := n.parts(text, "", wild)
	switch {
	case !ok && n.possible(text, s, wild):
		return -1
	case ok && re(flags, p[0], s):
		return 1
	}
	return 0
}

// possible tells whether the text before the first wildcard or variable fits.
func (n *naive) possible(text, s string, wild bool) bool {
	head := ""
	for _, t := range token.FindAllString(text, -1) {
		if v := strings.TrimSuffix(strings.TrimPrefix(t, "${"), "}"); len(t) == 4 && strings.Contains("*?$", v) {
			head += v
			continue
		}
		if len(t) > 3 || wild && (t == "*" || t == "?") {
			break
		}
		head += t
	}
	return strings.HasPrefix(s, head)
}

func list(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, list(e)...)
		}
		return out
	case string:
		return []string{v}
	case bool:
		return []string{map[bool]string{true: "true", false: "false"}[v]}
	default:
		return []string{string(v.(json.Number))}
	}
}

// element decides on Action or Resource and their negations.
func (n *naive) element(s map[string]any, name, got string, deny bool, match func(text, got string) int) bool {
	texts, not := s[name], false
	if texts == nil {
		texts, not = s["Not"+name], true
	}
	unsure := false
	for _, text := range list(texts) {
		switch match(text, got) {
		case 1:
			return !not
		case -1:
			unsure = true
		}
	}
	return not && (deny || !unsure)
}

const naiveDeny = 5

// statement gives how much is granted: 0 nothing, 1 the account, 2 behind, 3
// own, 4 all, 5 an explicit deny.
func (n *naive) statement(s map[string]any, action, resource string) int {
	deny := s["Effect"] == "Deny"
	if !n.element(s, "Action", action, deny, func(text, got string) int {
		if re("i", strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(text)), got) {
			return 1
		}
		return 0
	}) {
		return 0
	}
	if !n.element(s, "Resource", resource, deny, func(text, got string) int { return n.glob(text, got, true, "") }) {
		return 0
	}
	g := 4
	if p := s["Principal"]; p != nil {
		g = n.principal(p, deny)
	} else if p := s["NotPrincipal"]; p != nil {
		m, _ := p.(map[string]any)
		if p == "*" || n.named(list(m["AWS"]), n.who.ARN) || slices.Contains(list(m["AWS"]), "*") || n.federated(m) {
			g = 0
		}
	}
	if g == 0 {
		return 0
	}
	conditions, _ := s["Condition"].(map[string]any)
	for op, keys := range conditions {
		for key, values := range keys.(map[string]any) {
			if !n.condition(op, key, list(values), deny) {
				return 0
			}
		}
	}
	if deny {
		return naiveDeny
	}
	return g
}

func (n *naive) named(texts []string, arn string) bool {
	for _, t := range texts {
		if strings.HasPrefix(t, "arn:") && !strings.HasSuffix(t, ":root") &&
			re("", strings.ReplaceAll(regexp.QuoteMeta(t), ":::", "::[0-9]{12}:"), arn) {
			return true
		}
	}
	return false
}

func (n *naive) federated(m map[string]any) bool {
	v := n.ctx["aws:federatedprovider"]
	return len(v) == 1 && slices.Contains(list(m["Federated"]), v[0])
}

func (n *naive) principal(p any, deny bool) int {
	m, _ := p.(map[string]any)
	aws := list(m["AWS"])
	if p == "*" || slices.Contains(aws, "*") {
		return 4
	}
	if n.who.Anonymous {
		return 0
	}
	if n.named(aws, n.who.ARN) {
		return 3
	}
	for _, parent := range n.who.Parents {
		if n.named(aws, parent) {
			return 2
		}
	}
	if n.federated(m) {
		return 2
	}
	if slices.Contains(aws, n.who.Account) || slices.Contains(aws, "arn:aws:iam::"+n.who.Account+":root") {
		return 1
	}
	for _, id := range list(m["CanonicalUser"]) {
		if strings.EqualFold(id, n.who.Canonical) || deny && n.who.Canonical == "" {
			return 1
		}
	}
	return 0
}

func (n *naive) condition(op, key string, want []string, deny bool) bool {
	values := n.lookup(key)
	empty := len(values) == 0 || slices.Equal(values, []string{""})
	if op == "Null" {
		for _, w := range want {
			if strings.EqualFold(w, "true") == empty {
				return true
			}
		}
		return false
	}
	op, exists := strings.CutSuffix(op, "IfExists")
	if exists && len(values) == 0 {
		return true
	}
	set, base, ok := strings.Cut(op, ":")
	if !ok {
		set, base = "", op
	}
	negated := strings.Contains(base, "Not")
	passed := 0
	for _, v := range values {
		best := 0
		for _, w := range want {
			switch n.compare(base, v, w) {
			case 1:
				best = 1
			case -1:
				if best == 0 {
					best = -1
				}
			}
		}
		if best == 1 && !negated || best == 0 && negated || best == -1 && negated && deny {
			passed++
		}
	}
	all, some := passed == len(values), passed > 0
	switch {
	case set == "ForAllValues":
		return empty || all
	case set == "ForAnyValue":
		return !empty && some
	case len(values) == 0:
		return negated
	case deny:
		return some
	}
	return all
}

func (n *naive) compare(base, v, w string) int {
	truth := map[bool]int{true: 1, false: 0}
	plain := strings.Replace(base, "Not", "", 1)
	switch {
	case plain == "StringEqualsIgnoreCase":
		p, ok := n.parts(w, "", false)
		if !ok {
			return -1
		}
		return truth[re("i", p[0], v)]
	case strings.HasPrefix(plain, "String"):
		return n.glob(w, v, plain == "StringLike", "")
	case strings.HasPrefix(plain, "Numeric"):
		a, okA := rat(v)
		b, okB := rat(w)
		if !okA || !okB {
			return -1
		}
		return truth[order(strings.TrimPrefix(plain, "Numeric"), a.Cmp(b))]
	case strings.HasPrefix(plain, "Date"):
		a, okA := date(v)
		b, okB := date(w)
		if !okA || !okB {
			return -1
		}
		return truth[order(strings.TrimPrefix(plain, "Date"), a.Compare(b))]
	case plain == "Bool":
		if !re("i", "(true|false)", v) {
			return -1
		}
		return truth[strings.EqualFold(v, w)]
	case plain == "BinaryEquals":
		return truth[base64.StdEncoding.EncodeToString([]byte(v)) == w]
	case plain == "IpAddress":
		return n.ip(v, w)
	}
	return n.arn(v, w)
}

func rat(s string) (*big.Rat, bool) {
	if !re("", `[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)`, s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func date(s string) (time.Time, bool) {
	if re("", `[0-9]{5,12}`, s) {
		r, _ := rat(s)
		return time.Unix(r.Num().Int64(), 0), true
	}
	for _, layout := range []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil && !strings.Contains(s, ",") {
			return t, true
		}
	}
	return time.Time{}, false
}

func order(name string, cmp int) bool {
	switch name {
	case "LessThan":
		return cmp < 0
	case "LessThanEquals":
		return cmp <= 0
	case "GreaterThan":
		return cmp > 0
	case "GreaterThanEquals":
		return cmp >= 0
	}
	return cmp == 0
}

func (n *naive) ip(v, w string) int {
	v, _, _ = strings.Cut(v, "%")
	ip := net.ParseIP(v)
	if ip == nil {
		return -1
	}
	_, network, err := net.ParseCIDR(w)
	if err != nil {
		if ip.Equal(net.ParseIP(w)) {
			return 1
		}
		return 0
	}
	// Package net takes "::/0" and "0.0.0.0/0" apart by their lengths.
	if (ip.To4() == nil) != (network.IP.To4() == nil) || !network.Contains(ip) {
		return 0
	}
	return 1
}

func (n *naive) arn(v, w string) int {
	got := strings.SplitN(v, ":", 6)
	if len(got) < 6 {
		return -1
	}
	if w == "*" {
		return 1
	}
	all := 1
	depth, start, at := 0, 0, 0
	match := func(text string) bool {
		m := n.glob(text, got[at], true, "")
		if m < 0 {
			all = -1
		}
		at++
		return m != 0
	}
	for i := 0; i < len(w); i++ {
		switch {
		case n.variables && strings.HasPrefix(w[i:], "${"):
			depth = 1
		case w[i] == '}':
			depth = 0
		case w[i] == ':' && depth == 0 && at < 5:
			if !match(w[start:i]) {
				return 0
			}
			start = i + 1
		}
	}
	if !match(w[start:]) {
		return 0
	}
	return all
}

// policy gives the most that a document grants.
func (n *naive) policy(t testing.TB, doc, action, resource string) int {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	n.variables = m["Version"] == "2012-10-17"
	statements, ok := m["Statement"].([]any)
	if !ok {
		statements = []any{m["Statement"]}
	}
	most := 0
	for _, s := range statements {
		most = max(most, n.statement(s.(map[string]any), action, resource))
	}
	return most
}

// naiveDecide decides by documents; public tells whether the bucket's is.
func naiveDecide(t testing.TB, r *Request, identity, narrow, bucket []string, restrict, public bool) Decision {
	n := &naive{who: r.Principal}
	if v, ok := r.Context.(*values); ok {
		n.ctx = v.m
	}
	id, byBucket, narrowed := 0, 0, true
	for _, doc := range identity {
		id = max(id, n.policy(t, doc, r.Action, r.Resource))
	}
	denied := id == naiveDeny
	for _, doc := range narrow {
		g := n.policy(t, doc, r.Action, r.Resource)
		narrowed = narrowed && g > 0
		denied = denied || g == naiveDeny
	}
	for _, doc := range bucket {
		byBucket = n.policy(t, doc, r.Action, r.Resource)
	}
	if denied || byBucket == naiveDeny {
		return Deny
	}
	session := strings.HasPrefix(r.Principal.ARN, "arn:aws:sts:") && !r.Principal.Bound
	direct := byBucket > 2 && (len(narrow) == 0 || session)
	switch {
	case r.Principal.Anonymous:
		if byBucket == 4 && !(restrict && public) {
			return Allow
		}
	case direct, narrowed && (id > 0 || byBucket > 1):
		return Allow
	}
	return DefaultDeny
}

func TestNaiveOnTables(t *testing.T) {
	readTables(t, func(tb *table, r *Request, want Decision) {
		got := naiveDecide(t, r, tb.input[0], tb.input[1], tb.input[2], tb.in.RestrictPublic, tb.in.Bucket.IsPublic())
		if got != want {
			tb.errorf("%v, want %v", got, want)
		}
	})
}
