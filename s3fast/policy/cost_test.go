package policy

import (
	"fmt"
	"strings"
	"testing"
)

// costly is a policy of about MaxSize whose values are of the form given, on the
// key aws:UserAgent, and a request whose header fills the largest header block.
func costly(t testing.TB, effect, operator, value string, agent string) (*Policy, *Request) {
	t.Helper()
	values := make([]string, min((MaxSize-400)/(len(value)+3), maxValues))
	for i := range values {
		values[i] = fmt.Sprintf("%q", value)
	}
	p := parse(t, doc(fmt.Sprintf(`{"Effect":%q,"Action":"s3:*","Resource":"*","Condition":{%q:{"aws:UserAgent":[%s]}}}`,
		effect, operator, strings.Join(values, ",")), `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	return p, &Request{Action: "s3:GetObject", Resource: arn + "b/key", Context: header(agent)}
}

// header has one condition key.
type header string

func (h header) Lookup(key string) []string {
	if key != "aws:useragent" {
		return nil
	}
	return []string{string(h)}
}

// However policies and requests are made, a decision takes a bounded time; one
// that would take more is a Deny, whatever statement costs so much.
func TestDecisionsAreBounded(t *testing.T) {
	long := strings.Repeat("a", 15<<10)
	for name, c := range map[string]struct{ operator, value, agent string }{
		"one star":       {"StringLike", "*" + strings.Repeat("?a", 1000) + "b", long},
		"many values":    {"StringLike", "*" + strings.Repeat("?a", 100) + "b", long},
		"many stars":     {"StringLike", strings.Repeat("*?a", 600) + "b", long},
		"variables":      {"StringEqualsIgnoreCase", strings.Repeat("${aws:useragent}", maxVariables), long},
		"variable globs": {"StringLike", strings.Repeat("*${aws:referer, 'aa'}?", maxVariables) + "b", long},
	} {
		for _, effect := range []string{"Allow", "Deny"} {
			p, r := costly(t, effect, c.operator, c.value, c.agent)
			in := &Input{Identity: Set{p}}
			if d := Decide(r, in); d != Deny {
				t.Errorf("%s, %s: %v, want deny", name, effect, d)
			}
			steps := lookups{context: r.Context}
			if p.grant(r, &steps); steps.steps > maxSteps*3/2 {
				t.Errorf("%s, %s: %d steps, at most %d", name, effect, steps.steps, maxSteps)
			}
			if effect == "Allow" { // the dearest of all, and no different for the other
				if x := Explain(r, in); x.Decision != Deny || !strings.Contains(x.Reason, "too many steps") {
					t.Errorf("%s: explained as %v: %s", name, x.Decision, x.Reason)
				}
			}
			for where, in := range map[string]*Input{"narrow": {Identity: Set{everything(t)}, Narrow: []*Policy{p}}, "bucket": {Identity: Set{everything(t)}, Bucket: p}} {
				if d := Decide(r, in); d != Deny {
					t.Errorf("%s, %s, as %s: %v, want deny", name, effect, where, d)
				}
			}
			if d := p.Eval(r); d != Deny {
				t.Errorf("%s, %s: alone %v, want deny", name, effect, d)
			}
		}
	}
}

func everything(t testing.TB) *Policy {
	return parse(t, doc(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
}

// What people write does not come near the bound: five hundred suffixes, and the
// longest key.
func TestUsualWildcardsAreCheap(t *testing.T) {
	var suffixes []string
	for i := range 500 {
		suffixes = append(suffixes, fmt.Sprintf(`"%sb/*-%d.j?g"`, arn, i))
	}
	p := parse(t, doc(`{"Effect":"Allow","Action":"s3:*Object*","Resource":[`+strings.Join(suffixes, ",")+`]}`))
	key := strings.Repeat("a-4/", 250) + "x-499.jpg"
	c := lookups{}
	if g := p.grant(&Request{Action: "s3:GetObject", Resource: arn + "b/" + key}, &c); g != grantAll || c.steps > maxSteps/8 {
		t.Errorf("grant %v after %d steps of %d", g, c.steps, maxSteps)
	}
}
