// Package seal encrypts small secrets at rest (AES-256-GCM) with a key derived
// from the cluster key file, which is kept apart from the drives: a copied drive
// does not tell a secret. It is a leaf.
package seal
