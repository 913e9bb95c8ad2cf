// Package keyring holds the keys that wrap objects' data keys. Ring keys are
// random, are themselves wrapped by a key management service, and are kept so in
// the cluster's configuration; unwrapped they exist in memory only. So each
// object has a data key of its own and no request waits for the service. It
// stores through a small interface and knows no engine.
package keyring
