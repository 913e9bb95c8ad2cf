package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// expiry parses "never", a duration from now ("72h", "30d") or an RFC 3339 time.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" || text == "never" {
		return time.Time{}, nil
	}
	if d, err := duration(text); err == nil {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	return time.Time{}, usageError{fmt.Errorf("%q is neither a duration such as 12h or 30d nor a time such as 2030-01-31T00:00:00Z", text)}
}

// duration parses what time.ParseDuration does, and days and weeks: "7d", "1w".
func duration(text string) (time.Duration, error) {
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(text, "d"):
		unit = 24 * time.Hour
	case strings.HasSuffix(text, "w"):
		unit = 7 * 24 * time.Hour
	default:
		d, err := time.ParseDuration(text)
		if err == nil && d <= 0 {
			err = errors.New("must be positive")
		}
		return d, err
	}
	var n int
	if _, err := fmt.Sscanf(text[:len(text)-1]+"\n", "%d\n", &n); err != nil || n <= 0 || n > 36500 {
		return 0, fmt.Errorf("%q is no duration", text)
	}
	return time.Duration(n) * unit, nil
}
