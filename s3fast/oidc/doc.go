// Package oidc verifies ID tokens of OpenID Connect providers: discovery, key
// sets, signatures and claims. It is a leaf.
package oidc
