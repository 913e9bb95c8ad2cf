// Package body decodes request bodies: it bounds them to their declared length,
// takes apart aws-chunked framing (Amazon S3, "Signature Calculations for the
// Authorization Header: Transferring Payload in Multiple Chunks"), verifies
// chunk and trailer signatures as they pass, and computes the digests in place.
// A reader it returns yields exactly the decoded payload and then io.EOF, or an
// error; io.EOF comes only after everything the client claimed was verified.
//
// Invariants:
//
//   - The payload's last byte is handed out only after all claims were verified:
//     length, framing, every signature, Content-MD5, x-amz-content-sha256 and
//     the additional checksum. So a caller that reads exactly Size bytes is as
//     safe as one that reads up to io.EOF. Bytes before the last are handed out
//     earlier; they must not be acted upon before the end.
//   - Lending is the exception, and off unless the caller asks for it with Lend: then
//     MD5 alone, and with it Content-MD5, is verified by the read that returns io.EOF,
//     which such a caller has to wait for. Memory that Read filled is read until it is
//     settled; nobody may change it before. No memory is read after Settle of its
//     bytes, StopLending, io.EOF or Close.
//   - A body cut short is an error even where HTTP ends it cleanly.
//   - Memory is bounded: 4 KiB of framing, whatever the client sends; no
//     allocation per read or chunk.
package body
