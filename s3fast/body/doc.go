// Package body decodes request bodies: it bounds them to their declared length,
// takes apart aws-chunked framing (Amazon S3, "Signature Calculations for the
// Authorization Header: Transferring Payload in Multiple Chunks"), verifies
// chunk and trailer signatures as they pass, and computes the digests in place.
// A reader it returns yields exactly the decoded payload and then io.EOF, or an
// error; io.EOF comes only after everything the client claimed was verified.
package body
