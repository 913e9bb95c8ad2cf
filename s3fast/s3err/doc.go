// Package s3err is the table of S3 error codes (Amazon S3 API Reference, "Error
// responses", "List of error codes"): code, HTTP status, default message. Pure.
package s3err
