// Package policy parses and evaluates IAM policies (AWS IAM User Guide, "IAM
// JSON policy reference"). It is pure. Elements it does not evaluate yet, such
// as Condition, are refused by the parser: a policy is never weaker or stronger
// than it reads. Evaluation is explicit deny, then allow, then deny by default.
package policy
