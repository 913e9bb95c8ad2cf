// Package sigv4 verifies AWS Signature Version 4 in all the forms S3 takes:
// Authorization header, presigned query, and the streaming payloads whose
// chunks carry signatures of their own (AWS Signature Version 4 for Amazon S3,
// "Authenticating Requests"). It is pure: it sees a request through the Request
// view, asks for the secret of an access key, and compares in constant time.
package sigv4
