package s3fast

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

func TestConditions(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 987654321, time.UTC)
	o := &meta.Object{ETag: "0123", ModTime: at.UnixNano()}
	const (
		same   = "Mon, 04 May 2026 03:02:01 GMT"
		before = "Mon, 04 May 2026 03:02:00 GMT"
		after  = "Mon, 04 May 2026 03:02:02 GMT"
	)
	for name, c := range map[string]struct {
		cond conditions
		want verdict
	}{
		"none":                            {conditions{}, proceed},
		"match":                           {conditions{match: `"0123"`}, proceed},
		"match without quotes":            {conditions{match: `0123`}, proceed},
		"match in list":                   {conditions{match: `"9", "0123"`}, proceed},
		"match any":                       {conditions{match: `*`}, proceed},
		"match other":                     {conditions{match: `"9"`}, failed},
		"match weak":                      {conditions{match: `W/"0123"`}, failed},
		"none-match":                      {conditions{noneMatch: `"0123"`}, notModified},
		"none-match weak":                 {conditions{noneMatch: `W/"0123"`}, notModified},
		"none-match any":                  {conditions{noneMatch: `*`}, notModified},
		"none-match other":                {conditions{noneMatch: `"9"`}, proceed},
		"unmodified, same second":         {conditions{unmodifiedSince: same}, proceed},
		"unmodified, changed":             {conditions{unmodifiedSince: before}, failed},
		"unmodified, no date":             {conditions{unmodifiedSince: "yesterday"}, proceed},
		"modified, same second":           {conditions{modifiedSince: same}, notModified},
		"modified, later":                 {conditions{modifiedSince: after}, notModified},
		"modified, changed":               {conditions{modifiedSince: before}, proceed},
		"modified, RFC 850":               {conditions{modifiedSince: "Monday, 04-May-26 03:02:01 GMT"}, notModified},
		"modified, asctime":               {conditions{modifiedSince: "Mon May  4 03:02:01 2026"}, notModified},
		"modified, no date":               {conditions{modifiedSince: "0"}, proceed},
		"match beats unmodified":          {conditions{match: `"0123"`, unmodifiedSince: before}, proceed},
		"none-match beats modified":       {conditions{noneMatch: `"9"`, modifiedSince: after}, proceed},
		"none-match hit beats modified":   {conditions{noneMatch: `"0123"`, modifiedSince: before}, notModified},
		"match first, then none-match":    {conditions{match: `"9"`, noneMatch: `"0123"`}, failed},
		"match holds, none-match decides": {conditions{match: `"0123"`, noneMatch: `"0123"`}, notModified},
	} {
		if got, _ := c.cond.evaluate(o); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for _, c := range []struct {
		ifRange string
		want    bool
	}{{"", true}, {`"0123"`, true}, {`"9"`, false}, {`W/"0123"`, false}, {same, true}, {after, false}, {before, false}, {"*", false}} {
		if got := rangeStands(c.ifRange, o); got != c.want {
			t.Errorf("If-Range %q: %v", c.ifRange, got)
		}
	}
}

func TestParseIfMatch(t *testing.T) {
	tags, err := parseIfMatch(`"a", b ,W/"c", *`)
	if err != nil || len(tags) != 3 || tags[0] != "a" || tags[1] != "b" || tags[2] != "*" {
		t.Fatalf("%q, %v", tags, err)
	}
	for _, h := range []string{`W/"a"`, `,`, `""`} {
		if _, err := parseIfMatch(h); !isCode(err, s3err.PreconditionFailed) {
			t.Errorf("%q: %v", h, err)
		}
	}
}
