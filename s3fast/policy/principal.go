package policy

import (
	"errors"
	"strings"
)

// federatedProvider is the condition key that a Federated principal is compared
// with ("AWS global condition context keys", aws:FederatedProvider).
const federatedProvider = "aws:federatedprovider"

// principals is a compiled Principal or NotPrincipal. Services are left out:
// none acts here. See the package's documentation for the rules.
type principals struct {
	not       bool
	everyone  bool
	accounts  []string
	arns      []principalARN
	canonical []string
	federated []string
}

// principalARN is an ARN, or one without its account.
type principalARN struct {
	head string // the whole ARN, or "arn:aws:iam::"
	tail string // ":user/x" of an ARN without its account, else ""
}

func (a *principalARN) is(arn string) bool {
	if a.tail == "" {
		return arn == a.head
	}
	const account = 12
	return len(arn) == len(a.head)+account+len(a.tail) && strings.HasPrefix(arn, a.head) && strings.HasSuffix(arn, a.tail)
}

// match tells how the one who asks is named, or grantNone. For NotPrincipal,
// which is always a Deny's, it tells whether the Deny applies.
func (p *principals) match(who *Principal, c *lookups, deny bool) grant {
	if p.not {
		if p.everyone || p.names(who.ARN) || p.federates(c) {
			return grantNone
		}
		return grantAll
	}
	if p.everyone {
		return grantAll
	}
	if who.Anonymous {
		return grantNone
	}
	if p.names(who.ARN) {
		return grantOwn
	}
	for _, parent := range who.Parents {
		if p.names(parent) {
			return grantBehind
		}
	}
	if p.federates(c) {
		return grantBehind
	}
	for _, a := range p.accounts {
		if a == who.Account {
			return grantAccount
		}
	}
	for _, id := range p.canonical {
		if id == who.Canonical || deny && who.Canonical == "" {
			return grantAccount
		}
	}
	return grantNone
}

func (p *principals) names(arn string) bool {
	for i := range p.arns {
		if p.arns[i].is(arn) {
			return true
		}
	}
	return false
}

func (p *principals) federates(c *lookups) bool {
	if len(p.federated) == 0 {
		return false
	}
	v := c.get(federatedProvider)
	if len(v) != 1 {
		return false
	}
	for _, f := range p.federated {
		if f == v[0] {
			return true
		}
	}
	return false
}

// add adds one value of the given type: "AWS", "CanonicalUser", "Federated" or
// "Service".
func (p *principals) add(kind, text string) error {
	switch kind {
	case "AWS":
		return p.addAWS(text)
	case "CanonicalUser":
		if len(text) != 64 || !consists(text, isHex) {
			return errors.New("must be 64 hexadecimal digits")
		}
		p.canonical = append(p.canonical, lower(text))
	case "Federated":
		if !made(text, "-._/:") || strings.IndexByte(text, '.') < 0 && !strings.HasPrefix(text, "arn:aws:iam:") {
			return errors.New("must be a host name or the ARN of a provider")
		}
		p.federated = append(p.federated, text)
	case "Service":
		if !made(text, "-.") || strings.IndexByte(text, '.') < 0 {
			return errors.New(`must be like "logging.s3.amazonaws.com"`)
		}
	}
	return nil
}

func (p *principals) addAWS(text string) error {
	switch {
	case text == "*":
		p.everyone = true
		return nil
	case strings.ContainsAny(text, "*?"):
		return errors.New(`a wildcard must be the whole "*"`)
	case isAccount(text):
		p.accounts = append(p.accounts, text)
		return nil
	}
	part := strings.SplitN(text, ":", 6)
	if len(part) < 6 || part[0] != "arn" || part[1] != "aws" || part[2] != "iam" && part[2] != "sts" || part[3] != "" ||
		part[4] != "" && !isAccount(part[4]) {
		return errors.New(`must be "*", an account id of 12 digits, or like "arn:aws:iam::111122223333:user/name"`)
	}
	if part[2] == "iam" && part[5] == "root" && part[4] != "" {
		p.accounts = append(p.accounts, part[4])
		return nil
	}
	kind, name, _ := strings.Cut(part[5], "/")
	role, session, _ := strings.Cut(name, "/")
	known := false
	switch part[2] + " " + kind {
	case "iam user", "iam role":
		known = isName(name, true)
	case "sts assumed-role":
		known = isName(role, false) && isName(session, false)
	case "sts federated-user":
		known = isName(name, false)
	}
	switch {
	case !known:
		return errors.New("must name an account, user, role, assumed role with session, or federated user")
	case part[4] == "":
		p.arns = append(p.arns, principalARN{head: text[:strings.LastIndex(text, "::")+1], tail: ":" + part[5]})
	default:
		p.arns = append(p.arns, principalARN{head: text})
	}
	return nil
}

func isAccount(s string) bool {
	return len(s) == 12 && consists(s, func(c byte) bool { return '0' <= c && c <= '9' })
}

// isName tells names of users, roles and sessions, with a path before them or
// without ("IAM identifiers").
func isName(s string, path bool) bool {
	return s != "" && s[0] != '/' && s[len(s)-1] != '/' &&
		consists(s, func(c byte) bool { return '!' <= c && c < 0x7f && (c != '/' || path) && c != ':' })
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func consists(s string, of func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !of(s[i]) {
			return false
		}
	}
	return true
}
