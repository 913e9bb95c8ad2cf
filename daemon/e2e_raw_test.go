package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const unsignedPayload = "UNSIGNED-PAYLOAD"

// rawCase is what a hostile or broken client sends, and the answer it must get:
// one of status (0: the connection is closed without an answer) with code in it.
type rawCase struct {
	name   string
	send   string
	half   bool // the client closes its sending side afterwards
	status []int
	code   string
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// TestRawAbuse sends malformed requests to the whole daemon. Each must end in
// the expected answer or a closed connection, nothing may be stored, and
// nothing may remain in use.
func TestRawAbuse(t *testing.T) {
	n := newNode(t, "--stall-timeout", "2s", "--log-level", "debug").serve()
	baseline := n.metric("go_goroutines")
	cases := append(n.bodyCases(), n.framingCases()...)
	cases = append(cases, n.headerCases()...)
	cases = append(cases, n.targetCases()...)
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				n.rawAbuse(t, c)
			})
		}
	})
	if keys := n.keys(); len(keys) != 0 {
		t.Errorf("something was stored: %q", keys)
	}
	if status, _ := n.s3("PUT", "/"+nodeBucket+"/good", "", []byte("good")); status != http.StatusOK {
		t.Errorf("a good PUT afterwards: %d", status)
	}
	plainHTTP.CloseIdleConnections()
	n.quiet(baseline + 10)
	n.stop()
	n.noSecrets()
}

func (n *node) rawAbuse(t *testing.T, c rawCase) {
	conn, err := net.DialTimeout("tcp", n.addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // the daemon may stop reading
		io.WriteString(conn, c.send)
		if c.half {
			conn.(*net.TCPConn).CloseWrite()
		}
	}()
	status, text, err := answer(conn, 15*time.Second)
	if err != nil {
		t.Fatalf("neither an answer nor a closed connection: %v", err)
	}
	for _, want := range c.status {
		if status == want {
			if status != 0 && c.code != "" && !strings.Contains(text, "<Code>"+c.code+"</Code>") {
				t.Errorf("%d without %s: %s", status, c.code, text)
			}
			return
		}
	}
	t.Errorf("answered %d, want %v: %s", status, c.status, text)
}

func is(status ...int) []int { return status }

// put is a signed PUT's header block and body.
func (n *node) put(key, hash, body string, lines ...string) string {
	return n.signed("PUT", "/"+nodeBucket+"/"+key, hash, lines...) + "Content-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body
}

