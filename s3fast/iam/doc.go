// Package iam keeps users, roles and policies: their documents in the cluster's
// configuration namespace, secrets sealed, and a compiled snapshot in memory
// that requests read without a lock. Every change is durable before it is
// answered and in force with the next request.
package iam
