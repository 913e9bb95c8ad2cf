// Package kmstest is a server for tests that speaks the part of HashiCorp
// Vault's transit HTTP API that package kms uses: it encrypts, keeps versions,
// checks tokens, and can be told to deny, stall, fail and die. It follows the
// API's documentation ("Transit secrets engine (API)"), keeps its keys in memory
// and is not fit for any other use.
package kmstest
