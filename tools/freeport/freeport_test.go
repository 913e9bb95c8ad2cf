package freeport

import (
	"net"
	"strconv"
	"testing"
)

// TestAddr: what is given out can be listened on, and again after that, and is not
// what the kernel gives to others.
func TestAddr(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		addr, err := Addr()
		if err != nil {
			t.Fatal(err)
		}
		_, text, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		if port, err := strconv.Atoi(text); err != nil || port < first || port >= min(last, ephemeral()) && ephemeral()-first >= least {
			t.Errorf("%s: %v", addr, err)
		}
		if seen[addr] {
			t.Errorf("%s is given out though it is listened on", addr)
		}
		for i := range 2 {
			ln, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				defer ln.Close()
			} else if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
		}
		seen[addr] = true
	}
}