// bodyCases: bodies that are not what the header claims.
func (n *node) bodyCases() []rawCase {
	wrongMD5 := md5.Sum([]byte("other"))
	b64 := base64.StdEncoding.EncodeToString
	big := strings.Repeat("x", 300<<10)
	head := n.signed("PUT", "/"+nodeBucket+"/k", unsignedPayload)
	return []rawCase{
		{"short body", head + "Content-Length: 100\r\n\r\nabc", true, is(400), "IncompleteBody"},
		{"short large body", head + "Content-Length: 9000000\r\n\r\n" + big, true, is(400), "IncompleteBody"},
		{"stalled body", head + "Content-Length: 100\r\n\r\nabc", false, is(400), "RequestTimeout"},
		{"stalled large body", head + "Content-Length: 9000000\r\n\r\n" + big, false, is(400), "RequestTimeout"},
		{"no length", head + "\r\n", false, is(411), "MissingContentLength"},
		{"length negative", head + "Content-Length: -1\r\n\r\nabc", false, is(400), ""},
		{"length plus", head + "Content-Length: +3\r\n\r\nabc", false, is(400), ""},
		{"length words", head + "Content-Length: three\r\n\r\nabc", false, is(400), ""},
		{"length huge", head + "Content-Length: 99999999999999999999\r\n\r\nabc", false, is(400), ""},
		{"length over limit", head + "Content-Length: 6000000000000\r\n\r\nabc", false, is(400, 413), ""},
		{"sha256", n.put("k", sha("other"), "body"), false, is(400), "XAmzContentSHA256Mismatch"},
		{"sha256 large", n.put("k", sha("other"), big), false, is(400), "XAmzContentSHA256Mismatch"},
		{"sha256 malformed", n.put("k", "zz", "body"), false, is(400, 403), ""},
		{"md5", n.put("k", unsignedPayload, "body", "Content-MD5: "+b64(wrongMD5[:])), false, is(400), "BadDigest"},
		{"md5 large", n.put("k", unsignedPayload, big, "Content-MD5: "+b64(wrongMD5[:])), false, is(400), "BadDigest"},
		{"md5 malformed", n.put("k", unsignedPayload, "body", "Content-MD5: xyz"), false, is(400), "InvalidDigest"},
		{"crc32", n.put("k", unsignedPayload, "body", "x-amz-checksum-crc32: AAAAAA=="), false, is(400), "BadDigest"},
		{"crc32c", n.put("k", unsignedPayload, big, "x-amz-checksum-crc32c: AAAAAA=="), false, is(400), "BadDigest"},
		{"crc64", n.put("k", unsignedPayload, "body", "x-amz-checksum-crc64nvme: AAAAAAAAAAA="), false, is(400), "BadDigest"},
		{"crc32 malformed", n.put("k", unsignedPayload, "body", "x-amz-checksum-crc32: AAAA"), false, is(400), "InvalidRequest"},
		{"two checksums", n.put("k", unsignedPayload, "body", "x-amz-checksum-crc32: AAAAAA==", "x-amz-checksum-crc32c: AAAAAA=="), false, is(400), ""},
		{"delete without xml", n.signed("POST", "/"+nodeBucket+"?delete=", sha("junk")) + "Content-Length: 4\r\n\r\njunk", false, is(400), ""},
		{"delete xml bomb", n.xml("POST", "/"+nodeBucket+"?delete=", `<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>`), false, is(400), "MalformedXML"},
		{"delete deep xml", n.xml("POST", "/"+nodeBucket+"?delete=", strings.Repeat("<a>", 50000)), false, is(400), "MalformedXML"},
		{"complete unknown upload", n.xml("POST", "/"+nodeBucket+"/k?uploadId=nope", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"), false, is(400, 404), ""},
		{"create bucket xml", n.xml("PUT", "/fresh-bucket", "<CreateBucketConfiguration>"), false, is(400), "MalformedXML"},
	}
}

// xml is a signed request with a document and its MD5.
func (n *node) xml(method, target, doc string) string {
	sum := md5.Sum([]byte(doc))
	return n.signed(method, target, sha(doc), "Content-MD5: "+base64.StdEncoding.EncodeToString(sum[:])) +
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(doc), doc)
}

// framingCases: aws-chunked and HTTP framing, and shapes of request smuggling.
func (n *node) framingCases() []rawCase {
	head := n.signed("PUT", "/"+nodeBucket+"/k", unsignedPayload)
	trailer := func(body string) string {
		return n.signed("PUT", "/"+nodeBucket+"/k", "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
			"x-amz-decoded-content-length: 4", "x-amz-trailer: x-amz-checksum-crc32", "content-encoding: aws-chunked") +
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	signedChunks := func(body string) string {
		return n.signed("PUT", "/"+nodeBucket+"/k", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length: 4") +
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	smuggled := "GET /" + nodeBucket + "/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	zero := strings.Repeat("0", 64)
	return []rawCase{
		{"trailer wrong crc", trailer("4\r\nbody\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), false, is(400), "BadDigest"},
		{"trailer missing", trailer("4\r\nbody\r\n0\r\n\r\n"), false, is(400), "MalformedTrailerError"},
		{"trailer other", trailer("4\r\nbody\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n"), false, is(400), "MalformedTrailerError"},
		{"chunk size words", trailer("zz\r\nbody\r\n0\r\n\r\n"), false, is(400), ""},
		{"chunk size huge", trailer("ffffffffffffffff\r\nbody\r\n0\r\n\r\n"), false, is(403), "InvalidChunkSizeError"},
		{"chunk longer than told", trailer("5\r\nbodyy\r\n0\r\n\r\n"), false, is(400), ""},
		{"chunk shorter than told", trailer("3\r\nbod\r\n0\r\n\r\n"), false, is(400), ""},
		{"chunk without end", trailer("4\r\nbody\r\n"), true, is(400), ""},
		{"chunk no crlf", trailer("4\r\nbodyXX0\r\n\r\n"), false, is(400), ""},
		{"chunk line endless", trailer(strings.Repeat("0", 100<<10)), false, is(400), ""},
		{"chunk bad signature", signedChunks("4;chunk-signature=" + zero + "\r\nbody\r\n0;chunk-signature=" + zero + "\r\n\r\n"), false, is(403), "SignatureDoesNotMatch"},
		{"chunk without signature", signedChunks("4\r\nbody\r\n0\r\n\r\n"), false, is(400, 403), ""},
		{"CL.TE", head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, false, is(400, 501), ""},
		{"TE.CL", head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + smuggled + "\r\n0\r\n\r\n", false, is(400, 501), ""},
		{"TE.TE", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", false, is(400, 501), ""},
		{"TE unknown", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", false, is(400, 501), ""},
		{"TE list", head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, is(400, 501), ""},
		{"TE chunked unknown length", head + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", false, is(501), "NotImplemented"},
		{"two lengths", head + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbodyy", false, is(400), ""},
		{"two equal lengths", head + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", false, is(400), ""},
		{"length list", head + "Content-Length: 4, 4\r\n\r\nbody", false, is(400), ""},
		{"space before colon", head + "Content-Length : 4\r\n\r\nbody", false, is(400, 411), ""},
		// RFC 9112, section 5.2, lets a server read a folded line as one.
		{"obs-fold", n.signed("GET", "/"+nodeBucket+"/absent", sha("")) + "X-A: b\r\n c\r\n\r\n", false, is(400, 404), ""},
		{"obs-fold CL.TE", head + "Content-Length: 6\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + smuggled, false, is(400, 501), ""},
		{"obs-fold lengths", head + "Content-Length: 4\r\n 5\r\n\r\nbodyy", false, is(400), ""},
		{"fold first", "PUT /" + nodeBucket + "/k HTTP/1.1\r\n Host: x\r\n\r\n", false, is(400), ""},
		{"NUL in value", head + "X-A: b\x00c\r\nContent-Length: 4\r\n\r\nbody", false, is(400), ""},
		{"NUL in name", head + "X\x00A: b\r\nContent-Length: 4\r\n\r\nbody", false, is(400), ""},
		{"CR in value", head + "X-A: b\rc\r\nContent-Length: 4\r\n\r\nbody", false, is(400), ""},
		{"no colon", head + "nonsense\r\nContent-Length: 4\r\n\r\nbody", false, is(400), ""},
		{"bare LF smuggle", strings.TrimSuffix(head, "\r\n") + "\nContent-Length: 4\nTransfer-Encoding: chunked\n\n0\n\n", false, is(400, 501), ""},
	}
}

// headerCases: headers that are too many, too long, repeated, or not signed.
func (n *node) headerCases() []rawCase {
	get := n.signed("GET", "/"+nodeBucket+"/absent", sha(""))
	line := func(prefix string) string {
		for l := range strings.SplitSeq(get, "\r\n") {
			if strings.HasPrefix(strings.ToLower(l), prefix) {
				return l + "\r\n"
			}
		}
		n.t.Fatalf("no header %s", prefix)
		return ""
	}
	return []rawCase{
		{"header too long", get + "X-Long: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", false, is(400, 431), ""},
		{"headers too many", get + strings.Repeat("X-A: b\r\n", 20000) + "\r\n", false, is(400, 431), ""},
		{"header endless", get + "X-Long: " + strings.Repeat("a", 1<<20), false, is(400, 431), ""},
		{"two hosts", get + "Host: other\r\n\r\n", false, is(400), ""},
		{"two authorizations", get + line("authorization") + "\r\n", false, is(400), ""},
		{"two dates", get + line("x-amz-date") + "\r\n", false, is(400), ""},
		{"no host", strings.Replace(get, "Host: "+n.addr+"\r\n", "", 1) + "\r\n", false, is(400, 403), ""},
		{"unsigned amz header", get + "x-amz-acl: private\r\n\r\n", false, is(403), "AccessDenied"},
		{"bad signature", strings.Replace(get, "Signature=", "Signature=0", 1) + "\r\n", false, is(400, 403), ""},
		{"unknown user", strings.Replace(get, "Credential="+nodeUser, "Credential=nobody", 1) + "\r\n", false, is(403), "InvalidAccessKeyId"},
		{"odd credential", "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=, Signature=\r\n\r\n", false, is(400, 403), ""},
		{"basic auth", "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + nodeSecret + "\r\n\r\n", false, is(400, 403), ""},
		{"no auth", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, is(403), "AccessDenied"},
		{"presigned junk", "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=" + strings.Repeat("z", 100) + " HTTP/1.1\r\nHost: x\r\n\r\n", false, is(400, 403), ""},
		{"range overflow", n.signed("GET", "/"+nodeBucket+"/absent", sha(""), "Range: bytes=99999999999999999999-") + "\r\n", false, is(404, 416), ""},
		{"expect unknown", get + "Expect: the-unexpected\r\n\r\n", false, is(404, 417), ""},
		{"continue refused", "PUT /" + nodeBucket + "/k HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n", false, is(403), "AccessDenied"},
	}
}

// targetCases: the request line.
func (n *node) targetCases() []rawCase {
	abs := n.signed("GET", "/"+nodeBucket+"/absent", sha(""))
	return []rawCase{
		{"absolute form", strings.Replace(abs, "GET /", "GET http://"+n.addr+"/", 1) + "\r\n", false, is(404), "NoSuchKey"},
		{"absolute form other host", strings.Replace(abs, "GET /", "GET http://evil.example/", 1) + "\r\n", false, is(400, 403), ""},
		{"huge URI", "GET /" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", false, is(400, 414, 431), ""},
		{"key too long", n.signed("PUT", "/"+nodeBucket+"/"+strings.Repeat("k", 1025), unsignedPayload) + "Content-Length: 1\r\n\r\nx", false, is(400), "KeyTooLongError"},
		{"bad escape", "GET /" + nodeBucket + "/%zz HTTP/1.1\r\nHost: x\r\n\r\n", false, is(400), "InvalidURI"},
		{"not UTF-8", "GET /" + nodeBucket + "/%ff HTTP/1.1\r\nHost: x\r\n\r\n", false, is(400), "InvalidURI"},
		{"connect", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", false, is(400, 403, 405), ""},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", false, is(400), ""},
		{"method unknown", "BREW / HTTP/1.1\r\nHost: x\r\n\r\n", false, is(400, 403, 405), ""},
		{"method long", strings.Repeat("A", 5000) + " / HTTP/1.1\r\nHost: x\r\n\r\n", false, is(400, 403, 405, 431), ""},
		{"http2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", false, is(0, 400, 505), ""},
		{"http 0.9", "GET /\r\n", true, is(0, 400), ""},
		{"http 3", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", false, is(0, 400, 403, 505), ""},
		{"garbage", "\x00\x01\x02\x03\r\n\r\n", false, is(0, 400), ""},
		{"empty lines", "\r\n\r\n\r\n\r\n", true, is(0, 400), ""},
		{"line without end", strings.Repeat("a", 1<<20), false, is(0, 400, 431), ""},
		{"tls garbage", "\x16\x03\x01\x00\x05hello", false, is(0), ""},
		{"tls record huge", "\x16\x03\x01\xff\xff" + string(bytes.Repeat([]byte{1}, 70000)), false, is(0), ""},
		{"tls then silence", "\x16\x03\x01\x02\x00\x01", false, is(0), ""},
		{"slow header", "GET / HTTP/1.1\r\nHost: x\r\nX-A", false, is(0, 400, 408), ""},
		{"service path body", "POST /-/metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", false, is(405), ""},
		{"service path dots", "GET /-/../" + nodeBucket + " HTTP/1.1\r\nHost: x\r\n\r\n", false, is(404), ""},
		{"log injection", "GET /" + nodeBucket + "/a%0Atime=now%20level=ERROR%20msg=forged HTTP/1.1\r\nHost: x\r\n\r\n", false, is(403), "AccessDenied"},
	}
}

// noSecrets checks the log of a run at level debug.
func (n *node) noSecrets() {
	n.t.Helper()
	for line := range strings.Lines(n.log.String()) {
		if strings.HasPrefix(line, "time=now") {
			n.t.Errorf("a key forged a line of the log: %s", line)
		}
		for _, bad := range []string{nodeSecret, "Signature=", "X-Amz-Signature", "Credential="} {
			if strings.Contains(line, bad) {
				n.t.Errorf("the log tells a secret (%s): %s", bad, line)
			}
		}
	}
	if !strings.Contains(n.log.String(), "level=DEBUG msg=request") {
		n.t.Error("the log at level debug tells no requests")
	}
}
