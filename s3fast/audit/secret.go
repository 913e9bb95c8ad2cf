package audit

import "strings"

// masked stands for what is not told.
const masked = "*REDACTED*"

// Secret tells whether a header, query parameter or form field of this name may
// hold a credential, a signature or a key. It judges by parts of the name, so
// that spellings nobody thought of (x-amz-copy-source-…-customer-key-MD5,
// X-Vendor-Auth-Token) are caught, at the price of masking some harmless ones.
func Secret(name string) bool {
	if common(name) {
		return false
	}
	for _, part := range [...]string{
		"authorization", "authenticate", "x-auth", "signature", "credential", "token", "secret",
		"password", "passwd", "passphrase", "cookie", "customer-key", "customerkey", "private-key", "private_key",
		"privatekey", "api-key", "api_key", "apikey", "access-key", "access_key", "x-amz-mfa", "assertion", "bearer", "jwt",
	} {
		if foldContains(name, part) {
			return !harmless(name)
		}
	}
	return strings.EqualFold(name, "sig") || strings.EqualFold(name, "pwd") || strings.EqualFold(name, "code")
}

// common names the headers that almost every request has: looking at parts of
// them would cost more than the rest of the encoding.
func common(name string) bool {
	switch name {
	case "host", "user-agent", "accept", "accept-encoding", "connection", "content-length", "content-type",
		"content-md5", "x-amz-date", "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer",
		"x-amz-sdk-checksum-algorithm", "x-amz-checksum-mode", "amz-sdk-invocation-id", "amz-sdk-request", "expect",
		"range", "transfer-encoding", "if-match", "if-none-match", "x-id", "list-type", "prefix", "delimiter",
		"max-keys", "uploadId", "partNumber", "versionId", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Algorithm",
		"X-Amz-SignedHeaders", "Server", "Date", "Content-Length", "Content-Type", "ETag", "Last-Modified",
		"Accept-Ranges", "x-amz-request-id", "x-amz-id-2":
		return true
	}
	return false
}

// harmless are S3's own parameters that only look like secrets: where a listing
// goes on.
func harmless(name string) bool {
	return strings.EqualFold(name, "continuation-token") || strings.EqualFold(name, "next-continuation-token")
}

// secretValue tells whether a value holds a secret although its name does not
// say so: a URL with a signature in its query or a password before its host
// (Referer, copy sources), or an authorization in some vendor's header.
func secretValue(v string) bool {
	if strings.IndexByte(v, '=') >= 0 {
		for _, part := range [...]string{"signature=", "credential=", "token=", "password=", "passwd=", "secret=", "apikey=", "api_key=", "sig="} {
			if foldContains(v, part) && !onlyContinuation(v) {
				return true
			}
		}
	}
	if _, rest, ok := strings.Cut(v, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		if strings.IndexByte(host, '@') >= 0 {
			return true
		}
	}
	return hasFoldPrefix(v, "bearer ") || hasFoldPrefix(v, "basic ") || strings.Contains(v, "AWS4-HMAC-")
}

// onlyContinuation tells that the only secret-looking thing in a URL is a
// continuation token.
func onlyContinuation(v string) bool {
	const name = "continuation-token="
	if !foldContains(v, name) {
		return false
	}
	_, query, _ := strings.Cut(v, "?")
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		param, _, _ := strings.Cut(part, "=")
		if Secret(param) {
			return false
		}
	}
	return true
}

// MaskPath cuts a path or key where a signature begins: clients that encode the
// "?" of a pre-signed URL ask for a key that ends in one. Logs use it, too.
func MaskPath(s string) string {
	if !foldContains(s, "signature") && !foldContains(s, "x-amz-") {
		return s
	}
	for i := range len(s) {
		for _, part := range [...]string{"signature=", "signature%3d", "x-amz-signature", "x-amz-credential", "x-amz-security-token"} {
			if hasFoldPrefix(s[i:], part) {
				return s[:i] + masked
			}
		}
	}
	return s
}

// foldContains is strings.Contains without regard to ASCII case; part is in
// lower case.
func foldContains(s, part string) bool {
	first := part[0] | 0x20
	for i := 0; i+len(part) <= len(s); i++ {
		if s[i]|0x20 == first && foldEqual(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

func hasFoldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && foldEqual(s[:len(prefix)], prefix)
}

func foldEqual(s, low string) bool {
	for i := range len(low) {
		if lower(s[i]) != low[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}
