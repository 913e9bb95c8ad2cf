// Package oidc verifies the ID tokens of OpenID providers (OpenID Connect Core
// 1.0): discovery, key sets with rotation, RS, PS and ES signatures and EdDSA,
// and the claim that names policies. It knows nothing of S3 or STS.
//
// A Set holds the providers that are configured; it chooses by the token's issuer
// and is replaced whole when the configuration changes. A Provider fetches the
// key set when it is first needed, again when it has grown old, and again when a
// token names a key that it does not hold.
//
// Invariants:
//
//   - Nothing of a token is believed before its signature was verified by a key
//     that the provider of exactly that issuer publishes over TLS. The signature
//     algorithm must be in a fixed list (neither "none" nor an HMAC is) and suit
//     the key; keys that come with a token are not looked at.
//   - Whoever sends tokens cannot make the server send more than one request
//     pair to a provider per refetchMin, wait longer than Options.Timeout, or
//     keep more than documentMax bytes of what a provider answers.
//   - No lock is held while a request is under way, and requests for the same
//     keys are one.
//   - A provider that is away does no harm for keysStale: the keys it published
//     last are used until then.
//
// Reading order: oidc.go (errors, Set), config.go, provider.go (keys), fetch.go,
// token.go.
package oidc
