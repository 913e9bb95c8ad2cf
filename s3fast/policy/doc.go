// Package policy parses and evaluates IAM policies: identity and session
// policies (Parse) and bucket policies (ParseBucket). It is pure: no clock, no
// I/O, no state. A Policy is compiled once, immutable and safe for concurrent
// use; deciding does not allocate.
//
// The rules are those of the AWS IAM User Guide; the pages named below are its
// pages unless another guide is given. Two invariants guide every choice that
// AWS leaves open:
//
//   - A Deny is never weaker than it reads, an Allow never stronger. What cannot
//     be evaluated (an unknown element, operator or condition key, a value of the
//     wrong type) is refused by the parser, and what turns out to be undecidable
//     in a request (a variable without a value, a value that is no number) never
//     matches an Allow, and matches the negated tests of a Deny.
//   - Deny by default.
//
// # Decision
//
// "Policy evaluation logic", within one account. Decide takes, in this order:
//
//  1. An explicit Deny in any policy decides.
//  2. A bucket policy that allows everyone ("*"), or the very principal that
//     asks, decides: neither the absence of an identity policy nor a session
//     policy limits it. Of a session the very principal is its session ARN. A
//     service account's own policy does limit it: AWS has no such thing, and a
//     bound that a session name of one's own choice could undo would be none.
//  3. Otherwise an identity policy must allow, or the bucket policy must allow
//     an ARN that stands behind the session or service account (its role, its
//     user); and every narrowing policy must allow as well.
//  4. A bucket policy that allows the account ("111122223333",
//     "arn:aws:iam::111122223333:root", a canonical user id) delegates to the
//     account's identity policies ("AWS JSON policy elements: Principal"): by
//     itself it grants nothing.
//  5. Anonymous requests have the bucket policy only, and of it what is granted
//     to everyone, unless RestrictPublic is set and the policy is public.
//
// A decision whose wildcards and variables take too many steps (maxSteps) is an
// explicit Deny. It takes patterns made for the purpose.
//
// # Elements
//
// "IAM JSON policy element reference", "Grammar of the IAM JSON policy
// language". Names are exact, given once, and no others are known. Exactly one
// of Action and NotAction, one of Resource and NotResource, and in a bucket
// policy one of Principal and NotPrincipal; the latter only with Deny, as its
// page rules. Without Version, or with 2008-10-17, "${…}" is literal text.
//
// A bucket policy's actions are S3's, and each of its resources is the bucket
// itself or lies in it (S3 User Guide, "Bucket policies"): "*" is refused.
//
// # Principals
//
// "AWS JSON policy elements: Principal". A wildcard is only the whole "*".
//
//	"*", {"AWS": "*"}                       everyone, anonymous requests too
//	{"AWS": "111122223333"}, …:root         everyone in the account
//	{"AWS": "arn:aws:iam::…:user/…"}        that ARN, and what it stands behind; also
//	        …:role/…, "arn:aws:sts::…:assumed-role/…/…", "…:federated-user/…".
//	        Without an account ("arn:aws:iam:::user/x") in whatever account.
//	{"CanonicalUser": 64 hex digits}        the account that has this id. While an account's
//	        own id is not known a Deny takes it to be the one.
//	{"Federated": "accounts.google.com"}    sessions whose aws:FederatedProvider is that
//	{"Service": "…"}                        never: no service acts here
//
// NotPrincipal (with Deny) excepts whoever is named by its own ARN or by its
// federation. An account or a role in the list excepts no one else of the
// account or role: AWS asks for them besides the user or session.
//
// # Conditions
//
// "IAM JSON policy elements: Condition operators", "Multivalued context keys".
// All conditions of a statement must hold; of a condition's values one must
// match, and of a negated condition's none.
//
//   - Key absent: a test is false, a negated test true. …IfExists: true.
//     ForAllValues: true; ForAnyValue: false, negated or not. Null tells.
//   - For set operators and Null a single empty value is an empty set.
//   - Several values without set operator (AWS leaves it open): in an Allow all
//     of them must pass the test, in a Deny one suffices.
//   - A value that is not of the operator's type (a Numeric test of "abc"), or
//     that is compared to a variable without value: matches no test; passes a
//     negated test of a Deny, not of an Allow.
//   - Arn operators compare the six parts of an ARN apart, with wildcards; "*"
//     is any ARN. Numbers are decimal and exact. Dates are W3C ISO 8601 or
//     seconds since 1970; a number of four digits is a year.
//   - IP ranges are of one family; IPv4 in IPv6 form counts as IPv4.
//
// Keys: aws: ("AWS global condition context keys") and s3: (Service
// Authorization Reference, "Condition keys for Amazon S3"; any s3:x-amz-…)
// must be known, in identity policies too: S3 answers MalformedPolicy to an
// unknown key in a bucket policy, and a misspelt key would make a Deny void.
// Of jwt:, sts:, svc:, ldap:, saml: and the keys of OIDC providers (whose
// prefix is a host name) only the syntax is checked.
//
// # Variables
//
// "IAM policy elements: Variables and tags". In resources behind the bucket
// prefix, and in the values of String and Arn operators: ${key}, ${key,
// 'default'}, ${*}, ${?}, ${$}. A value is compared literally: what it holds is
// never a wildcard. A key with several values has no value as a variable.
package policy
