// Package keyring holds the keys that wrap objects' data keys. Ring keys are
// random, are themselves wrapped by a key management service, and are kept so in
// the cluster's configuration; unwrapped they exist in memory only. So each
// object has a data key of its own and no request waits for the service. It
// stores through a small interface and knows no engine.
//
// It also knows the file ENCRYPTION, which holds the key of an encrypted metadata
// store, wrapped likewise: the store cannot hold it.
//
// Invariants:
//
//   - A ring key is never changed and never deleted: what was wrapped by it opens
//     as long as its document and the service's key are there.
//   - A document names the backend that wrapped it, so that at every moment of a
//     rotation or a change of backend each document opens by itself.
//   - A ring key is used only after its document is durable.
package keyring
