package s3err

import (
	"sort"

	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// Code is one row of the table. Compare by pointer.
type Code struct {
	Code    string // "NoSuchKey"
	Status  int    // 404
	Message string // AWS's wording
}

// Error is an S3 error to be answered.
type Error struct {
	*Code
	Message string            // overrides the default when not empty
	Detail  map[string]string // extra XML elements (BucketName, ArgumentName, …)
	Cause   error             // for the log only
}

// Error names the code, and the cause where there is one, for logs.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Code.Code + ": " + e.Cause.Error()
	}
	return e.Code.Code
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Text is the message to be answered: the override, or the table's.
func (e *Error) Text() string {
	if e.Message != "" {
		return e.Message
	}
	return e.Code.Message
}

// New makes an error of this code with the table's message.
func (c *Code) New() *Error { return &Error{Code: c} }

// Because makes an error of this code whose cause is only logged.
func (c *Code) Because(cause error) *Error { return &Error{Code: c, Cause: cause} }

// Say makes an error of this code with another message; "" keeps the table's.
func (c *Code) Say(message string) *Error { return &Error{Code: c, Message: message} }

// With makes an error of this code with extra XML elements, given as name, value
// pairs (an odd last name is dropped).
func (c *Code) With(pairs ...string) *Error { return c.New().With(pairs...) }

// With adds extra XML elements to the error and returns it.
func (e *Error) With(pairs ...string) *Error {
	if e.Detail == nil {
		e.Detail = make(map[string]string, len(pairs)/2)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		e.Detail[pairs[i]] = pairs[i+1]
	}
	return e
}

// Append renders the error document: Code, Message, the details in name order,
// Resource, RequestId, HostId (Amazon S3 API Reference, "REST error responses";
// it has no namespace). Resource is left out when empty. A detail whose name is
// not an XML name made of ASCII letters and digits is left out, as is one that
// would repeat a standard element.
func Append(dst []byte, e *Error, resource, requestID, hostID string) []byte {
	dst = append(dst, s3xml.Header...)
	dst = append(dst, "<Error>"...)
	dst = s3xml.AppendElement(dst, "Code", e.Code.Code)
	dst = s3xml.AppendElement(dst, "Message", e.Text())
	if len(e.Detail) > 0 {
		names := make([]string, 0, len(e.Detail))
		for n := range e.Detail {
			if detailName(n) {
				names = append(names, n)
			}
		}
		sort.Strings(names)
		for _, n := range names {
			dst = s3xml.AppendElement(dst, n, e.Detail[n])
		}
	}
	if resource != "" {
		dst = s3xml.AppendElement(dst, "Resource", resource)
	}
	dst = s3xml.AppendElement(dst, "RequestId", requestID)
	dst = s3xml.AppendElement(dst, "HostId", hostID)
	return append(dst, "</Error>"...)
}

func detailName(n string) bool {
	switch n {
	case "", "Code", "Message", "Resource", "RequestId", "HostId":
		return false
	}
	for i := 0; i < len(n); i++ {
		c := n[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}
