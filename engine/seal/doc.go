// Package seal is encryption at rest (AES-256-GCM throughout). It is a leaf.
//
//   - Key encrypts small secrets with a key derived from the cluster key file,
//     which is kept apart from the drives: a copied drive does not tell a secret.
//   - DataKey is the key of one object's data, kept with the object, wrapped by a
//     key from elsewhere (package keyring, or the customer's).
//   - Payload encrypts that data in chunks, so that a range of it can be read and
//     verified without the rest.
//
// What protects what is in engine/ARCHITECTURE.md, every byte in FORMAT.md.
package seal
