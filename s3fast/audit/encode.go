package audit

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxValue bounds each header, parameter or tag in the JSON, in bytes before
	// escaping; what is longer is cut and ends in "...".
	maxValue = 1 << 10
	// maxPath bounds the path: a key of 1,024 bytes, each percent-encoded, and a bucket.
	maxPath = 4 << 10
	// maxPairs bounds how many headers, and how many parameters, are told.
	maxPairs = 64
	// maxEvent bounds an event's JSON, in bytes. One that is longer is told
	// without headers and parameters: the rest, with every byte of the keys
	// escaped, is shorter.
	maxEvent = 128 << 10
)

// Info names the cluster and the server in every event.
type Info struct {
	ClusterID   string // 32 hex digits
	ClusterName string
	Version     string // of the daemon
	ServerName  string // host name
	ServerIP    string // address of the S3 endpoint, or ""
}

// envelope is Info as it stands in the JSON: what comes before and after an event.
type envelope struct {
	info       Info
	head, tail []byte
}

// newEnvelope renders info. The cluster id takes the usual form of a GUID.
func newEnvelope(info Info) *envelope {
	id := guid(info.ClusterID)
	env := &envelope{info: info}
	env.head = append(env.head, `{"version":"1","auditVersion":"1.weka"`...)
	env.head = field(env.head, "deploymentid", id)
	env.tail = append(env.tail, `,"wekaInfo":{`...)
	start := len(env.tail)
	for _, p := range [...]Pair{
		{"clusterGUID", id}, {"clusterName", info.ClusterName}, {"release", info.Version},
		{"serverIP", info.ServerIP}, {"serverName", info.ServerName}, {"version", info.Version},
	} {
		env.tail = field(env.tail, p.Name, p.Value)
	}
	if len(env.tail) > start { // field begins with a comma
		env.tail = append(env.tail[:start], env.tail[start+1:]...)
	}
	env.tail = append(env.tail, "}}"...)
	return env
}

