// Package kms wraps keys by keys that it does not give away: a file of
// key-encryption keys on this server, or the transit engine of a
// HashiCorp-Vault-compatible server. It is a leaf.
package kms
