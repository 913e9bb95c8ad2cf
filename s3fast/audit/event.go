package audit

import "time"

// Event is one audited request or administrative action. It carries no secret
// and no signature. Empty fields are left out of the JSON.
type Event struct {
	Time      time.Time
	RequestID string
	API       string // "GetObject"; "admin:PutPolicy" for actions at the admin socket
	Bucket    string
	Key       string
	AccessKey string
	User      string // name; "" for anonymous requests
	Remote    string // client address
	UserAgent string
	Host      string
	Status    int    // HTTP status
	Code      string // S3 error code, or ""
	In, Out   int64  // bytes of body
	Took      time.Duration
	Query     []Pair // without authentication parameters
	Headers   []Pair // request headers, without authentication
}

// Pair is a name with its value.
type Pair struct{ Name, Value string }

// Sink takes events.
type Sink interface {
	// Enabled tells whether events are wanted: filling one in costs time.
	Enabled() bool
	// Record takes an event. It never waits and keeps no reference to e or to
	// what it holds after it returns.
	Record(e *Event)
}
