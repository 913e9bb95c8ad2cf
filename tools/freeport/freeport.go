package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
)

// The ports that are given out, where the kernel's range begins above them
// (ip(7), ip_local_port_range: 32768 unless set).
const (
	first = 10_000
	last  = 32_000
	least = 1_000 // of fewer ports, two tests would soon meet
)

const rangeFile = "/proc/sys/net/ipv4/ip_local_port_range"

// Addr returns an address of the loopback interface, 127.0.0.1:PORT, that nobody
// listens on at the moment.
func Addr() (string, error) {
	end := min(last, ephemeral())
	if end-first < least {
		return listen(0)
	}
	for range 1000 {
		addr, err := listen(first + rand.IntN(end-first)) // #nosec G404: not a secret
		if !errors.Is(err, syscall.EADDRINUSE) {
			return addr, err
		}
	}
	return "", fmt.Errorf("no free port between %d and %d", first, end)
}

func listen(port int) (string, error) {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// ephemeral is the first port of outgoing connections; where that is not told,
// the kernel's default.
func ephemeral() int {
	text, _ := os.ReadFile(rangeFile) // unreadable is as good as empty
	from := 0
	if _, err := fmt.Sscan(string(text), &from); err != nil {
		return 32_768
	}
	return from
}
