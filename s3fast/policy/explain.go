package policy

import (
	"fmt"
	"strings"
)

// Explanation tells how a decision came about.
type Explanation struct {
	Decision   Decision
	Reason     string // one sentence
	Statements []StatementResult
}

// StatementResult is what one statement contributed.
type StatementResult struct {
	Source  string // "identity", "narrow", "bucket"
	Policy  int    // index within its source
	Name    string // of an identity policy, where Input.Names tells it
	Index   int    // of the statement within its policy
	Sid     string
	Effect  string // "Allow" or "Deny"
	Matched bool
	Why     string // which element did not match, or that all did
}

// Explain decides as Decide does, and tells how: every statement of every
// policy, in order, with the first element that does not match. It repeats
// values of the request, cut to 64 bytes.
func Explain(r *Request, in *Input) Explanation {
	// Explaining repeats most of the tests: it may take more steps than Decide.
	const allowance = -8 * maxSteps
	x := explainer{r: r, c: lookups{context: r.Context, steps: allowance}}
	for i, p := range in.Identity {
		name := ""
		if i < len(in.Names) {
			name = in.Names[i]
		}
		x.policy("identity", i, name, p)
	}
	identity := x.take().decision()
	if identity == Deny {
		// The others are listed all the same, and can change nothing.
		identity = DefaultDeny
	}
	narrow, refuses := true, 0
	for i, p := range in.Narrow {
		x.policy("narrow", i, "", p)
		if x.take().decision() != Allow && narrow {
			narrow, refuses = false, i
		}
	}
	x.policy("bucket", 0, "", in.Bucket)
	bucket := x.take()
	if x.denied != nil {
		return Explanation{Deny, fmt.Sprintf("An explicit deny decides: %s.", x.denied.name()), x.results}
	}
	if x.c.steps-allowance > maxSteps && Decide(r, in) == Deny {
		return Explanation{Deny, "The wildcards of the policies take too many steps to match.", x.results}
	}
	by := settle(r, in, identity, narrow, bucket)
	e := Explanation{Decision: DefaultDeny, Statements: x.results}
	switch by {
	case byIdentity:
		e.Decision, e.Reason = Allow, fmt.Sprintf("Allowed by %s%s.", x.first("identity").name(), narrowed(in))
	case byBucket:
		e.Decision, e.Reason = Allow, fmt.Sprintf("Allowed by %s.", x.first("bucket").name())
	case notNarrow:
		e.Reason = fmt.Sprintf("Narrowing policy %d, which must allow as well, does not.", refuses)
	case notPublic:
		e.Reason = "The bucket policy is public, and public grants are restricted (RestrictPublicBuckets)."
	case notAnonymous:
		e.Reason = "The request is anonymous, and no statement of a bucket policy allows everyone."
	case notDelegated:
		e.Reason = "The bucket policy allows the account, which leaves it to identity policies, and none of them allows."
	default:
		e.Reason = "No statement allows."
	}
	return e
}

func narrowed(in *Input) string {
	if len(in.Narrow) == 0 {
		return ""
	}
	return ", and every narrowing policy allows as well"
}

// explainer collects results.
type explainer struct {
	r       *Request
	c       lookups
	results []StatementResult
	grants  []grant          // of results
	most    grant            // of the policies since the last take
	denied  *StatementResult // the first deny that matches
}

// take ends a source and returns the most that its policies grant.
func (x *explainer) take() grant {
	g := x.most
	x.most = grantNone
	return g
}

// policy lists a policy's statements.
func (x *explainer) policy(source string, index int, name string, p *Policy) {
	if p == nil {
		return
	}
	for i := range p.statements {
		s := &p.statements[i]
		missed, g := s.test(x.r, &x.c)
		res := StatementResult{
			Source: source, Policy: index, Name: name, Index: i, Sid: s.sid, Effect: "Allow",
			Matched: missed == missNothing, Why: s.why(x.r, &x.c, missed, g),
		}
		if s.effect == Deny {
			res.Effect = "Deny"
		}
		x.results, x.grants = append(x.results, res), append(x.grants, g)
		if missed != missNothing {
			continue
		}
		x.most = max(x.most, g)
		if g == grantDeny && x.denied == nil {
			x.denied = &res
		}
	}
}

// first returns the first of a source's statements that grant the most.
func (x *explainer) first(source string) *StatementResult {
	best, most := &StatementResult{Source: source}, grantAccount
	for i := range x.results {
		if x.results[i].Source == source && x.grants[i] > most {
			best, most = &x.results[i], x.grants[i]
		}
	}
	return best
}

func (s *StatementResult) name() string {
	text := fmt.Sprintf("statement %d of ", s.Index)
	if s.Sid != "" {
		text = fmt.Sprintf("statement %d (%q) of ", s.Index, clip(s.Sid))
	}
	switch s.Source {
	case "bucket":
		return text + "the bucket policy"
	case "narrow":
		return text + fmt.Sprintf("narrowing policy %d", s.Policy)
	}
	if s.Name != "" {
		return text + "policy " + clip(s.Name)
	}
	return text + fmt.Sprintf("identity policy %d", s.Policy)
}

const whyAccount = "every element matches; it allows the account, which leaves it to identity policies"

// why tells about a statement that has been tested.
func (s *statement) why(r *Request, c *lookups, missed miss, g grant) string {
	switch missed {
	case missAction:
		return whyElement("Action", &s.actions, r.Action, c)
	case missResource:
		return whyElement("Resource", &s.resources, r.Resource, c)
	case missPrincipal:
		return s.whyPrincipal(&r.Principal)
	case missCondition:
		for i := range s.conditions {
			if t := &s.conditions[i]; !t.holds(c, s.effect == Deny) {
				return "Condition: " + t.why(c)
			}
		}
	}
	if g == grantAccount {
		return whyAccount
	}
	return "every element matches"
}

func whyElement(name string, e *element, value string, c *lookups) string {
	for i := range e.patterns {
		switch e.patterns[i].match(value, c) {
		case yes:
			return fmt.Sprintf("Not%s: excepts %q", name, clip(value))
		case unknown:
			if e.not {
				name = "Not" + name
			}
			return name + ": a variable has no value"
		}
	}
	return fmt.Sprintf("%s: does not match %q", name, clip(value))
}

func (s *statement) whyPrincipal(p *Principal) string {
	who := fmt.Sprintf("%q", clip(p.ARN))
	if p.Anonymous {
		who = "anonymous requests"
	}
	if s.principals.not {
		return "NotPrincipal: excepts " + who
	}
	return "Principal: does not name " + who
}

// why tells of a condition that does not hold.
func (t *condition) why(c *lookups) string {
	values := c.get(t.key)
	text := t.operator + " " + clip(t.name) + ": "
	if len(values) == 0 {
		return text + "the request has no value"
	}
	const most = 4
	var quoted []string
	for i, v := range values {
		if i == most {
			quoted = append(quoted, "…")
			break
		}
		quoted = append(quoted, fmt.Sprintf("%q", clip(v)))
	}
	text += "does not hold for " + strings.Join(quoted, ", ")
	for _, v := range values {
		if t.test != nil && t.compare(v, c) == unknown {
			return text + ": it cannot be compared, or a variable has no value"
		}
	}
	return text
}
