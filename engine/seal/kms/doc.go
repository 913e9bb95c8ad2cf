// Package kms wraps keys by keys that it does not give away: a file of
// key-encryption keys on this server (Local), or the transit engine of a
// HashiCorp-Vault-compatible server (Transit). It is a leaf.
//
// Invariants:
//
//   - A wrapped key opens for the additional data (aad) that it was wrapped with
//     and for no other, with either backend.
//   - Old versions of a key go on unwrapping after a rotation; only Wrap, Rewrap
//     and Rotate look at the newest.
//   - Every error is one of Err…, or of the caller's context; none of their texts
//     holds a key or a token.
package kms
