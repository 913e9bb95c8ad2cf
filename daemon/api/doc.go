// Package api is the administration interface of sluiced: the typed requests and
// answers, and the client that speaks them as HTTP and JSON over the daemon's
// Unix socket. It is all that ctl imports. It is a leaf: it imports no other
// package of Sluice.
//
// Routes are below /v1. Successful answers are 200 with a JSON body (204
// without); errors are {"error": "text", "code": "not_found"} with a matching
// status: usage 400, denied 403, not_found 404, exists and conflict 409,
// precondition 412, internal 500, unavailable 503, no_space 507.
package api
