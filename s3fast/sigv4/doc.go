// Package sigv4 verifies AWS Signature Version 4 in all the forms S3 takes:
// Authorization header, presigned query, and the streaming payloads whose
// chunks carry signatures of their own (AWS Signature Version 4 for Amazon S3,
// "Authenticating Requests"). It is pure: it sees a request through the Request
// view, asks for the secret of an access key, and compares in constant time.
// Of version 2 it takes presigned URLs, which SDKs still make (v2query.go).
//
// Reading order: verify.go, parse.go (what the request claims), canonical.go
// (what was signed), mac.go and keys.go, chain.go (chunk signatures), sign.go.
//
// Invariants:
//
//   - Whatever is signed is computed from the request as it came over the wire:
//     paths and queries are decoded once and encoded once, never cleaned. In a
//     query a raw '+' is a space; in a path it is a plus.
//   - No header that begins with x-amz- passes unsigned.
//   - A Result refers to no memory of the request.
//   - A verification with a cached signing key allocates nothing in header form,
//     and only the decoded credential in presigned form.
package sigv4