// guid writes 32 hex digits as 8-4-4-4-12; anything else stays as it is.
func guid(id string) string {
	if len(id) != 32 {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// appendEvent appends the JSON of an event, one object without line breaks.
func (env *envelope) appendEvent(dst []byte, e *Event) []byte {
	start := len(dst)
	dst = env.appendJSON(dst, e, true)
	if len(dst)-start > maxEvent {
		dst = env.appendJSON(dst[:start], e, false)
	}
	return dst
}

func (env *envelope) appendJSON(dst []byte, e *Event, whole bool) []byte {
	dst = append(dst, env.head...)
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","event":"","trigger":"`...)
	if strings.HasPrefix(e.API, "admin:") {
		dst = append(dst, "admin"...)
	} else if strings.HasPrefix(e.API, "audit:") {
		dst = append(dst, "audit"...)
	} else {
		dst = append(dst, "incoming"...)
	}
	dst = append(dst, '"')
	dst = e.appendAPI(dst)
	dst = field(dst, "error", e.Code)
	dst = field(dst, "remotehost", e.Remote)
	dst = field(dst, "requestID", e.RequestID)
	dst = field(dst, "userAgent", plainly(e.UserAgent))
	dst = field(dst, "requestPath", cut(MaskPath(e.Path), maxPath))
	dst = field(dst, "requestHost", hostOnly(e.Host))
	dst = field(dst, "accessKey", e.AccessKey)
	dst = field(dst, "parentUser", e.User)
	if whole {
		dst = object(dst, "requestQuery", e.Query, false)
		dst = object(dst, "requestHeader", e.Headers, true)
		dst = object(dst, "responseHeader", e.Response, true)
	}
	dst = object(dst, "tags", e.Tags, false)
	return append(dst, env.tail...)
}

// appendAPI appends the "api" object.
func (e *Event) appendAPI(dst []byte) []byte {
	dst = append(dst, `,"api":{"name":"`...)
	dst = appendText(dst, e.API)
	dst = append(dst, '"')
	dst = field(dst, "bucket", e.Bucket)
	dst = field(dst, "object", MaskPath(e.Key))
	if len(e.Objects) > 0 {
		dst = append(dst, `,"objects":[`...)
		for i := range e.Objects {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"objectName":"`...)
			dst = append(appendText(dst, MaskPath(e.Objects[i].Key)), '"')
			dst = append(field(dst, "error", e.Objects[i].Code), '}')
		}
		dst = append(dst, ']')
	}
	dst = field(dst, "status", http.StatusText(e.Status))
	if e.Status != 0 {
		dst = append(dst, `,"statusCode":`...)
		dst = strconv.AppendInt(dst, int64(e.Status), 10)
	}
	dst = append(dst, `,"rx":`...)
	dst = strconv.AppendInt(dst, max(e.In, 0), 10)
	dst = append(dst, `,"tx":`...)
	dst = strconv.AppendInt(dst, max(e.Out, 0), 10)
	dst = append(dst, `,"timeToResponse":"`...)
	dst = strconv.AppendInt(dst, max(e.Took.Nanoseconds(), 0), 10)
	return append(dst, `ns"}`...)
}

// field appends ,"name":"value"; nothing when value is empty.
func field(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":"`...)
	return append(appendText(dst, value), '"')
}

// object appends ,"name":{…} of pairs, repeated names joined by commas, secrets
// masked. Names of headers are spelled as HTTP/1.1 spells them.
func object(dst []byte, name string, pairs []Pair, header bool) []byte {
	if len(pairs) == 0 {
		return dst
	}
	if len(pairs) > maxPairs {
		pairs = pairs[:maxPairs]
	}
	dst = append(append(append(dst, `,"`...), name...), `":{`...)
	first := true
	for i := range pairs {
		if repeats(pairs, i, header) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		if header {
			dst = appendHeaderName(dst, pairs[i].Name)
		} else {
			dst = appendText(dst, cut(pairs[i].Name, maxValue))
		}
		dst = append(dst, `":"`...)
		dst = appendValues(dst, pairs, i, header)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// repeats tells whether an earlier pair has the name of pair i.
func repeats(pairs []Pair, i int, header bool) bool {
	for j := range i {
		if same(pairs[j].Name, pairs[i].Name, header) {
			return true
		}
	}
	return false
}

func same(a, b string, header bool) bool {
	return len(a) == len(b) && (a == b || header && strings.EqualFold(a, b))
}

// appendValues appends the values of pair i and of those that repeat its name.
func appendValues(dst []byte, pairs []Pair, i int, header bool) []byte {
	if Secret(pairs[i].Name) {
		return append(dst, masked...)
	}
	if header && strings.EqualFold(pairs[i].Name, "host") {
		return appendText(dst, hostOnly(pairs[i].Value))
	}
	dst = appendText(dst, plainly(pairs[i].Value))
	for j := i + 1; j < len(pairs); j++ {
		if same(pairs[j].Name, pairs[i].Name, header) {
			dst = appendText(append(dst, ','), plainly(pairs[j].Value))
		}
	}
	return dst
}

// plainly returns a value as it may be told.
func plainly(v string) string {
	if secretValue(v) {
		return masked
	}
	return cut(v, maxValue)
}

// hostOnly drops the name and password that a Host header should not have.
func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	return cut(host, maxValue)
}

// cut shortens s to n bytes; whoever reads it sees that it was longer.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= 3
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// appendHeaderName appends a header's name, each word with a capital.
func appendHeaderName(dst []byte, name string) []byte {
	if strings.EqualFold(name, "etag") {
		return append(dst, "ETag"...)
	}
	start := true
	for i := range len(name) {
		c := name[i]
		switch {
		case c < 0x21 || c > 0x7e || c == '"' || c == '\\':
			c = '_' // no header has such a name; the JSON must not break
		case start && 'a' <= c && c <= 'z':
			c -= 0x20
		case !start:
			c = lower(c)
		}
		start = c == '-'
		dst = append(dst, c)
	}
	return dst
}

// appendText appends s as the inside of a JSON string (RFC 8259, section 7).
// Bytes that are not UTF-8 become U+FFFD.
func appendText(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[done:i]...), "\ufffd"...)
				done = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[done:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&15])
		}
		i++
		done = i
	}
	return append(dst, s[done:]...)
}
