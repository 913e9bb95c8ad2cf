package sigv4

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// parseStamp takes and refuses what package time does.
func TestStampIsThatOfPackageTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`[0-9]{8}T[0-9]{6}Z`),
			rapid.StringMatching(`(19|20)[0-9]{2}[01][0-9][0-3][0-9]T[0-2][0-9][0-6][0-9][0-6][0-9]Z`),
			rapid.StringMatching(`2024022[0-9]T2[0-4][0-6][0-9][0-6][0-9]Z`),
			rapid.StringMatching(`[0-9TZ+.,: -]{15,17}`),
		).Draw(t, "stamp")
		want, err := time.Parse(stampForm, text)
		got, ok := parseStamp(text)
		if ok != (err == nil && len(text) == len(stampForm)) || ok && !got.Equal(want) {
			t.Fatalf("%q: %v %v, package time has %v, %v", text, got, ok, want, err)
		}
		at := time.Unix(rapid.Int64Range(-62200000000, 253500000000).Draw(t, "seconds"), 0).UTC()
		if got, want := string(appendStamp(nil, at)), at.Format(stampForm); got != want {
			t.Fatalf("%s, package time has %s", got, want)
		}
	})
}
