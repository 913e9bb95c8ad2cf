// Package s3fast is the S3 frontend on fasthttp: it parses and routes requests,
// authenticates (sigv4) and authorises (iam, policy) them, and turns them into
// calls of package engine. Bodies stream between the socket and the engine's
// aligned buffers; nothing is buffered whole.
//
// Reading order: server.go (life of a connection), handle.go (life of a
// request), route.go (which operation), authenticate.go (who), authorize.go (who
// may), actions.go, decision.go and condition_keys.go (what policies are asked),
// settings.go (a bucket's own policy), settings_performance.go and integrity.go
// (what is computed of a payload), sse.go and sse_customer.go (how data is
// encrypted and by whose key), then one file per family of operations:
// bucket_*.go, list.go, object_*.go, multipart_*.go. Two begin with a body in
// place of headers, and authenticate by themselves: post_object*.go (forms of
// browsers) and sts*.go (temporary credentials).
//
// Invariants:
//
//   - No operation runs before the request's signature and policy allow it;
//     with "Expect: 100-continue" that is before the body is asked for.
//   - A header or parameter that changes what a request means is acted upon or
//     refused, never ignored.
//   - What is to be encrypted is encrypted or refused, never stored as it is; a
//     customer's key reaches no log, audit record or disk.
//   - Every error a client sees is an S3 error document with AWS's code.
//   - A PUT is answered 2xx only after the engine reported it durable, and the
//     engine was given io.EOF only after every claimed digest was verified, but
//     for those that the bucket's administrator chose to ignore (integrity.go).
package s3fast
