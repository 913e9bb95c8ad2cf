// Package s3xml encodes S3's XML responses straight into a byte buffer and
// decodes its bounded request documents, without reflection. XML 1.0 cannot
// carry most control characters: without encoding-type=url they are written as
// character references the way S3 writes them, and such references are
// understood in requests. Pure.
//
// Encoders are called Append…, take a plain struct, add to dst as append does,
// and allocate nothing if dst has room. Elements come in the order of the
// examples of the Amazon S3 API Reference; the comments of the structs tell
// which are omitted when empty, the others are always written. Times are UTC
// with milliseconds. Entity tags are given without quotes and written with.
//
// Decoders are called Decode…, refuse whatever S3's schema does not know, and
// return errors that wrap ErrMalformed. Their results do not alias the body.
package s3xml
