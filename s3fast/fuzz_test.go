package s3fast

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// FuzzRequest sends whole requests, signed and not, through a live server: every
// answer is HTTP, none is a 500, and the server lives on.
func FuzzRequest(f *testing.F) {
	r := newRig(f, func(c *Config) { c.StallTimeout = 500 * time.Millisecond })
	r.bucket("bkt")
	r.put("/bkt/k", "hello")
	f.Add("GET", "/bkt/k", "range", "bytes=1-2", "", true)
	f.Add("PUT", "/bkt/k2", "content-md5", "x", "body", true)
	f.Add("POST", "/bkt?delete", "x-amz-sdk-checksum-algorithm", "CRC32", "<Delete><Object><Key>a</Key></Object></Delete>", true)
	f.Add("POST", "/bkt/k?uploads", "x-amz-checksum-type", "COMPOSITE", "", true)
	f.Add("GET", "/bkt?list-type=2&max-keys=1&prefix=%00", "", "", "", true)
	f.Add("PUT", "/bkt/k3", "x-amz-copy-source", "/bkt/k?versionId=null", "", true)
	f.Add("PUT", "http://x/%", "transfer-encoding", "chunked", "5\r\nhello", false)
	f.Add("OPTIONS", "*", "expect", "100-continue", "", false)
	f.Fuzz(func(t *testing.T, method, target, name, value, body string, signed bool) {
		if strings.ContainsAny(name, ": \r\n\t") || strings.ContainsAny(value, "\r\n") ||
			strings.ContainsAny(method+target, " \r\n") || method == "" || target == "" {
			return
		}
		c := call{method: method, target: target, body: body}
		if name != "" {
			c.header = [][2]string{{name, value}}
		}
		if tg, ok := parseTarget(target); !signed || !ok || tg.path == "" {
			c.user = "-"
		}
		nc, err := net.Dial("tcp", r.addr)
		must(t, err)
		defer nc.Close()
		must(t, nc.SetDeadline(time.Now().Add(5*time.Second)))
		_, _ = io.WriteString(nc, r.head(c)+c.body)
		_ = nc.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(nc)
		if len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 ") {
			t.Fatalf("answered %q", answer)
		}
		if strings.HasPrefix(string(answer), "HTTP/1.1 500") {
			t.Fatalf("%s %s: %s", method, target, answer)
		}
	})
}
