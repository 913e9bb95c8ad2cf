package iam

import "errors"

// Errors; test with errors.Is. Those of sessions are in session.go.
var (
	ErrNoUser           = errors.New("iam: no such user")
	ErrUserExists       = errors.New("iam: user exists")
	ErrBadName          = errors.New("iam: invalid name")
	ErrBadPassword      = errors.New("iam: password too weak: at least 8 characters with an upper-case letter, a lower-case letter, and a digit or special character")
	ErrNeedPassword     = errors.New("iam: a user that becomes an s3 user needs a new password: the old one is stored as a hash only")
	ErrBadRole          = errors.New("iam: unknown role")
	ErrLastAdmin        = errors.New("iam: the last enabled clusteradmin must stay one")
	ErrNoPolicy         = errors.New("iam: no such policy")
	ErrPolicyExists     = errors.New("iam: policy exists")
	ErrPolicyInUse      = errors.New("iam: policy is attached")
	ErrPredefined       = errors.New("iam: predefined policies cannot be changed")
	ErrNotS3User        = errors.New("iam: only s3 users take policies, groups, access keys and service accounts")
	ErrAlreadyAttached  = errors.New("iam: user has a policy attached")
	ErrNotAttached      = errors.New("iam: no policy attached")
	ErrNoGroup          = errors.New("iam: no such group")
	ErrGroupExists      = errors.New("iam: group exists")
	ErrGroupInUse       = errors.New("iam: group has members")
	ErrNotMember        = errors.New("iam: not a member of the group")
	ErrNoAccessKey      = errors.New("iam: no such access key")
	ErrNoServiceAccount = errors.New("iam: no such service account")
	ErrBadExpiry        = errors.New("iam: expiry is not in the future")
	ErrDisabled         = errors.New("iam: disabled")
	ErrExpired          = errors.New("iam: expired")
	ErrLimit            = errors.New("iam: limit reached")
	ErrCorrupt          = errors.New("iam: stored document is damaged or of a newer version")
)
