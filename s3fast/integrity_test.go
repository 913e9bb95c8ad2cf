package s3fast

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/meta"
)

// TestUniqueETag: it cannot be taken for an MD5, and a multipart upload can be made
// of parts that have one.
func TestUniqueETag(t *testing.T) {
	a, b := uniqueETag(), uniqueETag()
	if a == b || len(a) != 34 || !strings.HasSuffix(a, "-1") || strings.Trim(a[:32], "0123456789abcdef") != "" {
		t.Errorf("%q, %q", a, b)
	}
	of := func(etags ...string) string {
		parts := make([]meta.Part, len(etags))
		for i := range etags {
			parts[i].ETag = etags[i]
		}
		etag, err := multipartETag(parts)
		if err != nil {
			t.Fatal(err)
		}
		return etag
	}
	ab := of(a, b)
	if ab == of(b, a) || ab != of(a[:32], b) || !strings.HasSuffix(ab, "-2") || len(ab) != 34 {
		t.Errorf("of parts: %q, %q", ab, of(b, a))
	}
	for _, bad := range []string{"", a + "-1", a[:31] + "-1", "-1", strings.Repeat("x", 32) + "-1"} {
		if etag, err := multipartETag([]meta.Part{{ETag: bad}}); err == nil {
			t.Errorf("a part's ETag %q makes %q", bad, etag)
		}
	}
}
