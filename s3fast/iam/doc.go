// Package iam keeps who may sign requests: users with roles, groups, access
// keys, service accounts, the policies attached to them, and temporary
// credentials.
//
// Documents in the cluster's configuration namespace are the truth, secrets
// sealed; in memory there is a compiled form that requests read without a lock
// and without allocation, however many identities there are.
//
// Invariants:
//
//   - A change is durable before it is answered and in force with the next
//     request. When the store's answer is unknown, memory follows what the store
//     then says.
//   - One document decides: deleting a user's document ends its access keys
//     (which are in it), its memberships (likewise), its service accounts and
//     sessions (which name its id, and an id is never used twice). What is left
//     behind by a crash has no power and is cleared away later.
//   - What cannot be read never widens a right: an identity that has a policy or
//     a group whose document is damaged or missing may do nothing.
//   - Temporary credentials are stored nowhere: the token carries them, sealed,
//     and each use checks it against the present state of its user.
package iam
