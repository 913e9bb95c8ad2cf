package audit

import "time"

// Event is one audited request or administrative action. It carries no secret
// and no signature: what the encoder finds by its name (Secret) is masked, even
// if a caller put it in. Empty fields are left out of the JSON.
type Event struct {
	Time      time.Time
	RequestID string
	API       string // "GetObject"; "admin:PUT /v1/users/{name}/role" for actions at the admin socket
	Bucket    string
	Key       string
	AccessKey string
	User      string // name; "" for anonymous requests
	Remote    string // client address
	UserAgent string
	Host      string
	Path      string // path of the request as it came, without query
	Status    int    // HTTP status
	Code      string // S3 error code, or ""
	In        int64  // bytes received for the request, its header included
	Out       int64  // bytes of the response's body
	Took      time.Duration
	Query     []Pair // without authentication parameters
	Headers   []Pair // request headers, without authentication; names in any case
	Response  []Pair // response headers
	Tags      []Pair // whatever else there is to tell: uid and pid of an administrator
	// Objects are the objects that one request names in its body (DeleteObjects).
	// MaxObjects and MaxObjectBytes bound how many one event may have.
	Objects []Object
}

const (
	// MaxObjects is how many objects one event has at most.
	MaxObjects = 500
	// MaxObjectBytes is how many bytes of keys one event has at most.
	MaxObjectBytes = 16 << 10
)

// Object is one of several objects of a request.
type Object struct {
	Key  string
	Code string // S3 error code; "": done
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
