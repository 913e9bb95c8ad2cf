// Package freeport finds TCP ports for servers that tests start as processes of
// their own, again and again at the same address.
//
// A port that the kernel picks for a listener is from the range it gives to
// outgoing connections, too: once the listener is closed, any client on the host
// may get it before the server does, or while the server is being restarted. So
// ports come from below that range, where only listeners are.
package freeport
